// libcupti opens libnvperf_host with RTLD_DEEPBIND, at which AddressSanitizer ends the process. In
// the sanitized test program this definition comes before the sanitizer's and drops the flag.
#include <dlfcn.h>

extern "C" __attribute__((visibility("default"))) void* dlopen(const char* path,
                                                               int flags) noexcept {
  using Function = void* (*)(const char*, int);
  static const auto next = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "dlopen"));
  return next(path, flags & ~RTLD_DEEPBIND);
}
