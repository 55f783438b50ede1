// Stand-in for tests, never shipped: what a stream handle stands for, and stream capture.
#include "testing/streams.h"

#include <utility>

#include "testing/evidence.h"

namespace ftprof::standin {
namespace {

bool IsLegacy(CUstream handle) {
  return handle == nullptr || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD;
}

// What the legacy stream may not do while a blocking stream of its context is being captured.
CUresult CheckImplicit(DriverState* state, CUcontext context) {
  if (!IsCapturing(*state, context, true)) return CUDA_SUCCESS;
  for (auto& [handle, stream] : state->streams) {
    const bool blocking = (stream->flags & CU_STREAM_NON_BLOCKING) == 0;
    if (stream->context == context && blocking && stream->capture) {
      stream->capture->invalidated = true;
    }
  }
  return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
}

}  // namespace

std::uint64_t StreamTarget::FreeAt() const {
  return stream == nullptr ? context->timeline->FreeAt() : stream->free_at_ns;
}

CUresult FindTarget(const DriverState& state, CUstream handle, StreamTarget* target) {
  if (IsLegacy(handle)) {
    *target = {Current(), nullptr};
    return Usable(state, target->context);
  }
  if (state.streams.count(handle) == 0) return CUDA_ERROR_INVALID_HANDLE;
  *target = {handle->context, handle};
  return Usable(state, *handle);
}

CUresult BeginCapture(DriverState* state, const StreamTarget& target, CUstreamCaptureMode mode) {
  if (target.stream == nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (target.stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (target.context->patched) Violation("a capture began while code was patched");
  Capture& capture = target.stream->capture.emplace();
  capture.id = state->next_capture_id++;
  capture.mode = mode;
  capture.thread = std::this_thread::get_id();
  return CUDA_SUCCESS;
}

CUresult EndCapture(DriverState* state, const StreamTarget& target, CUgraph* graph) {
  *graph = nullptr;
  if (target.stream == nullptr || !target.stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  Capture& capture = *target.stream->capture;
  if (capture.mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
      capture.thread != std::this_thread::get_id()) {
    capture.invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  const bool invalidated = capture.invalidated;
  auto captured = std::make_unique<CUgraph_st>(std::move(capture.graph));
  target.stream->capture.reset();
  if (invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  *graph = captured.get();
  state->graphs.emplace(*graph, std::move(captured));
  return CUDA_SUCCESS;
}

CUresult CaptureStatus(const DriverState& state, const StreamTarget& target,
                       CUstreamCaptureStatus* status, cuuint64_t* id) {
  *status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (target.stream == nullptr) {
    return IsCapturing(state, target.context, true) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
                                                    : CUDA_SUCCESS;
  }
  if (!target.stream->capture) return CUDA_SUCCESS;
  const Capture& capture = *target.stream->capture;
  *status =
      capture.invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (id != nullptr) *id = capture.id;
  return CUDA_SUCCESS;
}

CUresult CheckNotCapturing(DriverState* state, const StreamTarget& target) {
  if (target.stream == nullptr) return CheckImplicit(state, target.context);
  if (!target.stream->capture) return CUDA_SUCCESS;
  target.stream->capture->invalidated = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult LaunchOn(DriverState* state, Lock* lock, const StreamTarget& target, KernelRun run) {
  if (target.stream == nullptr) {
    if (const CUresult result = CheckImplicit(state, target.context)) return result;
  } else if (target.stream->capture) {
    Capture& capture = *target.stream->capture;
    if (capture.invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    capture.graph.kernels.push_back(run.kernel);
    return CUDA_SUCCESS;
  }
  std::uint64_t end_ns = 0;
  const CUresult result = Enqueue(state, lock, target.context, run, &end_ns);
  if (result != CUDA_SUCCESS || target.stream == nullptr) return result;
  // Enqueue may have waited without the lock.
  if (state->streams.count(target.stream) == 1) target.stream->free_at_ns = end_ns;
  return CUDA_SUCCESS;
}

}  // namespace ftprof::standin
