// dlopen, dlsym and where a mapped library came from.
#pragma once

#include <cstddef>
#include <string>

namespace ftprof::cupti {

struct MemoryRange {
  std::byte* begin = nullptr;
  std::size_t size = 0;
};

// A handle of the dynamic loader, closed on destruction unless KeepMapped was called.
class SharedObject {
 public:
  SharedObject() = default;
  ~SharedObject();
  SharedObject(SharedObject&& other) noexcept;
  SharedObject& operator=(SharedObject&& other) noexcept;
  SharedObject(const SharedObject&) = delete;
  SharedObject& operator=(const SharedObject&) = delete;

  // Each is empty where nothing could be opened; error (may be null) then says why.
  static SharedObject Open(const std::string& path, std::string* error);
  static SharedObject FindMapped(const std::string& name);

  explicit operator bool() const noexcept { return handle_ != nullptr; }

  // The path that the loader mapped the library from.
  std::string Path() const;

  // The whole pages of its writable memory that no file backs: its .bss. Empty where it has none.
  MemoryRange UnbackedMemory() const noexcept;

  template <typename Function>
  bool Find(const char* symbol, Function* function) const {
    *function = reinterpret_cast<Function>(FindAddress(symbol));
    return *function != nullptr;
  }

  void KeepMapped() noexcept { handle_ = nullptr; }

 private:
  explicit SharedObject(void* handle) noexcept : handle_(handle) {}
  void* FindAddress(const char* symbol) const;

  void* handle_ = nullptr;
};

}  // namespace ftprof::cupti
