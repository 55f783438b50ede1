#include "python/context_meter.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "counters/own_thread.h"
#include "cupti/driver.h"
#include "cupti/error.h"
#include "cupti/process_calls.h"
#include "cupti/subscriber.h"

namespace ftprof {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatienceAtExit{2};
// How long a primary context may have been destroyed before its meter hears of it.
constexpr milliseconds kLookout{50};

// Adds up what a meter hands over: a long count takes no more memory than its strata do.
class Collector final : public counters::MeterSink {
 public:
  void OnContext(const counters::CountedContext& context) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    context_ = context;
  }

  void OnWindow(const counters::Window& window) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    sums_.Add(window, counters::DenominatorOf(context_.plan.groups.at(window.group)));
  }

  void OnGap(const counters::Gap& gap) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!gaps_.empty() && Adjoin(gaps_.back(), gap)) {
      gaps_.back().end_us = gap.end_us;
    } else {
      gaps_.push_back(gap);
    }
  }

  Findings Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {context_, sums_.Take(), std::exchange(gaps_, {})};
  }

 private:
  static bool Adjoin(const counters::Gap& earlier, const counters::Gap& later) {
    return earlier.end_us == later.begin_us && later.begin_us < later.end_us &&
           earlier.error.call() == later.error.call() &&
           earlier.error.code() == later.error.code() && earlier.error.name() == later.error.name();
  }

  std::mutex mutex_;
  counters::CountedContext context_;
  counters::StratumSums sums_;
  std::vector<counters::Gap> gaps_;
};

}  // namespace

// What the meter's threads share with the others; it lives until the last of them lets go.
class MeterLife {
 public:
  MeterLife(const cupti::Library& library, const FoundContext& context,
            const counters::MeterSettings& settings)
      : driver_(cupti::Driver::FromMapped()), device_(context.device) {
    if (context.primary) {
      const cupti::RelaxedCaptureMode relaxed(driver_);
      primary_.emplace(driver_, context.device);
    }
    meter_.emplace(library, driver_, primary_ ? primary_->get() : context.handle,
                   driver_.Describe(context.device), &ProcessGate(), &collector_, settings);
  }

  counters::Interrupt& interrupt() { return meter_->interrupt(); }
  Collector& collector() { return collector_; }

  void Count() {
    meter_->Run();
    LetGo();
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // A primary context can be destroyed under everybody's hands.
  void LookOut() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!changed_.wait_for(lock, kLookout, [this] { return ended_ || lost_; })) {
      lock.unlock();
      if (!IsActive()) Abandon();
      lock.lock();
    }
  }

  bool Ended(microseconds patience) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, patience, [this] { return ended_; });
  }

  void Abandon() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      lost_ = true;
      changed_.notify_all();
    }
    interrupt().Abandon();
  }

  // Nobody waits any longer, and the process ends.
  void GiveUp() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      process_ends_ = true;
    }
    Abandon();
  }

  bool IsLost() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lost_;
  }

 private:
  // Without the lock, since the driver may make us wait.
  void LetGo() {
    if (!primary_) return;
    std::unique_lock<std::mutex> lock(mutex_);
    if (process_ends_) {
      new cupti::PrimaryContext(std::move(*primary_));  // the driver may have ended by now
    }
    lock.unlock();
    primary_.reset();
  }

  bool IsActive() const {
    try {
      return driver_.PrimaryContextIsActive(device_);
    } catch (const std::exception&) {  // this is a thread's own function
      return false;
    }
  }

  const cupti::Driver driver_;
  const int device_;
  std::optional<cupti::PrimaryContext> primary_;
  Collector collector_;
  std::optional<counters::Meter> meter_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool lost_ = false;
  bool process_ends_ = false;
  bool ended_ = false;
};

namespace {

// What ends with the process. A forked child begins anew: the threads are its parent's, and may
// have held a lock.
class Process {
 public:
  static Process& Get() {
    static const bool prepared = Prepare();
    (void)prepared;
    return *now_.load();
  }

