// Stand-in for tests, never shipped: libcuda's entry points for error texts and for finding entry
// points.
#include <dlfcn.h>

#include <cstring>
#include <string>

#include "testing/driver_lifecycle.h"

using namespace ftprof::standin;

namespace {

struct ErrorText {
  CUresult code;
  const char* name;
};

#define FTPROF_ERROR(name) {name, #name}
constexpr ErrorText kErrors[] = {
    FTPROF_ERROR(CUDA_SUCCESS),
    FTPROF_ERROR(CUDA_ERROR_INVALID_VALUE),
    FTPROF_ERROR(CUDA_ERROR_OUT_OF_MEMORY),
    FTPROF_ERROR(CUDA_ERROR_NOT_INITIALIZED),
    FTPROF_ERROR(CUDA_ERROR_DEINITIALIZED),
    FTPROF_ERROR(CUDA_ERROR_STUB_LIBRARY),
    FTPROF_ERROR(CUDA_ERROR_DEVICE_UNAVAILABLE),
    FTPROF_ERROR(CUDA_ERROR_NO_DEVICE),
    FTPROF_ERROR(CUDA_ERROR_INVALID_DEVICE),
    FTPROF_ERROR(CUDA_ERROR_INVALID_CONTEXT),
    FTPROF_ERROR(CUDA_ERROR_ECC_UNCORRECTABLE),
    FTPROF_ERROR(CUDA_ERROR_OPERATING_SYSTEM),
    FTPROF_ERROR(CUDA_ERROR_INVALID_HANDLE),
    FTPROF_ERROR(CUDA_ERROR_ILLEGAL_STATE),
    FTPROF_ERROR(CUDA_ERROR_NOT_FOUND),
    FTPROF_ERROR(CUDA_ERROR_NOT_READY),
    FTPROF_ERROR(CUDA_ERROR_ILLEGAL_ADDRESS),
    FTPROF_ERROR(CUDA_ERROR_CONTEXT_IS_DESTROYED),
    FTPROF_ERROR(CUDA_ERROR_LAUNCH_FAILED),
    FTPROF_ERROR(CUDA_ERROR_NOT_PERMITTED),
    FTPROF_ERROR(CUDA_ERROR_NOT_SUPPORTED),
    FTPROF_ERROR(CUDA_ERROR_SYSTEM_NOT_READY),
    FTPROF_ERROR(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH),
    FTPROF_ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
    FTPROF_ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
    FTPROF_ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT),
    FTPROF_ERROR(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD),
    FTPROF_ERROR(CUDA_ERROR_UNKNOWN),
};
#undef FTPROF_ERROR

CUresult NameOf(CUresult error, const char** text) {
  for (const ErrorText& known : kErrors) {
    if (known.code != error) continue;
    *text = known.name;
    return CUDA_SUCCESS;
  }
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

// The first version of CUDA whose programs get this form of a function from cuGetProcAddress.
struct VersionedSymbol {
  const char* base;
  const char* symbol;
  int since;
};

constexpr VersionedSymbol kVersioned[] = {
    {"cuCtxCreate", "cuCtxCreate_v4", 12050},
    {"cuCtxCreate", "cuCtxCreate_v2", 3020},
    {"cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v3", 12030},
    {"cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v2", 11030},
    {"cuDeviceGetUuid", "cuDeviceGetUuid_v2", 11040},
    {"cuGetProcAddress", "cuGetProcAddress_v2", 12000},
    {"cuGraphInstantiate", "cuGraphInstantiateWithFlags", 11040},
};

std::string SymbolFor(const std::string& base, int version) {
  for (const VersionedSymbol& row : kVersioned) {
    if (base == row.base && version >= row.since) return row.symbol;
  }
  return base;
}

CUresult FindSymbol(const char* name, void** function, int version,
                    CUdriverProcAddressQueryResult* status) {
  if (name == nullptr || function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Dl_info self{};
  (void)dladdr(reinterpret_cast<const void*>(&kVersioned), &self);
  void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  *function = nullptr;
  const std::string base = SymbolFor(name, version);
  for (const char* suffix : {"", "_v2"}) {
    if (*function == nullptr) *function = dlsym(library, (base + suffix).c_str());
  }
  (void)dlclose(library);
  if (status != nullptr) {
    *status =
        *function == nullptr ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND : CU_GET_PROC_ADDRESS_SUCCESS;
  }
  return *function == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

}  // namespace

CUresult cuGetErrorName(CUresult error, const char** text) {
  return ThroughGate<CUresult>(&Gate(), __func__, -1, [=] { return NameOf(error, text); });
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  return ThroughGate<CUresult>(&Gate(), __func__, -1, [=] { return NameOf(error, text); });
}

CUresult cuGetProcAddress_v2(const char* name, void** function, int version, cuuint64_t,
                             CUdriverProcAddressQueryResult* status) {
  return ThroughGate<CUresult>(&Gate(), __func__, -1,
                               [=] { return FindSymbol(name, function, version, status); });
}

CUresult cuGetProcAddress(const char* name, void** function, int version, cuuint64_t) {
  return ThroughGate<CUresult>(&Gate(), __func__, -1,
                               [=] { return FindSymbol(name, function, version, nullptr); });
}
