// Stand-in for tests, never shipped: cuInit, the process's exit, and every entry point's first
// step.
#pragma once

#include <utility>

#include "testing/call_gate.h"
#include "testing/driver_state.h"

namespace ftprof::standin {

CallGate& Gate();

// The work behind cuInit: which devices are visible, and the injection library.
CUresult Initialize();

// CUDA_SUCCESS between cuInit and exit handlers, and only in the process that called cuInit.
CUresult LifecycleState();

// Notes a violation where the function may not be called from a subscriber's callback.
void CheckCallback(const char* function);

int CurrentDevice();

// An entry point that needs cuInit. device is what the call is about.
template <typename Body>
CUresult Call(const char* function, int device, Body body) {
  CheckCallback(function);
  return ThroughGate<CUresult>(&Gate(), function, device, [&] {
    const CUresult state = LifecycleState();
    return state == CUDA_SUCCESS ? body() : state;
  });
}

template <typename Body>
CUresult Call(const char* function, Body body) {
  return Call(function, CurrentDevice(), std::move(body));
}

// The same with the lock held: body(state, lock).
template <typename Body>
CUresult LockedCall(const char* function, int device, Body body) {
  return Call(function, device, [&] {
    Lock lock(State().mutex);
    return body(&State(), &lock);
  });
}

template <typename Body>
CUresult LockedCall(const char* function, Body body) {
  return LockedCall(function, CurrentDevice(), std::move(body));
}

// The same with a usable current context: body(state, lock, context).
template <typename Body>
CUresult CurrentCall(const char* function, Body body) {
  return LockedCall(function, [&](DriverState* state, Lock* lock) {
    const CUcontext context = Current();
    const CUresult usable = Usable(*state, context);
    return usable == CUDA_SUCCESS ? body(state, lock, context) : usable;
  });
}

}  // namespace ftprof::standin
