// Stand-in for tests, never shipped: what every entry point of the stand-in CUPTI needs first.
#pragma once

#include <cupti_profiler_host.h>
#include <cupti_profiler_target.h>
#include <cupti_result.h>

#include <optional>
#include <string>

#include "testing/call_gate.h"
#include "testing/driver_door.h"

namespace ftprof::standin {

CallGate& Gate();

// The stand-in driver, opened at the first call as the real CUPTI does; null where there is none.
const DriverDoor* Door();

// Of a call that needs the driver: CUPTI_SUCCESS while it runs. A call in a forked child, or after
// exit handlers ran, is a violation.
CUptiResult DriverState(const char* function);

// Whether the caller filled in the first two members of every parameter struct.
template <typename Params>
bool WellFormed(const Params* params, std::size_t size) {
  return params != nullptr && params->structSize == size && params->pPriv == nullptr;
}

// "sm__cycles_active" of "sm__cycles_active.sum"; nothing for another rollup.
std::optional<std::string> WithoutSum(const std::string& metric);

// An entry point of the host API.
template <typename Params, typename Body>
CUptiResult HostCall(const char* function, Params* params, std::size_t size, Body body) {
  return ThroughGate<CUptiResult>(&Gate(), function, -1, [&] {
    return WellFormed(params, size) ? body() : CUPTI_ERROR_INVALID_PARAMETER;
  });
}

// An entry point that needs the driver. device is what the call is about, or -1.
template <typename Params, typename Body>
CUptiResult TargetCall(const char* function, Params* params, std::size_t size, int device,
                       Body body) {
  return ThroughGate<CUptiResult>(&Gate(), function, device, [&] {
    if (const CUptiResult result = DriverState(function)) return result;
    return WellFormed(params, size) ? body() : CUPTI_ERROR_INVALID_PARAMETER;
  });
}

// Whether cuptiProfilerInitialize was called.
bool ProfilerInitialized();
// How many range-profiler sessions are open on a device, or on all for -1.
std::size_t OpenSessions(int device);

}  // namespace ftprof::standin
