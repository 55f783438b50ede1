#include "inject/watcher.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace ftprof::inject {
namespace {

using cupti::CuptiError;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kNotInitialized = CUDA_ERROR_NOT_INITIALIZED;
// What a context does before it is seen is a gap, so the first one is looked for often. A process
// that has one rarely gets another, and a look is a wake-up: twenty a second are no load.
constexpr milliseconds kPauseAtFirst{2};
constexpr milliseconds kPauseLater{50};
constexpr std::chrono::seconds kAtFirst{30};
constexpr milliseconds kPatienceForContext{500};

// Signals are the application's: a thread of ours must never be the one that is picked to handle
// one.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

std::string VersionText(int driver_version) {
  return std::to_string(driver_version / 1000) + "." + std::to_string(driver_version % 1000 / 10);
}

}  // namespace

Watcher::Watcher(Settings settings, const journal::ProcessIdentity& identity)
    : settings_(std::move(settings)),
      failures_(settings_.run_directory),
      journal_(settings_.run_directory, settings_.run_id, identity, settings_.lines_before_rollup,
               &failures_),
      began_(steady_clock::now()) {}

bool Watcher::Start() noexcept {
  try {
    const AllSignalsBlocked blocked;  // a new thread inherits the mask
    std::thread([this] { Run(); }).detach();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Watcher::Run() noexcept {
  pthread_setname_np(pthread_self(), "ftprof-watcher");
  try {
    Watch();
  } catch (const std::exception& problem) {
    BeginJournal();
    journal_.Problem(std::string("the counters' watcher gave up: ") + problem.what());
  }
  EndMeters();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (journal_begun_) journal_.End(end_reason_.empty() ? "gave up" : end_reason_);
  done_ = true;
  changed_.notify_all();
}

void Watcher::Watch() {
  if (!WaitForDriver()) return;
  do {
    LookAtDevices();
  } while (Sleep(Pause()));
}

// The driver calls us in the midst of its own start: until that is over it answers nobody.
bool Watcher::WaitForDriver() {
  driver_ = cupti::Driver::FromMapped();
  do {
    try {
      return driver_->DeviceCount() > 0;
    } catch (const CuptiError& error) {
      if (error.code() != kNotInitialized) return false;  // no device: nothing to count
    }
  } while (Sleep(Pause()));
  return false;
}

void Watcher::LookAtDevices() {
  for (int ordinal = 0, count = driver_->DeviceCount(); ordinal < count; ++ordinal) {
    LookAt(ordinal);
  }
  LookAtOthers();
}

void Watcher::LookAt(int ordinal) {
  const bool active = driver_->PrimaryContextIsActive(ordinal);
  const auto found = counted_.find(ordinal);
  if (found == counted_.end()) {
    if (active) StartPrimary(ordinal);
    return;
  }
  if (active) return;
  // Reset under our hands, so CUPTI must not be called on it any more. Our hold on it is not gone
  // with that, and is released with the meter (CUDA driver API, cuDevicePrimaryCtxReset).
  if (found->second.meter) found->second.meter->interrupt().Abandon();
  Erase(&counted_, ordinal);
}

// Its thread has ended, or is about to. What is destroyed may call back into LetGo: not under the
// lock.
template <typename Contexts, typename Key>
void Watcher::Erase(Contexts* contexts, const Key& key) {
  const auto found = contexts->find(key);
  if (found == contexts->end()) return;
  if (found->second.thread.joinable()) found->second.thread.join();
  typename Contexts::node_type gone;
  const std::lock_guard<std::mutex> lock(mutex_);
  gone = contexts->extract(found);
}

void Watcher::LookAtOthers() {
  std::vector<CUcontext> created;
  std::vector<CUcontext> gone;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    created.swap(created_);
    gone.swap(gone_);
  }
  for (CUcontext context : gone) Erase(&others_, context);
  for (CUcontext context : created) {
    if (std::find(gone.begin(), gone.end(), context) == gone.end() && !IsPrimary(context)) {
      StartOther(context);
    }
  }
}

bool Watcher::IsPrimary(CUcontext context) const {
  for (int ordinal = 0, count = driver_->DeviceCount(); ordinal < count; ++ordinal) {
    if (!driver_->PrimaryContextIsActive(ordinal)) continue;
    if (cupti::PrimaryContext(*driver_, ordinal).get() == context) return true;
  }
  return false;
}

void Watcher::StartPrimary(int ordinal) {
  Counted counted;
  counted.primary.emplace(*driver_, ordinal);
  StartMeter(&counted, counted.primary->get(), ordinal);
  const std::lock_guard<std::mutex> lock(mutex_);
  counted_.emplace(ordinal, std::move(counted));
}

void Watcher::StartOther(CUcontext context) {
  driver_->MakeCurrent(context);
  const int ordinal = driver_->CurrentDevice();
  driver_->MakeCurrent(nullptr);
  Counted counted;
  StartMeter(&counted, context, ordinal);
  const std::lock_guard<std::mutex> lock(mutex_);
  others_.emplace(context, std::move(counted));
}

void Watcher::StartMeter(Counted* counted, CUcontext context, int ordinal) {
  std::optional<CuptiError> failure;
  if (!library_) {
    try {
      library_ = cupti::Library::Load(SearchRoots(settings_));
    } catch (const CuptiError& error) {
      failure = error;
    }
  }
  BeginJournal();
  counted->sink = std::make_unique<ContextJournal>(&journal_);
  if (failure) {
    counters::CountedContext unseen;
    unseen.device = driver_->Describe(ordinal);
    unseen.begin_us = journal::NowUs();
    counted->sink->OnContext(unseen);
    counted->sink->OnGap({unseen.begin_us, unseen.begin_us, *failure});
    return;
  }
  counters::MeterSettings settings = settings_.meter;
  settings.seed += meters_++;
  counted->meter =
      std::make_unique<counters::Meter>(*library_, *driver_, context, driver_->Describe(ordinal),
                                        &gate_, counted->sink.get(), settings);
  counted->thread = std::thread([meter = counted->meter.get()] {
    pthread_setname_np(pthread_self(), "ftprof-meter");
    meter->Run();
  });
}

void Watcher::Subscribe() noexcept {
  try {
    library_ = cupti::Library::Load(SearchRoots(settings_));
    subscriber_.emplace(
        *library_, cupti::Subscriber::Listener{[this](CUcontext context) {
                                                 const std::lock_guard<std::mutex> lock(mutex_);
                                                 created_.push_back(context);
                                               },
                                               [this](CUcontext context) { LetGo(context); }});
  } catch (const CuptiError& error) {
    subscribe_failure_ = error;
  }
}

// On the thread that destroys the context, which goes on when this returns.
void Watcher::LetGo(CUcontext context) noexcept {
  counters::Meter* meter = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_.push_back(context);
    const auto found = others_.find(context);
    if (found != others_.end()) meter = found->second.meter.get();
  }
  if (meter == nullptr) return;
  meter->interrupt().Stop();
  // The driver may hold a lock that the meter needs: then its last window is given up.
  if (!meter->interrupt().WaitFinished(kPatienceForContext)) meter->interrupt().Abandon();
}

