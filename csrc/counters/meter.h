// Counts on one CUDA context: a state machine that opens and closes windows by a schedule.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "counters/capture_gate.h"
#include "counters/interrupt.h"
#include "counters/plan.h"
#include "counters/schedule.h"
#include "counters/window.h"
#include "cupti/driver.h"
#include "cupti/error.h"
#include "cupti/library.h"

namespace ftprof::counters {

// All times are microseconds since the epoch.
struct CountedContext {
  cupti::DeviceInfo device;
  Plan plan;
  std::uint64_t seed = 0;
  std::int64_t begin_us = 0;
};

// Time in which nobody counted, other than the ordinary edge between two windows.
struct Gap {
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  cupti::CuptiError error;
};

struct ClosedWindow;

// Where a meter's results go. Called from the meter's own thread; may not throw.
class MeterSink {
 public:
  virtual ~MeterSink() = default;
  // First without a plan, then again once there is one.
  virtual void OnContext(const CountedContext& context) = 0;
  virtual void OnWindow(const Window& window) = 0;
  virtual void OnGap(const Gap& gap) = 0;
  // The last of all: nobody counts on the context from this moment on.
  virtual void OnEnd(std::int64_t /*time_us*/) {}
};

struct MeterSettings {
  ScheduleSettings schedule;
  std::uint64_t seed = 0;
  // Since when there may have been work on the context (0: since now), and what kept us from it.
  std::int64_t begin_us = 0;
  std::optional<cupti::CuptiError> before;
  std::chrono::microseconds first_retry{1'000'000};  // doubled after each failure
  std::chrono::microseconds longest_retry{60'000'000};

  // Slots of other lengths: for tests, which cannot wait for what a training can.
  void UseSlots(std::int64_t first_us, std::int64_t longest_us);
};

// Everything that it is given must outlive it. A failure is a gap, after which it tries again: in
// all of a meter nothing reaches the application, whose context and thread state it leaves as they
// are.
class Meter {
 public:
  Meter(const cupti::Library& library, const cupti::Driver& driver, CUcontext context,
        cupti::DeviceInfo device, CaptureGate* gate, MeterSink* sink, MeterSettings settings);
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  // Counts until interrupted. On a thread of its own, whose signals are blocked.
  void Run() noexcept;

  Interrupt& interrupt() noexcept { return interrupt_; }

 private:
  class Session;

  void CountAndRetry();
  void Attempt(const std::function<void()>& act);
  void CountUntilInterrupted();
  void Prepare();
  void MakeSchedule();
  void CheckWanted() const;
  std::vector<std::uint8_t> Availability();
  void Tell(const ClosedWindow& closed);
  void Say(const cupti::CuptiError& error);
  Wake CountSlot(Session* session);
  Wake CountFor(Session* session, std::size_t group, std::uint64_t stratum,
                std::chrono::microseconds length);
  void TellOfCaptures();
  void EndGap(std::int64_t end_us, bool goes_on = false);

  const cupti::Library& library_;
  const cupti::Driver& driver_;
  CUcontext context_;
  CaptureGate* gate_;
  MeterSink* sink_;
  MeterSettings settings_;
  Interrupt interrupt_;
  MeterCalls calls_;
  CountedContext counted_;
  std::size_t base_group_ = 0;
  std::set<std::size_t> unusable_;  // groups that this device does not take, after all
  bool told_of_graphs_ = false;
  std::unique_ptr<Schedule> schedule_;  // made with the plan, and kept over failures
  std::int64_t covered_until_us_;
  std::uint64_t windows_ = 0;                 // that were counted
  std::optional<cupti::CuptiError> failure_;  // why nobody has counted since covered_until_us_
};

}  // namespace ftprof::counters
