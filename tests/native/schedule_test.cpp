// Runs the schedule without Python, so that sanitizers see it.
#include "counters/schedule.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

using ftprof::counters::LongestExactSlot;
using ftprof::counters::Role;
using ftprof::counters::Schedule;
using ftprof::counters::ScheduleSettings;
using ftprof::counters::Slot;

int failures = 0;

void Expect(bool condition, const char* what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what);
}

bool Throws(const std::vector<Role>& roles, const ScheduleSettings& settings) {
  try {
    Schedule(roles, settings, 1);
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// Where a change of the group costs nothing, code may be patched, and slots are short.
ScheduleSettings Cheap() {
  ScheduleSettings settings;
  settings.first_slot_us = 100'000;
  settings.change_share = 0;
  settings.cuda_core_windows = 1;
  return settings;
}

// The sequence that every platform and compiler must give; the Python tests have it too.
void TestSequence() {
  ScheduleSettings settings = Cheap();
  settings.slots = 8;
  settings.strata_of_turn = 2;
  settings.turns_of_length = 1;
  settings.most_percent = 90;
  Schedule schedule({Role::kBase, Role::kRotating, Role::kCudaCore, Role::kLink}, settings, 2026);
  const std::vector<std::size_t> groups = {0, 0, 1, 3, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0,
                                           0, 0, 0, 0, 2, 1, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0};
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const Slot slot = schedule.Next();
    const std::int64_t length = i < 16 ? 100'000 : 200'000;
    Expect(slot.group == groups[i] && slot.stratum == i / 8, "the sequence of seed 2026");
    Expect(slot.length_us == (slot.group == 2 ? length / 2 : length), "lengths");
  }
}

// Every group keeps its share, also where strata get more slots since slots may not grow.
void TestShares() {
  ScheduleSettings settings = Cheap();
  settings.longest_slot_us = 150'000;
  std::vector<Role> roles(5, Role::kRotating);
  roles.push_back(Role::kBase);
  roles.insert(roles.end(), 9, Role::kInteger);
  Schedule schedule(roles, settings, 7);
  std::map<std::uint32_t, std::map<std::size_t, int>> windows;
  std::map<std::uint32_t, int> slots;
  for (int i = 0; i < 300'000; ++i) {
    const Slot slot = schedule.Next();
    ++windows[slot.stratum][slot.group];
    ++slots[slot.stratum];
    Expect(slot.length_us <= settings.longest_slot_us, "no slot is too long");
  }
  const std::uint32_t last = windows.rbegin()->first;
  Expect(slots[last - 1] > 100 * slots[0], "strata grow where slots may not");
  windows.erase(last);
  for (const auto& [stratum, of_group] : windows) {
    for (std::size_t group = 0; group < 5; ++group) {
      Expect(of_group.at(group) * slots[0] == slots[stratum], "the share of a rotating group");
    }
  }
  int base = 0;
  int all = 0;
  for (std::uint32_t stratum = 0; stratum < settings.strata_of_turn; ++stratum) {
    base += windows[stratum][5];
    all += slots[stratum];
  }
  Expect(base * 10 >= all * 8, "four fifths for the base group");
}

void TestWhatMakesNoSense() {
  const ScheduleSettings good;
  Expect(!Throws({Role::kBase}, good), "a base group alone");
  Expect(Throws({}, good) && Throws({Role::kBase, Role::kBase}, good), "one base group");
  const auto refused = [](auto change) {
    ScheduleSettings settings;
    change(&settings);
    return Throws({Role::kBase}, settings);
  };
  Expect(refused([](ScheduleSettings* s) { s->first_slot_us = 0; }), "an empty slot");
  Expect(refused([](ScheduleSettings* s) { s->longest_slot_us = 1; }), "longest below first");
  Expect(refused([](ScheduleSettings* s) { s->longest_slot_us = 20'000'000; }), "inexact counts");
  Expect(refused([](ScheduleSettings* s) { s->longest_cuda_core_slot_us = 0; }), "an empty slot");
  Expect(refused([](ScheduleSettings* s) { s->slots = 0; }), "no slots");
  Expect(refused([](ScheduleSettings* s) { s->strata_of_turn = 0; }), "no strata");
  Expect(refused([](ScheduleSettings* s) { s->turns_of_length = 0; }), "no turns");
  Expect(refused([](ScheduleSettings* s) { s->other_windows = 0; }), "no windows");
  Expect(refused([](ScheduleSettings* s) { s->most_percent = 100; }), "no base group");
  Expect(refused([](ScheduleSettings* s) { s->change_share = -1; }), "a change of no cost");
}

}  // namespace

int main() {
  TestSequence();
  TestShares();
  TestWhatMakesNoSense();
  Expect(LongestExactSlot(1e12) == 10'000'000 && LongestExactSlot(0) == 10'000'000, "ten seconds");
  Expect(LongestExactSlot(2e15) > 2'200'000 && LongestExactSlot(2e15) < 2'251'800, "half of 2^53");
  std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
