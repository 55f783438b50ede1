// Stand-in for tests, never shipped: the stand-in driver's side of driver_door.h.
#include "testing/driver_door.h"
#include "testing/driver_lifecycle.h"
#include "testing/driver_thread.h"
#include "testing/streams.h"

namespace ftprof::standin {
namespace {

bool FindContext(CUcontext context, ContextView* view) {
  Lock lock(State().mutex);
  const CUresult usable = Usable(State(), context);
  if (usable == CUDA_ERROR_INVALID_CONTEXT || usable == CUDA_ERROR_CONTEXT_IS_DESTROYED) {
    return false;
  }
  *view = {context->id, context->device, usable, Current() == context};
  return true;
}

int DeviceInScript(int ordinal) {
  Lock lock(State().mutex);
  const auto index = static_cast<std::size_t>(ordinal);
  return ordinal >= 0 && index < State().devices.size() ? State().devices[index].place : -1;
}

bool DoorSpoilCaptures(CUcontext context) {
  Lock lock(State().mutex);
  return SpoilCaptures(&State(), context);
}

CUresult Synchronize(CUcontext context, std::uint64_t id) {
  Lock lock(State().mutex);
  if (const CUresult usable = Usable(State(), OfContext{context, id})) return usable;
  return WaitUntil(&State(), &lock, context, context->timeline->FreeAt());
}

CUresult Read(CUcontext context, std::uint64_t id, const char* const* metrics,
              std::size_t num_metrics, std::uint64_t* counts, std::uint64_t* at_ns) {
  Lock lock(State().mutex);
  if (const CUresult usable = Usable(State(), OfContext{context, id})) return usable;
  *at_ns = State().clock.now_ns();
  const std::vector<std::uint64_t> executed = context->timeline->Read(*at_ns);
  const KernelTable& kernels = State().devices[static_cast<std::size_t>(context->device)].kernels;
  for (std::size_t i = 0; i < num_metrics; ++i) {
    const int index = kernels.MetricIndex(WithoutTwin(metrics[i]));
    counts[i] = index < 0 ? 0 : executed[static_cast<std::size_t>(index)];
  }
  return CUDA_SUCCESS;
}

void SetPatched(CUcontext context, std::uint64_t id, bool patched) {
  Lock lock(State().mutex);
  if (Usable(State(), OfContext{context, id}) == CUDA_SUCCESS) context->patched = patched;
}

}  // namespace
}  // namespace ftprof::standin

extern "C" {

__attribute__((visibility("default"))) const ftprof::standin::DriverDoor*
ftprofStandinDriverDoor() {
  using namespace ftprof::standin;
  static const DriverDoor door = {TheClock(),         [] { return InProgram(); },
                                  &LifecycleState,    &FindContext,
                                  &DeviceInScript,    &DoorSpoilCaptures,
                                  &Synchronize,       &Read,
                                  &SetPatched,        &SetObserver,
                                  &SetCaptureObserver};
  return &door;
}

// A thread of the test program says so: rules can be for such threads, or for all others.
__attribute__((visibility("default"))) void ftprofStandinProgramThread(int own) {
  ftprof::standin::InProgram() = own != 0;
}

// For tests in virtual time: lets this many microseconds pass.
__attribute__((visibility("default"))) void ftprofStandinAdvance(unsigned long long us) {
  ftprof::standin::AdvanceVirtual(us * 1000);
}

}  // extern "C"
