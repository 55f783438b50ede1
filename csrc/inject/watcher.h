// Finds this process's CUDA contexts and keeps a meter on each.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "counters/capture_gate.h"
#include "counters/meter.h"
#include "cupti/driver.h"
#include "cupti/library.h"
#include "cupti/subscriber.h"
#include "inject/process_journal.h"
#include "inject/settings.h"

namespace ftprof::inject {

// Its thread looks at every visible device's primary context: that needs no CUPTI subscriber, of
// which a process has only one. What it starts, it ends: its meters, and the journal.
class Watcher {
 public:
  Watcher(Settings settings, const journal::ProcessIdentity& identity);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Before Start, in the driver's own call: hears of every context from the first on. Where the
  // place is taken, the journal says so and primary contexts are counted as ever.
  void Subscribe() noexcept;
  // Returns at once. False where no thread could be had.
  bool Start() noexcept;
  // Closes all windows and the journal. Waits at most so long, then leaves the meters alone for
  // good: CUPTI is not called any more by any of them.
  void Stop(const std::string& reason, std::chrono::milliseconds patience) noexcept;
  // Closes the windows that are open, and opens the next. False where that took too long.
  bool Cut(std::chrono::milliseconds patience) noexcept;
  // In a forked child: there its threads do not exist, and the journal is the parent's.
  void ForgetInChild() noexcept;

  counters::CaptureGate& capture_gate() noexcept { return gate_; }

 private:
  // Its thread has ended before it is destroyed: the meter goes first, then what it refers to.
  struct Counted {
    std::optional<cupti::PrimaryContext> primary;
    std::unique_ptr<ContextJournal> sink;
    std::unique_ptr<counters::Meter> meter;
    std::thread thread;
  };

  void Run() noexcept;
  void Watch();
  bool WaitForDriver();
  void LookAtDevices();
  void LookAt(int ordinal);
  void LookAtOthers();
  void StartPrimary(int ordinal);
  void StartOther(CUcontext context);
  bool IsPrimary(CUcontext context) const;
  void StartMeter(Counted* counted, CUcontext context, int ordinal);
  void LetGo(CUcontext context) noexcept;
  template <typename Contexts, typename Key>
  void Erase(Contexts* contexts, const Key& key);
  template <typename Act>
  void ForEach(Act act);
  void EndMeters() noexcept;
  bool Sleep(std::chrono::milliseconds time);
  std::chrono::milliseconds Pause() const;
  void BeginJournal();

  Settings settings_;
  journal::FailureFile failures_;
  ProcessJournal journal_;
  counters::CaptureGate gate_;
  std::optional<cupti::Driver> driver_;
  std::optional<cupti::Library> library_;
  std::optional<cupti::CuptiError> subscribe_failure_;
  std::optional<cupti::Subscriber> subscriber_;
  std::chrono::steady_clock::time_point began_;
  bool journal_begun_ = false;
  std::uint64_t meters_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, Counted> counted_;       // primary contexts by device; changed under the mutex
  std::map<CUcontext, Counted> others_;  // under --subscribe; changed under the mutex
  std::vector<CUcontext> created_;       // heard of and not yet looked at
  std::vector<CUcontext> gone_;
  bool stopping_ = false;
  bool done_ = false;
  std::string end_reason_;
};

}  // namespace ftprof::inject
