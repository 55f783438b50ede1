// Stand-in for tests, never shipped: cuInit, the process's exit, and every entry point's first
// step.
#include "testing/driver_lifecycle.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "testing/driver_thread.h"
#include "testing/evidence.h"
#include "testing/visible_devices.h"

namespace ftprof::standin {
namespace {

enum class Phase { kBefore, kStarting, kRunning, kEnded };

std::atomic<Phase> phase{Phase::kBefore};
std::atomic<pid_t> process{0};
std::atomic<DriverState*> the_state{nullptr};

void AtExit() {
  if (getpid() != process.load()) return;
  phase = Phase::kEnded;
  DriverState& state = State();
  const Lock lock(state.mutex);
  (void)state.ledger.Add({LedgerRecord::kProcessEnded, 0, 0, 0, state.clock.now_ns(), 0, 0});
}

void RecordLosses(DriverState* state) {
  const std::uint64_t now = state->clock.now_ns();
  for (Device& device : state->devices) {
    if (!device.script->lost_after_us) continue;
    device.lost_at_ns = now + *device.script->lost_after_us * 1000;
    (void)state->ledger.Add({LedgerRecord::kDeviceLost, static_cast<std::uint32_t>(device.place), 0,
                             0, device.lost_at_ns, 0, 0});
  }
}

CUresult Start() {
  const Script& script = TheScript();
  const std::vector<std::size_t> visible =
      VisibleDevices(script, std::getenv("CUDA_VISIBLE_DEVICES"));
  if (visible.empty()) return CUDA_ERROR_NO_DEVICE;
  auto* state = new DriverState(script);
  for (const std::size_t place : visible) {
    const DeviceScript& device = script.devices[place];
    state->devices.push_back({&device, static_cast<int>(place), KernelTable(script, device)});
  }
  RecordLosses(state);
  the_state = state;
  process = getpid();
  // Before the injection library's own handlers, so that those run first.
  (void)std::atexit(&AtExit);
  phase = Phase::kStarting;
  return CUDA_SUCCESS;
}

// A library that cannot be loaded is passed over in silence. What a real driver does then is not
// documented; the trace tells.
void LoadInjection() {
  const char* path = std::getenv("CUDA_INJECTION64_PATH");
  if (path == nullptr || *path == '\0') return;
  const std::uint64_t begin_ns = State().clock.now_ns();
  const bool in_program = std::exchange(InProgram(), false);
  int answer = -1;
  if (void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    int (*initialize)() = nullptr;
    void* symbol = dlsym(library, "InitializeInjection");
    std::memcpy(&initialize, &symbol, sizeof symbol);
    if (initialize != nullptr) answer = initialize();
  }
  InProgram() = in_program;
  if (TheScript().trace != TraceLevel::kNone) {
    TraceCall("InitializeInjection", -1, answer, begin_ns, State().clock.now_ns());
  }
}

// Waits for another thread's cuInit, the injection library's start included; a cuInit from within
// that start returns at once. Until then the driver answers no other call: what a real one does is
// not documented, and this is the harder case.
struct InitializeOnce {
  std::recursive_mutex mutex;
  bool entered = false;
  CUresult result = CUDA_SUCCESS;
};

InitializeOnce& Once() {
  static auto* once = new InitializeOnce;
  return *once;
}

}  // namespace

DriverState& State() { return *the_state.load(); }

CallGate& Gate() {
  static auto* gate = new CallGate(TheScript(), TheClock(), TheScript().trace == TraceLevel::kAll,
                                   [] { return InProgram(); });
  return *gate;
}

CUresult Initialize() {
  if (phase != Phase::kBefore && process != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
  InitializeOnce& once = Once();
  const std::lock_guard<std::recursive_mutex> lock(once.mutex);
  if (once.entered) return once.result;
  once.entered = true;
  once.result = Start();
  if (once.result != CUDA_SUCCESS) return once.result;
  LoadInjection();
  phase = Phase::kRunning;
  return CUDA_SUCCESS;
}

CUresult LifecycleState() {
  switch (phase.load()) {
    case Phase::kBefore:
    case Phase::kStarting:
      return CUDA_ERROR_NOT_INITIALIZED;
    case Phase::kEnded:
      return CUDA_ERROR_DEINITIALIZED;
    case Phase::kRunning:
      break;
  }
  return process == getpid() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

void CheckCallback(const char* function) {
  if (!InsideCallback()) return;
  for (const char* allowed : {"cuCtxGet", "cuDeviceGet", "cuDriverGet", "cuGet", "cuCtxSynchronize",
                              "cuStreamSynchronize"}) {
    if (std::strncmp(function, allowed, std::strlen(allowed)) == 0) return;
  }
  Violation(std::string(function) + " was called inside a CUPTI callback");
}

int CurrentDevice() {
  const CUcontext context = Current();
  return context == nullptr ? -1 : context->device;
}

}  // namespace ftprof::standin
