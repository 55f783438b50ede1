// Stand-in for tests, never shipped: libcuda's entry points for streams, captures and events.
#include "testing/driver_lifecycle.h"
#include "testing/driver_thread.h"
#include "testing/streams.h"

using namespace ftprof::standin;

namespace {

CUresult CreateStream(const char* function, CUstream* stream, unsigned flags) {
  return CurrentCall(function, [=](DriverState* state, Lock*, CUcontext context) {
    if (stream == nullptr) return CUDA_ERROR_INVALID_VALUE;
    auto created = std::make_unique<CUstream_st>();
    created->context = context;
    created->context_id = context->id;
    created->flags = flags;
    *stream = created.get();
    state->streams.emplace(*stream, std::move(created));
    return CUDA_SUCCESS;
  });
}

// body(state, lock, target) for a usable stream.
template <typename Body>
CUresult StreamCall(const char* function, CUstream stream, Body body) {
  return LockedCall(function, [&](DriverState* state, Lock* lock) {
    StreamTarget target;
    if (const CUresult result = FindTarget(*state, stream, &target)) return result;
    return body(state, lock, target);
  });
}

CUresult CaptureInfo(const char* function, CUstream stream, CUstreamCaptureStatus* status,
                     cuuint64_t* id) {
  return StreamCall(function, stream, [=](DriverState* state, Lock*, const StreamTarget& target) {
    if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
    return CaptureStatus(*state, target, status, id);
  });
}

void Observe(const CaptureCall& call) {
  const CaptureObserver observer = TheCaptureObserver();
  if (observer == nullptr) return;
  InsideCallback() = true;
  observer(call);
  InsideCallback() = false;
}

// A call that begins or ends a capture, with CUPTI's callbacks around it.
template <typename Body>
CUresult CaptureCallOf(const char* function, CUstream stream, CaptureCall::What what, Body body) {
  Observe({what, stream, false, CUDA_SUCCESS});
  const CUresult result = StreamCall(function, stream, body);
  Observe({what, stream, true, result});
  return result;
}

}  // namespace

CUresult cuStreamCreate(CUstream* stream, unsigned int flags) {
  return CreateStream(__func__, stream, flags);
}

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int) {
  return CreateStream(__func__, stream, flags);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  Observe({CaptureCall::kDestroysStream, stream, false, CUDA_SUCCESS});
  const CUresult result = LockedCall(__func__, [=](DriverState* state, Lock*) {
    return state->streams.erase(stream) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
  Observe({CaptureCall::kDestroysStream, stream, true, result});
  return result;
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext* context) {
  return StreamCall(__func__, stream, [=](DriverState*, Lock*, const StreamTarget& target) {
    *context = target.context;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamSynchronize(CUstream stream) {
  return StreamCall(__func__, stream, [](DriverState* state, Lock* lock, StreamTarget target) {
    if (const CUresult result = CheckNotCapturing(state, target)) return result;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    return WaitUntil(state, lock, target.context, target.FreeAt());
  });
}

CUresult cuStreamQuery(CUstream stream) {
  return StreamCall(__func__, stream, [](DriverState* state, Lock*, StreamTarget target) {
    if (const CUresult result = CheckNotCapturing(state, target)) return result;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    return state->clock.now_ns() < target.FreeAt() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
  });
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
  return CaptureCallOf(__func__, stream, CaptureCall::kBegins,
                       [=](DriverState* state, Lock*, StreamTarget target) {
                         return BeginCapture(state, target, mode);
                       });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  return CaptureCallOf(__func__, stream, CaptureCall::kEnds,
                       [=](DriverState* state, Lock*, StreamTarget target) {
                         if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
                         return EndCapture(state, target, graph);
                       });
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  return CaptureInfo(__func__, stream, status, nullptr);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** dependencies,
                                   size_t* num_dependencies) {
  if (graph != nullptr) *graph = nullptr;
  if (dependencies != nullptr) *dependencies = nullptr;
  if (num_dependencies != nullptr) *num_dependencies = 0;
  return CaptureInfo(__func__, stream, status, id);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** dependencies,
                                   const CUgraphEdgeData** edges, size_t* num_dependencies) {
  if (graph != nullptr) *graph = nullptr;
  if (dependencies != nullptr) *dependencies = nullptr;
  if (edges != nullptr) *edges = nullptr;
  if (num_dependencies != nullptr) *num_dependencies = 0;
  return CaptureInfo(__func__, stream, status, id);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  return Call(__func__, [=] {
    if (mode == nullptr || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
        *mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    *mode = ExchangeCaptureMode(*mode);
    return CUDA_SUCCESS;
  });
}
