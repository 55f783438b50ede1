// Stand-in for tests, never shipped: libcupti's version, error texts, profiler initialisation and
// device queries.
#include <cupti_activity.h>
#include <cupti_target.h>
#include <cupti_version.h>

#include <atomic>
#include <cstring>

#include "testing/cupti_state.h"
#include "testing/evidence.h"
#include "testing/images.h"

using namespace ftprof::standin;

namespace {

std::atomic<bool> initialized{false};

struct ResultText {
  CUptiResult code;
  const char* name;
};

#define FTPROF_RESULT(name) {name, #name}
constexpr ResultText kResults[] = {
    FTPROF_RESULT(CUPTI_SUCCESS),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_PARAMETER),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_DEVICE),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_CONTEXT),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_OPERATION),
    FTPROF_RESULT(CUPTI_ERROR_OUT_OF_MEMORY),
    FTPROF_RESULT(CUPTI_ERROR_HARDWARE),
    FTPROF_RESULT(CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT),
    FTPROF_RESULT(CUPTI_ERROR_API_NOT_IMPLEMENTED),
    FTPROF_RESULT(CUPTI_ERROR_MAX_LIMIT_REACHED),
    FTPROF_RESULT(CUPTI_ERROR_NOT_READY),
    FTPROF_RESULT(CUPTI_ERROR_NOT_COMPATIBLE),
    FTPROF_RESULT(CUPTI_ERROR_NOT_INITIALIZED),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_METRIC_NAME),
    FTPROF_RESULT(CUPTI_ERROR_DISABLED),
    FTPROF_RESULT(CUPTI_ERROR_HARDWARE_BUSY),
    FTPROF_RESULT(CUPTI_ERROR_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_INSUFFICIENT_PRIVILEGES),
    FTPROF_RESULT(CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES),
    FTPROF_RESULT(CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_CMP_DEVICE_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_SLI_DEVICE_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED),
    FTPROF_RESULT(CUPTI_ERROR_INVALID_CHIP_NAME),
    FTPROF_RESULT(CUPTI_ERROR_UNKNOWN),
};
#undef FTPROF_RESULT

const DeviceScript* DeviceAt(int ordinal) {
  const int place = Door()->device_in_script(ordinal);
  return place < 0 ? nullptr : &TheScript().devices[static_cast<std::size_t>(place)];
}

CUptiResult Availability(CUpti_Profiler_GetCounterAvailability_Params* params) {
  ContextView view{};
  if (!Door()->find_context(params->ctx, &view)) return CUPTI_ERROR_INVALID_CONTEXT;
  if (view.state != CUDA_SUCCESS) {
    return static_cast<CUptiResult>(DeviceAt(view.device)->lost_cupti_code);
  }
  // "May fail, if any profiling or sampling session is active" on the context or its device.
  if (OpenSessions(view.device) > 0) {
    Violation("cuptiProfilerGetCounterAvailability was called with a session open on the device");
    return CUPTI_ERROR_HARDWARE_BUSY;
  }
  if (params->pCounterAvailabilityImage != nullptr) {
    if (params->counterAvailabilityImageSize < kAvailabilitySize) {
      return CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT;
    }
    std::memset(params->pCounterAvailabilityImage, 0xa5, kAvailabilitySize);
  }
  params->counterAvailabilityImageSize = kAvailabilitySize;
  return CUPTI_SUCCESS;
}

CUptiResult Supported(CUpti_Profiler_DeviceSupported_Params* params) {
  if (DeviceAt(params->cuDevice) == nullptr) return CUPTI_ERROR_INVALID_DEVICE;
  struct Field {
    const char* name;
    CUpti_Profiler_Support_Level* level;
  };
  const Field fields[] = {{"isSupported", &params->isSupported},
                          {"architecture", &params->architecture},
                          {"sli", &params->sli},
                          {"vGpu", &params->vGpu},
                          {"confidentialCompute", &params->confidentialCompute},
                          {"cmp", &params->cmp},
                          {"wsl", &params->wsl}};
  for (const Field& field : fields) {
    *field.level = CUPTI_PROFILER_CONFIGURATION_SUPPORTED;
    Overwrite(field.name, field.level);
  }
  return CUPTI_SUCCESS;
}

}  // namespace

namespace ftprof::standin {

bool ProfilerInitialized() { return initialized; }

}  // namespace ftprof::standin

CUptiResult cuptiGetVersion(uint32_t* version) {
  return ThroughGate<CUptiResult>(&Gate(), __func__, -1, [version] {
    if (version == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
    *version = TheScript().cupti_version;
    Overwrite("version", version);
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  return ThroughGate<CUptiResult>(&Gate(), __func__, -1, [=] {
    if (text == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
    for (const ResultText& known : kResults) {
      if (known.code != result) continue;
      *text = known.name;
      return CUPTI_SUCCESS;
    }
    return CUPTI_ERROR_INVALID_PARAMETER;
  });
}

CUptiResult cuptiProfilerInitialize(CUpti_Profiler_Initialize_Params* params) {
  return TargetCall(__func__, params, CUpti_Profiler_Initialize_Params_STRUCT_SIZE, -1, [] {
    initialized = true;
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiProfilerDeInitialize(CUpti_Profiler_DeInitialize_Params* params) {
  return TargetCall(__func__, params, CUpti_Profiler_DeInitialize_Params_STRUCT_SIZE, -1, [] {
    if (OpenSessions(-1) > 0) Violation("cuptiProfilerDeInitialize was called with a session open");
    if (initialized.exchange(false)) return CUPTI_SUCCESS;
    // The real one crashes.
    Violation("cuptiProfilerDeInitialize was called without cuptiProfilerInitialize");
    return CUPTI_ERROR_NOT_INITIALIZED;
  });
}

CUptiResult cuptiDeviceGetChipName(CUpti_Device_GetChipName_Params* params) {
  const int device = params == nullptr ? -1 : static_cast<int>(params->deviceIndex);
  return TargetCall(__func__, params, CUpti_Device_GetChipName_Params_STRUCT_SIZE, device, [=] {
    const DeviceScript* found = DeviceAt(device);
    if (found == nullptr) return CUPTI_ERROR_INVALID_DEVICE;
    params->pChipName = found->chip.c_str();
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiProfilerGetCounterAvailability(
    CUpti_Profiler_GetCounterAvailability_Params* params) {
  return TargetCall(__func__, params, CUpti_Profiler_GetCounterAvailability_Params_STRUCT_SIZE, -1,
                    [params] { return Availability(params); });
}

CUptiResult cuptiProfilerDeviceSupported(CUpti_Profiler_DeviceSupported_Params* params) {
  const int device = params == nullptr ? -1 : params->cuDevice;
  return TargetCall(__func__, params, CUpti_Profiler_DeviceSupported_Params_STRUCT_SIZE, device,
                    [params] { return Supported(params); });
}

CUptiResult cuptiFinalize() {
  Violation("cuptiFinalize was called");
  return CUPTI_SUCCESS;
}
