// A chip as CUPTI's host API knows it.
#pragma once

#include <string>

#include "counters/pass_oracle.h"
#include "cupti/library.h"

namespace ftprof::counters {

// library must outlive the chip. Throws cupti::CuptiError for a chip that CUPTI does not know.
Chip ChipFromCupti(const cupti::Library& library, const std::string& name);

}  // namespace ftprof::counters
