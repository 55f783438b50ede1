// What one window counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ftprof::counters {

// Times are microseconds since the epoch.
struct Window {
  std::size_t group = 0;  // of the plan
  std::uint64_t stratum = 0;
  bool continued = false;  // it has more of the slot that the window before it had
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  std::vector<std::uint64_t> counts;  // in the order of the group's metrics, unweighted
};

}  // namespace ftprof::counters
