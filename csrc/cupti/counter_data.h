// What a decoded counter-data image says. Needs no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "cupti/library.h"

namespace ftprof::cupti {

// What one range of an image counted, in the order of the metrics.
struct RangeCounts {
  std::vector<std::uint64_t> counts;  // none where inexact says why
  std::optional<CuptiError> inexact;
  // A count was so large (2^53 or more) that the double in which CUPTI gives it may be rounded:
  // the range was too long. What is no count at all (negative, not whole) comes from something
  // broken.
  bool too_large = false;

  // Throws CuptiError where there are none.
  const std::vector<std::uint64_t>& Exact() const;
};

// Each of the image's ranges, judged alone. Throws CuptiError where the bytes are no such image,
// and where it holds another number of ranges.
std::vector<RangeCounts> CountsOf(const Library& library, const HostProfiler& host,
                                  const std::vector<std::uint8_t>& image,
                                  const std::vector<std::string>& metrics, std::size_t ranges);

}  // namespace ftprof::cupti
