// Stand-in for tests, never shipped: libcuda's entry points for contexts.
#include "testing/context_life.h"
#include "testing/driver_lifecycle.h"
#include "testing/driver_thread.h"

using namespace ftprof::standin;

namespace {

// body(state, lock) for a device that exists.
template <typename Body>
CUresult PrimaryCall(const char* function, CUdevice device, Body body) {
  return LockedCall(function, device, [&](DriverState* state, Lock* lock) {
    return IsDevice(*state, device) ? body(state, lock) : CUDA_ERROR_INVALID_DEVICE;
  });
}

CUresult Create(const char* function, CUcontext* context, unsigned flags, CUdevice device) {
  return PrimaryCall(function, device, [&](DriverState* state, Lock* lock) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    *context = CreateContext(state, lock, device, flags);
    return CurrentStack().Push(*context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult Synchronize(DriverState* state, Lock* lock, CUcontext context) {
  if (const CUresult result = ForbidUnsafe(state)) return result;
  return WaitUntil(state, lock, context, context->timeline->FreeAt());
}

}  // namespace

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  return PrimaryCall(__func__, device, [=](DriverState* state, Lock*) {
    if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const Device& found = state->devices[static_cast<std::size_t>(device)];
    *flags = found.flags;
    *active = PrimaryIsActive(found) ? 1 : 0;
    Overwrite("active", active);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return PrimaryCall(__func__, device, [=](DriverState* state, Lock* lock) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    return RetainPrimary(state, lock, device, context);
  });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return PrimaryCall(__func__, device, [=](DriverState* state, Lock* lock) {
    return ReleasePrimary(state, lock, device);
  });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return cuDevicePrimaryCtxRelease_v2(device); }

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return PrimaryCall(__func__, device, [=](DriverState* state, Lock* lock) {
    return ResetPrimary(state, lock, device);
  });
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) { return cuDevicePrimaryCtxReset_v2(device); }

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
  return PrimaryCall(__func__, device, [=](DriverState* state, Lock*) {
    state->devices[static_cast<std::size_t>(device)].flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxCreate_v2(CUcontext* context, unsigned int flags, CUdevice device) {
  return Create(__func__, context, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams*, unsigned int flags,
                        CUdevice device) {
  return Create(__func__, context, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext context) {
  return LockedCall(__func__, [=](DriverState* state, Lock* lock) {
    const CUresult usable = Usable(*state, context);
    if (usable == CUDA_ERROR_INVALID_CONTEXT || usable == CUDA_ERROR_CONTEXT_IS_DESTROYED) {
      return usable;
    }
    if (context->primary) return CUDA_ERROR_INVALID_CONTEXT;
    EndContext(state, lock, context);
    if (Current() == context) (void)CurrentStack().Pop();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    if (context != nullptr) {
      if (const CUresult usable = Usable(*state, context)) return usable;
    }
    CurrentStack().Replace(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  return Call(__func__, [=] {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *context = Current();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    if (const CUresult usable = Usable(*state, context)) return usable;
    return CurrentStack().Push(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  return Call(__func__, [=] {
    const CUcontext top = CurrentStack().Pop();
    if (top == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (context != nullptr) *context = top;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice* device) {
  return CurrentCall(__func__, [=](DriverState*, Lock*, CUcontext context) {
    *device = context->device;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext context) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    const CUcontext about = context == nullptr ? Current() : context;
    if (const CUresult usable = Usable(*state, about)) return usable;
    *device = about->device;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetId(CUcontext context, unsigned long long* id) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    const CUcontext about = context == nullptr ? Current() : context;
    if (const CUresult usable = Usable(*state, about)) return usable;
    *id = about->id;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetFlags(unsigned int* flags) {
  return CurrentCall(__func__, [=](DriverState*, Lock*, CUcontext context) {
    *flags = context->flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned int* version) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    if (const CUresult usable = Usable(*state, context == nullptr ? Current() : context)) {
      return usable;
    }
    *version = 3020;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize() {
  return CurrentCall(__func__, [](DriverState* state, Lock* lock, CUcontext context) {
    return Synchronize(state, lock, context);
  });
}

CUresult cuCtxSynchronize_v2(CUcontext context) {
  return LockedCall(__func__, [=](DriverState* state, Lock* lock) {
    if (const CUresult usable = Usable(*state, context)) return usable;
    return Synchronize(state, lock, context);
  });
}
