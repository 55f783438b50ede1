// Decides which group each slot of a context's time counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "counters/plan.h"

namespace ftprof::counters {

// Times in microseconds. The reasons for the numbers:
// - To change the group takes 0.18 s on an H200 (docs/evidence: half of what lies outside windows
//   for each of another group), most of which the program stands still: changes may take a 400th of
//   the time, which makes a visit to the other groups every six minutes there. Never fewer than 34
//   slots a stratum: 3 % of the time for each rotating group; more would cost the base group more
//   than the rest gains. The number stays the same in a run: estimates take neighbouring strata
//   together, and need the same share of each.
// - Between two windows of one group a program stands still for a millisecond or two: slots of two
//   seconds make that a thousandth.
// - 48 strata of one length before slots double, so that a run of days has some hundred strata.
// - The groups that are reported apart, or only link others, share their turns over six strata.
// - Patched code is off: a training step takes 55 times as long in such a window, and 1.3 times as
//   long for ever after (the same evidence). Where it is asked for, half a slot, one in six strata.
struct ScheduleSettings {
  std::int64_t first_slot_us = 2'000'000;
  std::int64_t longest_slot_us = 10'000'000;  // see LongestExactSlot
  std::int64_t longest_cuda_core_slot_us = 1'000'000;
  std::int64_t change_us = 180'000;
  std::int64_t change_share = 400;  // one part of the time in so many; 0: changes cost nothing
  std::size_t slots = 34;           // of a stratum with one window of each rotating group; or more
  std::size_t strata_of_turn = 6;   // in which each other group has its windows
  std::size_t turns_of_length = 8;  // before slots double
  std::size_t other_windows = 1;    // of each link, integer and sparse group in a turn
  std::size_t cuda_core_windows = 0;  // in a turn; 0: code is never patched, and links are no use
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
// begins. In a stratum the other groups are visited once: one window of each rotating group, and in
// one of six strata one of each of the others, in random order, one after the other, from a random
// place on (behind the stratum's end they go on at its begin); the base group has the rest. So
// every moment has the same chance to be seen by a group, whatever the program's own periods are,
// and no count that was seen changes what is looked at next: the estimates rely on both.
//
// Slots double as the run goes on. Where they may not, strata get more slots and more visits
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
  std::size_t SlotsOfStratum() const;
  void Shuffle(Groups* groups);
  std::uint64_t Below(std::uint64_t bound);

  ScheduleSettings settings_;
  std::vector<Role> roles_;
  std::size_t base_ = 0;
  Groups rotating_;
  Groups others_;  // a turn's windows of all groups that are neither
  // Its sequence is part of the C++ standard; those of the standard's distributions are not.
  std::mt19937_64 engine_;
  std::size_t turn_ = 0;
  std::int64_t slot_us_ = 0;
  std::vector<Groups> strata_;  // of this turn: the groups of their slots
  std::size_t stratum_ = 0;     // of this turn
  std::size_t next_ = 0;        // slot of the stratum
};

}  // namespace ftprof::counters
