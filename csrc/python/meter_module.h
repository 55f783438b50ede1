// Registers the in-process meter in the Python module.
#pragma once

#include <pybind11/pybind11.h>

namespace ftprof {

void DefineMeter(pybind11::module_& module);

}  // namespace ftprof
