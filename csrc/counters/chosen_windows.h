// Windows of chosen groups on one context, one at a time: for whoever knows what is executed in
// each.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "counters/capture_gate.h"
#include "counters/context_session.h"
#include "counters/interrupt.h"
#include "counters/plan.h"
#include "cupti/driver.h"
#include "cupti/library.h"
#include "cupti/range_profiler.h"

namespace ftprof::counters {

// Unlike the meter it has no thread: it is used from the thread that made it, and nothing is in its
// windows but what was executed between Begin and End. No meter may be on the context meanwhile.
// What it is given must outlive it. Every call throws CuptiError; after a failure the next Begin
// makes a new session.
class ChosenWindows {
 public:
  // Makes the context current on this thread, and plans its chip's groups.
  ChosenWindows(const cupti::Library& library, const cupti::Driver& driver, CUcontext context,
                cupti::DeviceInfo device, CaptureGate* gate);
  ~ChosenWindows();
  ChosenWindows(const ChosenWindows&) = delete;
  ChosenWindows& operator=(const ChosenWindows&) = delete;

  const cupti::DeviceInfo& device() const noexcept { return device_; }
  const Plan& plan() const noexcept { return plan_; }

  // Opens a window of a group of the plan. A group of patched code is refused while a stream is
  // captured, and where captures are not announced; a capture that begins in its window waits two
  // seconds in vain.
  void Begin(std::size_t group);
  // Closes it: the counts, in the order of the group's metrics. It synchronises the context, but
  // what counts is what the device has done before: wait for it first.
  std::vector<std::uint64_t> End();

 private:
  class Open;

  void DropSession() noexcept;

  const cupti::Library& library_;
  CUcontext context_;
  cupti::DeviceInfo device_;
  CaptureGate* gate_;
  Plan plan_;
  Interrupt interrupt_;  // for the gate; nobody waits on it
  std::unique_ptr<ContextSession> session_;
  std::unique_ptr<Open> open_;
};

}  // namespace ftprof::counters
