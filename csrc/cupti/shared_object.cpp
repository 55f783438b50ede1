#include "cupti/shared_object.h"

#include <dlfcn.h>
#include <link.h>

#include <utility>

namespace ftprof::cupti {

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

void* SharedObject::FindAddress(const char* symbol) const { return dlsym(handle_, symbol); }

}  // namespace ftprof::cupti
