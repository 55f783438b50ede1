// Windows added up, stratum by stratum: all that the estimate of a long run needs of them.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "counters/meter.h"

namespace ftprof::counters {

// A slot's count stays below 2^53, so that its square fits 2^22 times: a stratum has a few hundred
// slots.
__extension__ typedef unsigned __int128 WideCount;

// Of the windows of one group in one stratum, exactly. The vectors are in the order of the group's
// metrics; products are with the group's denominator, which is the metric that every window of its
// kind has.
struct GroupSums {
  std::uint64_t windows = 0;
  std::uint64_t continued = 0;  // of these: what a cut left of a slot is no draw of its own
  std::uint64_t time_us = 0;
  std::vector<WideCount> sums;
  std::vector<WideCount> squares;
  std::vector<WideCount> products;
  // The same of whole slots, whose pieces are added up before they are squared.
  std::vector<WideCount> slot_squares;
  std::vector<WideCount> slot_products;
};

struct Stratum {
  std::int64_t begin_us = 0;  // of its first window
  std::int64_t end_us = 0;    // of its last
  std::map<std::size_t, GroupSums> groups;
};

// Where in the group's metrics its denominator is: SM-active cycles, or in a group of patched code
// instructions.
std::size_t DenominatorOf(const Group& group);

class StratumSums {
 public:
  void Add(const Window& window, std::size_t denominator);

  const std::map<std::uint64_t, Stratum>& strata() const noexcept { return strata_; }
  // All since the last time. The slot that a cut came into goes on: added up, what was taken is
  // what it would be at once.
  std::map<std::uint64_t, Stratum> Take() { return std::exchange(strata_, {}); }

 private:
  void AddToSlot(const Window& window, std::size_t denominator, GroupSums* group);

  std::map<std::uint64_t, Stratum> strata_;
  std::vector<WideCount> slot_;  // what the last window's has so far: what continues it comes next
};

}  // namespace ftprof::counters
