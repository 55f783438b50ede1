// Stand-in for tests, never shipped: how contexts come to life and end.
#pragma once

#include "testing/driver_state.h"

namespace ftprof::standin {

// Each of these calls the observer, if there is one, without the lock, and returns with it held.
CUcontext CreateContext(DriverState* state, Lock* lock, int device, unsigned flags);
CUresult RetainPrimary(DriverState* state, Lock* lock, int device, CUcontext* context);
CUresult ReleasePrimary(DriverState* state, Lock* lock, int device);
CUresult ResetPrimary(DriverState* state, Lock* lock, int device);
// What the context has not executed by now is never executed.
void EndContext(DriverState* state, Lock* lock, CUcontext context);

bool PrimaryIsActive(const Device& device);
bool IsDevice(const DriverState& state, int device);

}  // namespace ftprof::standin