  counters::CaptureGate& gate() noexcept { return gate_; }

  // Any window's edge spoils a capture that is under way. Where torch's are not announced to us,
  // CUPTI's subscriber tells of all; that is its place's only use here. Throws CuptiError.
  void HearOfCaptures(const cupti::Library& library) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (gate_.announced()) return;
    subscriber_.emplace(
        library, cupti::Subscriber::Listener{nullptr, nullptr, [this] { gate_.CaptureBegins(); },
                                             [this] { gate_.CaptureEnds(); }});
    gate_.CapturesAreAnnounced();
  }

  void EndAtExit(const std::shared_ptr<MeterLife>& life) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto expired = [](const std::weak_ptr<MeterLife>& other) { return other.expired(); };
    lives_.erase(std::remove_if(lives_.begin(), lives_.end(), expired), lives_.end());
    lives_.push_back(life);
  }

 private:
  static bool Prepare() {
    now_.store(new Process);
    pthread_atfork(nullptr, nullptr, [] { now_.store(new Process); });
    return std::atexit([] { Get().EndAll(); }) == 0;
  }

  // No CUPTI call follows it, whatever its meters were doing.
  void EndAll() {
    std::vector<std::shared_ptr<MeterLife>> living;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& life : lives_) living.push_back(life.lock());
    }
    living.erase(std::remove(living.begin(), living.end(), nullptr), living.end());
    for (const auto& life : living) life->interrupt().Stop();
    const auto until = steady_clock::now() + kPatienceAtExit;
    for (const auto& life : living) {
      const auto left = std::chrono::duration_cast<microseconds>(until - steady_clock::now());
      if (life->Ended(std::max(left, microseconds::zero()))) continue;
      cupti::ForbidCalls();
      life->GiveUp();
    }
  }

  static inline std::atomic<Process*> now_{nullptr};
  counters::CaptureGate gate_;
  std::optional<cupti::Subscriber> subscriber_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<MeterLife>> lives_;
};

}  // namespace

counters::CaptureGate& ProcessGate() { return Process::Get().gate(); }

ContextMeter::ContextMeter(const cupti::Library& library, const FoundContext& context,
                           const counters::MeterSettings& settings)
    : life_(std::make_shared<MeterLife>(library, context, settings)) {
  Process::Get().HearOfCaptures(library);
  Process::Get().EndAtExit(life_.shared());
  const auto& life = life_.shared();
  counters::OwnThread meter("ftprof-meter", [life] { life->Count(); });
  meter.Detach();
  if (!context.primary) return;
  try {
    counters::OwnThread lookout("ftprof-lookout", [life] { life->LookOut(); });
    lookout.Detach();
  } catch (const std::system_error&) {
    life->interrupt().Stop();  // a constructor that throws has no destructor
    throw;
  }
}

ContextMeter::~ContextMeter() { Stop(); }

bool ContextMeter::AwaitWindow(microseconds patience) {
  MeterLife* life = life_.get();
  return life != nullptr && life->interrupt().AwaitWindow(patience);
}

std::optional<Ticket> ContextMeter::AskCut() {
  MeterLife* life = life_.get();
  return life != nullptr ? life->interrupt().AskCut() : std::nullopt;
}

bool ContextMeter::AwaitCut(Ticket ticket, microseconds patience) {
  MeterLife* life = life_.get();
  return life == nullptr || life->interrupt().AwaitCut(ticket, steady_clock::now() + patience);
}

Findings ContextMeter::Take() {
  MeterLife* life = life_.get();
  return life != nullptr ? life->collector().Take() : Findings{};
}

void ContextMeter::Stop() {
  if (MeterLife* life = life_.get()) life->interrupt().Stop();
}

bool ContextMeter::Ended(microseconds patience) {
  MeterLife* life = life_.get();
  return life == nullptr || life->Ended(patience);
}

bool ContextMeter::IsLost() {
  MeterLife* life = life_.get();
  return life == nullptr || life->IsLost();
}

}  // namespace ftprof
