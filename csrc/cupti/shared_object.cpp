#include "cupti/shared_object.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace ftprof::cupti {
namespace {

struct Search {
  ElfW(Addr) load_address;
  MemoryRange found;
};

std::uintptr_t UpToPage(std::uintptr_t address) noexcept {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  return (address + page - 1) / page * page;
}

// Called by dl_iterate_phdr for each object. A segment's memory begins with what its file holds;
// the loader maps whole pages of nothing behind that.
int FindUnbacked(dl_phdr_info* object, std::size_t, void* search) noexcept {
  auto* wanted = static_cast<Search*>(search);
  if (object->dlpi_addr != wanted->load_address) return 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr) & segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
    const std::uintptr_t start = object->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t begin = UpToPage(start + segment.p_filesz);
    const std::uintptr_t end = UpToPage(start + segment.p_memsz);
    if (begin < end) wanted->found = {reinterpret_cast<std::byte*>(begin), end - begin};
  }
  return 1;
}

}  // namespace

SharedObject::~SharedObject() {
  if (handle_ != nullptr) (void)dlclose(handle_);
}

SharedObject::SharedObject(SharedObject&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)) {}

SharedObject& SharedObject::operator=(SharedObject&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

SharedObject SharedObject::Open(const std::string& path, std::string* error) {
  // RTLD_LOCAL: our symbols must not become the application's. The loader still finds the library
  // by its SONAME, which is how libcupti finds libnvperf_host.
  SharedObject object(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!object && error != nullptr) {
    const char* reason = dlerror();
    *error = reason != nullptr ? reason : "dlopen failed";
  }
  return object;
}

SharedObject SharedObject::FindMapped(const std::string& name) {
  return SharedObject(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD));
}

std::string SharedObject::Path() const {
  link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return {};
  return map->l_name;
}

MemoryRange SharedObject::UnbackedMemory() const noexcept {
  link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return {};
  Search search{map->l_addr, {}};
  (void)dl_iterate_phdr(&FindUnbacked, &search);
  return search.found;
}

void* SharedObject::FindAddress(const char* symbol) const { return dlsym(handle_, symbol); }

}  // namespace ftprof::cupti
