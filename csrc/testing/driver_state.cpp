// Stand-in for tests, never shipped: contexts, waiting, and what captures forbid.
#include "testing/driver_state.h"

#include <algorithm>
#include <atomic>

#include "testing/driver_thread.h"

namespace ftprof::standin {
namespace {

std::atomic<ContextObserver> the_observer{nullptr};
std::atomic<CaptureObserver> the_capture_observer{nullptr};

}  // namespace

void SetObserver(ContextObserver observer) { the_observer = observer; }

ContextObserver Observer() { return the_observer; }

void SetCaptureObserver(CaptureObserver observer) { the_capture_observer = observer; }

CaptureObserver TheCaptureObserver() { return the_capture_observer; }

CUresult Usable(const DriverState& state, CUcontext context) {
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const bool known =
      std::any_of(state.contexts.begin(), state.contexts.end(),
                  [&](const std::unique_ptr<CUctx_st>& other) { return other.get() == context; });
  if (!known) return CUDA_ERROR_INVALID_CONTEXT;
  if (!context->alive) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  const Device& device = state.devices[static_cast<std::size_t>(context->device)];
  if (state.clock.now_ns() < device.lost_at_ns) return CUDA_SUCCESS;
  return static_cast<CUresult>(device.script->lost_code);
}

CUresult Usable(const DriverState& state, const OfContext& object) {
  const CUresult result = Usable(state, object.context);
  if (result != CUDA_SUCCESS || object.context->id == object.context_id) return result;
  return CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult WaitUntil(DriverState* state, Lock* lock, CUcontext context, std::uint64_t moment_ns) {
  const OfContext life{context, context->id};
  const Device& device = state->devices[static_cast<std::size_t>(context->device)];
  const std::uint64_t until = std::min(moment_ns, device.lost_at_ns);
  const std::uint64_t now = state->clock.now_ns();
  if (now < until) {
    lock->unlock();
    state->clock.sleep_ns(until - now);
    lock->lock();
  }
  return Usable(*state, life);
}

CUresult ForbidUnsafe(DriverState* state) {
  const CUstreamCaptureMode mode = ThreadCaptureMode();
  if (mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  bool forbidden = false;
  for (auto& [handle, stream] : state->streams) {
    if (!stream->capture) continue;
    Capture& capture = *stream->capture;
    const bool own = capture.thread == std::this_thread::get_id() &&
                     capture.mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    const bool global =
        mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!own && !global) continue;
    capture.invalidated = true;
    forbidden = true;
  }
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

bool SpoilCaptures(DriverState* state, CUcontext context) {
  bool any = false;
  for (auto& [handle, stream] : state->streams) {
    if (!stream->capture || stream->context != context) continue;
    stream->capture->invalidated = true;
    any = true;
  }
  return any;
}

bool IsCapturing(const DriverState& state, CUcontext context, bool blocking) {
  return std::any_of(state.streams.begin(), state.streams.end(), [&](const auto& entry) {
    const CUstream_st& stream = *entry.second;
    if (!stream.capture || stream.context != context) return false;
    return !blocking || (stream.flags & CU_STREAM_NON_BLOCKING) == 0;
  });
}

CUresult Enqueue(DriverState* state, Lock* lock, CUcontext context, KernelRun run,
                 std::uint64_t* end_ns) {
  const std::uint64_t limit = std::max<std::uint64_t>(TheScript().queue_limit, 1) - 1;
  std::uint64_t now = state->clock.now_ns();
  for (;;) {
    const std::uint64_t when = context->timeline->WhenPendingAtMost(limit, now);
    if (when <= now) break;
    if (const CUresult result = WaitUntil(state, lock, context, when)) return result;
    now = state->clock.now_ns();
  }
  const std::uint64_t slowdown = context->patched && (!run.of_graph || TheScript().patch_graphs)
                                     ? TheScript().patched_slowdown
                                     : 1;
  const Timeline::Launch launch = context->timeline->Append(run, slowdown, now);
  if (launch.joined) {
    Ledger::AddLaunch(context->last_work);
  } else {
    const auto place =
        static_cast<std::uint32_t>(state->devices[static_cast<std::size_t>(context->device)].place);
    context->last_work =
        state->ledger.Add({run.of_graph ? LedgerRecord::kGraphWork : LedgerRecord::kWork, place,
                           context->id, run.kernel, launch.start_ns, launch.duration_ns, 1});
  }
  *end_ns = launch.start_ns + launch.duration_ns;
  return CUDA_SUCCESS;
}

}  // namespace ftprof::standin
