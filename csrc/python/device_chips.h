// Which chip each GPU is, as CUPTI names it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cupti/error.h"

namespace ftprof {

struct DeviceChip {
  std::string uuid;  // "GPU-...", as NVML writes it; of a divided GPU, that of the instance
  std::string chip;  // empty where failure says why
  std::optional<cupti::CuptiError> failure;
};

// Every GPU that the CUDA driver shows to this process. Starts the driver here, but no context on
// any GPU. Throws CuptiError where the driver cannot be loaded or started. Both may take long, and
// a broken driver may never answer: call it in a process that may be ended.
std::vector<DeviceChip> DeviceChips();

}  // namespace ftprof
