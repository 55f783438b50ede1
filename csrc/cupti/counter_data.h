// What a decoded counter-data image says. Needs no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cupti/host_profiler.h"
#include "cupti/library.h"

namespace ftprof::cupti {

// The counts of each of the image's ranges, in the order of the metrics. Throws CuptiError: where
// the bytes are no such image, where it holds another number of ranges, and where a value is no
// exact count (negative, not whole, 2^53 or more).
std::vector<std::vector<std::uint64_t>> CountsOf(const Library& library, const HostProfiler& host,
                                                 const std::vector<std::uint8_t>& image,
                                                 const std::vector<std::string>& metrics,
                                                 std::size_t ranges);

}  // namespace ftprof::cupti
