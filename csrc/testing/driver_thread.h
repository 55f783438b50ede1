// Stand-in for tests, never shipped: what the driver keeps for each thread.
#pragma once

#include "testing/driver_state.h"

namespace ftprof::standin {

// Plain thread-local data without destructors: exit handlers run after a thread's destructors.
struct ThreadStack {
  static constexpr int kDeepest = 64;
  CUcontext contexts[kDeepest];
  int depth;

  bool Push(CUcontext context);
  CUcontext Pop();
  // As cuCtxSetCurrent: replaces the top, and null pops it.
  void Replace(CUcontext context);
};

ThreadStack& CurrentStack();
CUstreamCaptureMode ThreadCaptureMode();
CUstreamCaptureMode ExchangeCaptureMode(CUstreamCaptureMode mode);

// Set on threads that the test program calls its own; never while the injection library starts.
bool& InProgram();

// Set while CUPTI's subscriber is called on this thread.
bool& InsideCallback();

}  // namespace ftprof::standin
