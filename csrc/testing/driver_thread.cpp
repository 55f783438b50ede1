// Stand-in for tests, never shipped: what the driver keeps for each thread.
#include "testing/driver_thread.h"

#include <utility>

namespace ftprof::standin {
namespace {

thread_local ThreadStack stack = {};
thread_local CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
thread_local bool inside_callback = false;
thread_local bool in_program = false;

}  // namespace

bool ThreadStack::Push(CUcontext context) {
  if (depth == kDeepest) return false;
  contexts[depth++] = context;
  return true;
}

CUcontext ThreadStack::Pop() { return depth == 0 ? nullptr : contexts[--depth]; }

void ThreadStack::Replace(CUcontext context) {
  if (depth > 0) --depth;
  if (context != nullptr) (void)Push(context);
}

ThreadStack& CurrentStack() { return stack; }

CUcontext Current() { return stack.depth == 0 ? nullptr : stack.contexts[stack.depth - 1]; }

CUstreamCaptureMode ThreadCaptureMode() { return capture_mode; }

CUstreamCaptureMode ExchangeCaptureMode(CUstreamCaptureMode mode) {
  return std::exchange(capture_mode, mode);
}

bool& InProgram() { return in_program; }

bool& InsideCallback() { return inside_callback; }

}  // namespace ftprof::standin
