// Registers the schedule in the Python module.
#pragma once

#include <pybind11/pybind11.h>

namespace ftprof {

void DefineSchedule(pybind11::module_& module);

}  // namespace ftprof
