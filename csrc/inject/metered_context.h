// A CUDA context and the meter on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "counters/interrupt.h"
#include "counters/meter.h"
#include "counters/own_thread.h"
#include "cupti/driver.h"
#include "inject/process_journal.h"

namespace ftprof::inject {

// Any thread may interrupt it, and keeps it alive while it does; only the watcher's begins and ends
// it.
class MeteredContext {
 public:
  // primary is the hold on the context where it is a device's primary one.
  MeteredContext(CUcontext handle, std::optional<cupti::PrimaryContext> primary,
                 ProcessJournal* journal);
  MeteredContext(const MeteredContext&) = delete;
  MeteredContext& operator=(const MeteredContext&) = delete;

  // What it is given must outlive it. Throws CuptiError where no thread can be had.
  void Begin(const cupti::Library& library, const cupti::Driver& driver,
             const cupti::DeviceInfo& device, counters::CaptureGate* gate,
             const counters::MeterSettings& settings);
  // Instead of that: nothing can be counted on it, and why. It is over at once.
  void BeginUncounted(const cupti::DeviceInfo& device, std::int64_t begin_us,
                      const cupti::CuptiError& why);
  // Waits for the meter's end and lets go of the context. It was stopped or abandoned.
  void End();

  CUcontext handle() const noexcept { return handle_; }
  bool is_primary() const noexcept { return is_primary_; }
  ContextJournal& journal() noexcept { return journal_; }
  // Null where nothing is counted.
  counters::Interrupt* interrupt() noexcept { return meter_ ? &meter_->interrupt() : nullptr; }

  void Stop();
  void Abandon();
  // Whether the meter has ended, by itself or within this time.
  bool WaitOver(std::chrono::microseconds patience);

 private:
  const CUcontext handle_;
  const bool is_primary_;
  std::optional<cupti::PrimaryContext> primary_;
  ContextJournal journal_;
  std::optional<counters::Gap> uncounted_;
  std::optional<counters::Meter> meter_;
  counters::OwnThread thread_;
};

}  // namespace ftprof::inject
