// Decides which group each slot of a context's time counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "counters/plan.h"

namespace ftprof::counters {

// Times in microseconds. The reasons for the numbers:
// - 34 slots a stratum: 3 % of the time for each rotating group. What is never seen in a two-minute
//   run is bounded by a twelfth of the time (three windows of 36), in a day by 1.2 %. More would
//   cost the base group more than the rest gains: it keeps 87 % of the time on GH100, 83 % on
//   AD102, which has the most groups.
// - 48 strata of one length before slots double: slots stay near 1/1600 of the run's age, so a
// phase
//   that begins late is found and placed as well in a day as in a minute. A minute has 17 strata,
//   ten days have 600.
// - The groups that are reported apart, or only link others, share their turns over six strata:
//   0.5 % of the time each, and three windows in a minute.
// - Half a slot for patched code, which may take nearly all of its time from the program: 0.25 % of
//   the time at most, 0.05 % once slots are long.
struct ScheduleSettings {
  std::int64_t first_slot_us = 100'000;
  std::int64_t longest_slot_us = 10'000'000;  // see LongestExactSlot
  std::int64_t longest_cuda_core_slot_us = 1'000'000;
  std::size_t slots = 34;             // of a stratum with one window of each rotating group
  std::size_t strata_of_turn = 6;     // in which each other group has its windows
  std::size_t turns_of_length = 8;    // before slots double
  std::size_t other_windows = 1;      // of each link, integer and sparse group in a turn
  std::size_t cuda_core_windows = 1;  // in a turn; 0: code is never patched
  std::size_t most_percent = 20;      // of slots for other groups than the base, else more slots
};

struct Slot {
  std::uint32_t stratum;
  std::size_t group;
  std::int64_t length_us;
};

// CUPTI gives counts as doubles: the longest slot, up to ten seconds, in which a counter of this
// highest rate stays exact. Ten seconds hold for 0.8e15 a second; faster formats need less.
std::int64_t LongestExactSlot(double counts_per_second) noexcept;

// Time is cut into strata: a fixed number of slots of one length, decided before the stratum
// begins. A stratum has one window of each rotating group, and six strata have one of each of the
// others, at random places drawn without replacement; the base group has the rest. So every moment
// has the same chance to be seen by a group, whatever the program's own periods are, and no count
// that was seen changes what is looked at next: the estimates rely on both.
//
// Slots double as the run goes on. Where they may not, strata get more slots and more windows
// instead: several times the same, each drawn apart.
//
// A slot that cannot have its group (patched code during a stream capture) is the base group's.
class Schedule {
 public:
  // The group of each index has the role at that index. The same seed gives the same slots on every
  // platform. Throws std::invalid_argument unless exactly one group is the base and every length
  // and number makes sense.
  Schedule(std::vector<Role> roles, const ScheduleSettings& settings, std::uint64_t seed);

  Slot Next();

 private:
  using Groups = std::vector<std::size_t>;

  void AddGroup(Role role, std::size_t group);
  void BeginTurn();
  void AppendTurn();
  void Shuffle(Groups* groups);
  std::uint64_t Below(std::uint64_t bound);

  ScheduleSettings settings_;
  std::vector<Role> roles_;
  Groups rotating_;
  Groups others_;  // the groups of all other slots of a turn
  // Its sequence is part of the C++ standard; those of the standard's distributions are not.
  std::mt19937_64 engine_;
  std::size_t turn_ = 0;
  std::int64_t slot_us_ = 0;
  std::vector<Groups> strata_;  // of this turn: the groups of their slots
  std::size_t stratum_ = 0;     // of this turn
  std::size_t next_ = 0;        // slot of the stratum
};

}  // namespace ftprof::counters