void Watcher::BeginJournal() {
  if (journal_begun_) return;
  journal_.Begin(library_ ? library_->info() : cupti::LibraryInfo{},
                 driver_ ? VersionText(driver_->Version()) : "");
  if (subscribe_failure_) {
    journal_.Uncounted("",
                       std::string("contexts that are not a device's primary one were not seen: ") +
                           subscribe_failure_->what());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  journal_begun_ = true;
}

template <typename Act>
void Watcher::ForEach(Act act) {
  for (auto& [ordinal, counted] : counted_) act(&counted);
  for (auto& [context, counted] : others_) act(&counted);
}

void Watcher::EndMeters() noexcept {
  ForEach([](Counted* counted) {
    if (counted->meter) counted->meter->interrupt().Stop();
  });
  ForEach([](Counted* counted) {
    if (counted->thread.joinable()) counted->thread.join();
  });
  // Destroyed outside the lock: releasing a context may call back into LetGo.
  std::map<int, Counted> primary;
  std::map<CUcontext, Counted> others;
  const std::lock_guard<std::mutex> lock(mutex_);
  primary.swap(counted_);
  others.swap(others_);
}

bool Watcher::Sleep(milliseconds time) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto until = steady_clock::now() + time;
  changed_.wait_until(lock, until, [this] { return stopping_; });
  return !stopping_;
}

milliseconds Watcher::Pause() const {
  const bool first = counted_.empty() && steady_clock::now() - began_ < kAtFirst;
  return first ? kPauseAtFirst : kPauseLater;
}

void Watcher::Stop(const std::string& reason, milliseconds patience) noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopping_) return;
  stopping_ = true;
  end_reason_ = reason;
  changed_.notify_all();
  const auto until = steady_clock::now() + patience;
  if (changed_.wait_until(lock, until, [this] { return done_; })) return;
  ForEach([](Counted* counted) {
    if (counted->meter) counted->meter->interrupt().Abandon();
  });
  lock.unlock();
  journal_.Problem(
      "the counters' windows could not be closed before the process ended: what was "
      "executed in them is lost");
}

bool Watcher::Cut(milliseconds patience) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  bool all = true;
  ForEach([&](Counted* counted) {
    if (counted->meter) all = counted->meter->interrupt().Cut(patience) && all;
  });
  return all;
}

void Watcher::ForgetInChild() noexcept { journal_.ForgetInChild(); }

}  // namespace ftprof::inject
