// Stand-in for tests, never shipped: CUDA_VISIBLE_DEVICES.
#pragma once

#include <cstddef>
#include <vector>

#include "testing/script.h"

namespace ftprof::standin {

// The places in the script of the devices that a process sees, in its order. variable is the value
// of CUDA_VISIBLE_DEVICES, or null: numbers and beginnings of UUIDs; the first entry that fits no
// device ends the list, and one that names a device twice empties it.
std::vector<std::size_t> VisibleDevices(const Script& script, const char* variable);

}  // namespace ftprof::standin
