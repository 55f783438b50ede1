// The meter of ftprof.count(): one CUDA context of this process, counted on a thread of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "counters/capture_gate.h"
#include "counters/meter.h"
#include "counters/stratum_sums.h"
#include "cupti/library.h"
#include "python/cuda_contexts.h"
#include "python/process_bound.h"

namespace ftprof {

// What a meter found since it was last asked.
struct Findings {
  counters::CountedContext context;  // without a plan as long as there is none
  std::map<std::uint64_t, counters::Stratum> strata;
  std::vector<counters::Gap> gaps;  // adjoining ones of one cause are one
};

class MeterLife;
using Ticket = counters::Interrupt::Ticket;

// Counts from construction. Other threads only ever wait for it, and no longer than they want. In a
// forked child there is nothing behind it, and it does nothing.
class ContextMeter {
 public:
  // Throws CuptiError; what goes wrong later is a gap.
  ContextMeter(const cupti::Library& library, const FoundContext& context,
               const counters::MeterSettings& settings);
  // Stops counting, without waiting.
  ~ContextMeter();
  ContextMeter(const ContextMeter&) = delete;
  ContextMeter& operator=(const ContextMeter&) = delete;

  // Returns once a window is open. False where that took too long, or there will be none.
  bool AwaitWindow(std::chrono::microseconds patience);
  // Asks for the open window to be closed; nothing where none is open.
  std::optional<Ticket> AskCut();
  // Returns once that window is closed: its counts are then among the findings. False where that
  // took too long.
  bool AwaitCut(Ticket ticket, std::chrono::microseconds patience);
  Findings Take();

  // Closes the open window and counts no more.
  void Stop();
  // False where its end has not come within this time.
  bool Ended(std::chrono::microseconds patience);
  // Its context was destroyed.
  bool IsLost();

 private:
  ProcessBound<MeterLife> life_;
};

// Of all meters of this process; never destroyed.
counters::CaptureGate& ProcessGate();

}  // namespace ftprof
