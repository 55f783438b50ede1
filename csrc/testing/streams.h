// Stand-in for tests, never shipped: what a stream handle stands for, and stream capture.
#pragma once

#include "testing/driver_state.h"

namespace ftprof::standin {

// A stream of the caller's, or the current context's legacy stream (stream is null then).
struct StreamTarget {
  CUcontext context = nullptr;
  CUstream stream = nullptr;

  // Streams of a context run one after the other, so that what was launched last ends last.
  std::uint64_t FreeAt() const;
};

// The caller holds the lock around all of these.
CUresult FindTarget(const DriverState& state, CUstream handle, StreamTarget* target);

// As cuStreamBeginCapture and so on.
CUresult BeginCapture(DriverState* state, const StreamTarget& target, CUstreamCaptureMode mode);
CUresult EndCapture(DriverState* state, const StreamTarget& target, CUgraph* graph);
CUresult CaptureStatus(const DriverState& state, const StreamTarget& target,
                       CUstreamCaptureStatus* status, cuuint64_t* id);

// Fails, and invalidates, where the stream is being captured, or where it is the legacy stream and
// a stream that synchronises with it is.
CUresult CheckNotCapturing(DriverState* state, const StreamTarget& target);

// Runs a kernel, or adds it to the graph that the stream is captured into.
CUresult LaunchOn(DriverState* state, Lock* lock, const StreamTarget& target, KernelRun run);

}  // namespace ftprof::standin
