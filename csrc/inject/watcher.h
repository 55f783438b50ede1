// Finds this process's CUDA contexts and keeps a meter on each.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "counters/capture_gate.h"
#include "cupti/driver.h"
#include "cupti/error.h"
#include "cupti/library.h"
#include "cupti/subscriber.h"
#include "inject/contexts.h"
#include "inject/process_journal.h"
#include "inject/settings.h"

namespace ftprof::inject {

// Its thread looks at every visible device's primary context: that needs no CUPTI subscriber, of
// which a process has only one. What it starts, it ends: its meters, and the journal.
class Watcher {
 public:
  // libraries_used is called whenever CUPTI or the driver may have registered exit handlers of
  // their own: ours must run before those.
  Watcher(Settings settings, const journal::ProcessIdentity& identity,
          std::function<void()> libraries_used);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Before Start, in the driver's own call: hears of every context from the first on. Where the
  // place is taken, the journal says so and primary contexts are counted as ever.
  void Subscribe() noexcept;
  // Returns at once. False where no thread could be had.
  bool Start() noexcept;
  // Closes all windows and the journal. Waits at most so long, then leaves the meters alone for
  // good: neither CUPTI nor the driver is called any more, by any thread of ours.
  void Stop(const std::string& reason, std::chrono::milliseconds patience) noexcept;
  // Closes the windows that are open, and opens the next. False where that took too long.
  bool Cut(std::chrono::milliseconds patience) noexcept;
  // Returns once a window is open on every context that there is now and that is counted. False
  // where one has none in time.
  bool AwaitWindows(std::chrono::milliseconds patience) noexcept;
  // In a forked child: there its threads do not exist, and the journal is the parent's.
  void ForgetInChild() noexcept { journal_.ForgetInChild(); }

  counters::CaptureGate& capture_gate() noexcept { return gate_; }

 private:
  // What is known of a device, whose primary context is looked for.
  struct Device {
    Contexts::Shared counted;
    bool gone = false;         // what is counted was destroyed, and its meter has not yet ended
    std::int64_t idle_us = 0;  // when it was last seen to have no active one
    std::optional<cupti::CuptiError> trouble;
    // The time of troubles that are over, in which a context may have come and gone, and the last
    // of them: until the journal is told, which is not done for each of a moment.
    std::int64_t blind_us = 0;
    std::optional<cupti::CuptiError> blind_why;
    std::string said;  // the last trouble that the journal has been told
    int failures = 0;  // in a row
    std::chrono::steady_clock::time_point next_look;
  };

  void Run() noexcept;
  void GiveUp(const char* why) noexcept;
  void Watch();
  bool WaitForDriver();
  void LookAt(int ordinal, Device* device);
  void Look(int ordinal, Device* device);
  void Note(Device* device, const cupti::CuptiError& error);
  void StartPrimary(int ordinal, Device* device);
  std::map<CUcontext, std::int64_t> TakeCreated();
  void LookAtOthers();
  void TellUncounted(const std::string& why);
  void StartOther(CUcontext handle, std::int64_t begin_us);
  bool IsPrimary(CUcontext handle) const;
  void StartMeter(MeteredContext* context, int ordinal, std::int64_t begin_us,
                  const std::optional<cupti::CuptiError>& before);
  void LoadLibrary();
  void HearOfCaptures();
  void TakeSubscriber(cupti::Subscriber::Listener listener);
  void BeginJournal();
  void EndMeters();
  void LookOnceMore();
  void TellTroubles();
  void TellTrouble(int ordinal, std::int64_t begin_us, const cupti::CuptiError& trouble);
  void TellBlindness(int ordinal, Device* device, std::int64_t now_us);
  bool Sleep();
  bool AwaitLook(std::chrono::steady_clock::time_point until);
  void WakeUp();

  const Settings settings_;
  const std::function<void()> libraries_used_;
  journal::FailureFile failures_;
  ProcessJournal journal_;
  counters::CaptureGate gate_;
  Contexts contexts_;
  // The watcher's thread's own, from Start on.
  std::optional<cupti::Driver> driver_;
  std::optional<cupti::Library> library_;
  std::optional<cupti::CuptiError> driver_failure_, library_failure_, subscribe_failure_;
  std::optional<cupti::Subscriber> subscriber_;
  const std::chrono::steady_clock::time_point began_;
  const std::int64_t began_us_;  // no context is older: the driver's own start goes on
  std::map<int, Device> devices_;
  std::set<std::string> uncounted_;  // the reasons that were told
  std::uint64_t meters_ = 0;
  bool journal_begun_ = false, libraries_were_used_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t looks_begun_ = 1, looks_ended_ = 0;
  bool woken_ = false, stopping_ = false, done_ = false, given_up_ = false;
  bool all_told_ = false;  // what was not seen of devices and contexts, at the process's end
  std::string end_reason_;
};

}  // namespace ftprof::inject
