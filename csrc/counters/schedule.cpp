#include "counters/schedule.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace ftprof::counters {
namespace {

constexpr std::int64_t kLongestSlotUs = 10'000'000;
// Where slots would be longer than this, strata no longer grow: they last about an hour by then.
constexpr std::int64_t kLongestWantedUs = 100'000'000;
constexpr double kExactCounts = 9007199254740992.0;  // 2^53

void Require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("schedule: ") + what);
}

void Check(const ScheduleSettings& settings) {
  Require(settings.first_slot_us > 0, "the first slot is no longer than nothing");
  Require(settings.first_slot_us <= settings.longest_slot_us &&
              settings.longest_slot_us <= kLongestSlotUs,
          "the longest slot is shorter than the first, or longer than 10 s");
  Require(settings.longest_cuda_core_slot_us > 0, "the longest slot for patched code is too short");
  Require(settings.slots > 0 && settings.strata_of_turn > 0 && settings.turns_of_length > 0,
          "a stratum without slots");
  Require(settings.other_windows > 0, "a group without windows");
  Require(settings.change_us >= 0 && settings.change_share >= 0, "a change of no cost");
  Require(settings.most_percent > 0 && settings.most_percent < 100, "no room for a group");
}

std::size_t RoundedUp(std::size_t number, std::size_t divisor) {
  return (number + divisor - 1) / divisor;
}

}  // namespace

std::int64_t LongestExactSlot(double counts_per_second) noexcept {
  // Half is kept back: a window ends only once the device has done what it was given before.
  const double us = 0.5 * kExactCounts / std::max(counts_per_second, 1.0) * 1e6;
  return us < static_cast<double>(kLongestSlotUs) ? static_cast<std::int64_t>(us) : kLongestSlotUs;
}

Schedule::Schedule(std::vector<Role> roles, const ScheduleSettings& settings, std::uint64_t seed)
    : settings_(settings), roles_(std::move(roles)), engine_(seed) {
  Check(settings_);
  const auto base = std::find(roles_.begin(), roles_.end(), Role::kBase);
  Require(std::count(roles_.begin(), roles_.end(), Role::kBase) == 1, "not exactly one base group");
  base_ = static_cast<std::size_t>(base - roles_.begin());
  for (std::size_t group = 0; group < roles_.size(); ++group) AddGroup(roles_[group], group);
  settings_.slots = SlotsOfStratum();
}

void Schedule::AddGroup(Role role, std::size_t group) {
  switch (role) {
    case Role::kBase:
      break;
    case Role::kRotating:
      rotating_.push_back(group);
      break;
    case Role::kCudaCore:
      others_.insert(others_.end(), settings_.cuda_core_windows, group);
      break;
    case Role::kLink:
      if (settings_.cuda_core_windows == 0) break;
      others_.insert(others_.end(), settings_.other_windows, group);
      break;
    case Role::kInteger:
    case Role::kSparse:
      others_.insert(others_.end(), settings_.other_windows, group);
      break;
  }
}

// So many that most are the base group's, and that changes of the group take no more than their
// share: one before each window of another group, and one after the last.
std::size_t Schedule::SlotsOfStratum() const {
  const std::size_t turn = settings_.strata_of_turn;
  const std::size_t taken = turn * rotating_.size() + others_.size();
  if (taken == 0) return settings_.slots;
  const std::size_t for_base = RoundedUp(taken * 100, turn * settings_.most_percent);
  const std::size_t changes_us =
      static_cast<std::size_t>(settings_.change_us * settings_.change_share) * (taken + turn) /
      turn;
  const std::size_t for_changes =
      RoundedUp(changes_us, static_cast<std::size_t>(settings_.first_slot_us));
  return std::max({settings_.slots, for_base, for_changes});
}

Slot Schedule::Next() {
  if (!strata_.empty() && next_ == strata_[stratum_].size()) {
    ++stratum_;
    next_ = 0;
  }
  if (stratum_ == strata_.size()) BeginTurn();
  const std::size_t group = strata_[stratum_][next_++];
  const std::int64_t half = std::min(slot_us_ / 2, settings_.longest_cuda_core_slot_us);
  const bool patched = roles_[group] == Role::kCudaCore;
  const std::size_t stratum = (turn_ - 1) * settings_.strata_of_turn + stratum_;
  return {static_cast<std::uint32_t>(stratum), group,
          patched ? std::max<std::int64_t>(half, 1) : slot_us_};
}

void Schedule::BeginTurn() {
  std::int64_t wanted_us = settings_.first_slot_us;
  for (std::size_t doubled = turn_ / settings_.turns_of_length; doubled > 0; --doubled) {
    if (wanted_us >= kLongestWantedUs) break;
    wanted_us *= 2;
  }
  slot_us_ = std::min(wanted_us, settings_.longest_slot_us);
  strata_.assign(settings_.strata_of_turn, {});
  for (std::int64_t times = wanted_us / slot_us_; times > 0; --times) AppendTurn();
  ++turn_;
  stratum_ = 0;
  next_ = 0;
}

void Schedule::AppendTurn() {
  std::vector<Groups> visits(strata_.size(), rotating_);
  for (const std::size_t other : others_) visits[Below(visits.size())].push_back(other);
  for (std::size_t stratum = 0; stratum < strata_.size(); ++stratum) {
    Shuffle(&visits[stratum]);
    Groups drawn(std::max(settings_.slots, visits[stratum].size()), base_);
    std::size_t place = Below(drawn.size());
    for (const std::size_t group : visits[stratum]) {
      drawn[place] = group;
      place = (place + 1) % drawn.size();
    }
    strata_[stratum].insert(strata_[stratum].end(), drawn.begin(), drawn.end());
  }
}

void Schedule::Shuffle(Groups* groups) {
  for (std::size_t left = groups->size(); left > 1; --left) {
    std::swap((*groups)[left - 1], (*groups)[Below(left)]);
  }
}

// Draws beyond the last whole multiple of the bound are thrown away: they would favour low numbers.
std::uint64_t Schedule::Below(std::uint64_t bound) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t beyond = (kMost % bound + 1) % bound;
  for (;;) {
    const std::uint64_t drawn = engine_();
    if (drawn <= kMost - beyond) return drawn % bound;
  }
}

}  // namespace ftprof::counters
