// Stand-in for tests, never shipped: what every entry point of the stand-in CUPTI needs first.
#include "testing/cupti_state.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "testing/evidence.h"

namespace ftprof::standin {
namespace {

std::atomic<const DriverDoor*> the_door{nullptr};

const DriverDoor* OpenDoor() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return nullptr;
  DriverDoorFunction door = nullptr;
  void* symbol = dlsym(driver, kDriverDoorSymbol);
  std::memcpy(&door, &symbol, sizeof symbol);
  return door == nullptr ? nullptr : door();
}

// The driver's clock once it is there: only that one knows virtual time.
std::uint64_t Now() {
  const DriverDoor* door = the_door;
  return door == nullptr ? TheClock().now_ns() : door->clock.now_ns();
}

void Sleep(std::uint64_t duration_ns) {
  const DriverDoor* door = the_door;
  (door == nullptr ? TheClock() : door->clock).sleep_ns(duration_ns);
}

bool InProgram() {
  const DriverDoor* door = the_door;
  return door != nullptr && door->in_program();
}

}  // namespace

CallGate& Gate() {
  static auto* gate = [] {
    if (TheScript().virtual_time) (void)Door();
    return new CallGate(TheScript(), {&Now, &Sleep}, TheScript().trace != TraceLevel::kNone,
                        &InProgram);
  }();
  return *gate;
}

const DriverDoor* Door() {
  const DriverDoor* door = the_door;
  if (door == nullptr) the_door = door = OpenDoor();
  return door;
}

CUptiResult DriverState(const char* function) {
  static const pid_t process = getpid();
  if (process != getpid()) {
    Violation(std::string(function) + " was called in a forked child");
    return CUPTI_ERROR_NOT_INITIALIZED;
  }
  const DriverDoor* door = Door();
  if (door == nullptr) return CUPTI_ERROR_UNKNOWN;
  const CUresult state = door->state();
  if (state == CUDA_SUCCESS) return CUPTI_SUCCESS;
  if (state == CUDA_ERROR_DEINITIALIZED) {
    Violation(std::string(function) + " was called after the driver's exit handler");
  }
  return CUPTI_ERROR_NOT_INITIALIZED;
}

std::optional<std::string> WithoutSum(const std::string& metric) {
  const std::string rollup = ".sum";
  if (metric.size() <= rollup.size()) return std::nullopt;
  const std::size_t end = metric.size() - rollup.size();
  if (metric.compare(end, rollup.size(), rollup) != 0) return std::nullopt;
  return metric.substr(0, end);
}

}  // namespace ftprof::standin
