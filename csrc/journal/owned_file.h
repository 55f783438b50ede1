// A file that stays its owner's, in a process whose other code may do anything with descriptors.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace ftprof::journal {

// Why something with a file failed; false where nothing did.
struct Trouble {
  const char* what = nullptr;
  int error = 0;  // errno, or 0

  explicit operator bool() const noexcept { return what != nullptr; }

  // One line that does not depend on the locale.
  std::string Text() const;
};

struct FileState {
  std::uint64_t size;
  bool deleted;
};

// Training code closes descriptors that it did not open (daemons, launchers), and the next file
// that it opens then has our number. So a file is known by its inode, and looked at before each
// use. Not safe against a close and an open in the very moment between that look and the use; for
// that the descriptor is a high one, which open() gives to nobody while lower ones are free.
class OwnedFile {
 public:
  OwnedFile() = default;
  ~OwnedFile() { Close(); }
  OwnedFile(OwnedFile&& other) noexcept { *this = static_cast<OwnedFile&&>(other); }
  OwnedFile& operator=(OwnedFile&& other) noexcept;
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;

  // For reading and appending, closed on exec. flags and mode are added to open()'s: O_CREAT.
  Trouble Open(const std::string& path, int flags, mode_t mode);
  bool opened() const noexcept { return !path_.empty(); }

  // Opens it again by its path where the descriptor is no longer ours. Another file that has the
  // path by now is refused.
  Trouble TakeBack() noexcept;
  Trouble State(FileState* state) const noexcept;
  bool IsAt(const std::string& path) const noexcept;

  // One call to write; what was written of a short one stays.
  Trouble WriteOnce(std::string_view text) const noexcept;
  Trouble WriteAll(std::string_view text) const noexcept;
  Trouble CutTo(std::uint64_t size) const noexcept;
  Trouble Read(std::uint64_t begin, std::uint64_t size, std::string* text) const;
  Trouble Sync() const noexcept;

  // Without effect on whatever else has the number by now.
  void Close() noexcept;

  // The same in a forked child, where path_ may be half of something.
  void CloseInChild() const noexcept;

  // The file has got another name.
  void Renamed(std::string path) noexcept { path_.swap(path); }

 private:
  bool IsOurs() const noexcept;

  std::string path_;
  int descriptor_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace ftprof::journal
