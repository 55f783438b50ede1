#include "inject/watcher.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "cupti/process_calls.h"
#include "journal/clock.h"

namespace ftprof::inject {
namespace {

using cupti::CuptiError;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What a context does before it is seen is a gap, so the first one is looked for often. A process
// that has one rarely gets another, and a look is a wake-up: twenty a second are no load.
constexpr milliseconds kPauseAtFirst{2};
constexpr milliseconds kPauseLater{50};
constexpr std::chrono::seconds kAtFirst{30};
// After a failure, doubled with each further one.
constexpr milliseconds kPauseAfterFailure{2};
constexpr int kMostDoublings = 9;
// For the journal, where the meters did not end in time.
constexpr milliseconds kPatienceForJournal{200};

constexpr std::int64_t kLongBlindUs = 1'000'000;
constexpr char kTooShort[] = "they came and went before they were seen";
constexpr char kEnded[] = "the process ended before its context was seen";
constexpr char kNotLookedAt[] =
    "the program ended before ftprof had looked at all of its GPUs for the last time: contexts "
    "that it had not come to are not counted";
constexpr char kNotClosed[] = "the program ended before its last window could be closed";
constexpr char kCaptureGoesOn[] =
    "a stream capture that has not ended kept the last window from being closed";
constexpr char kTooLate[] = "the process ended before they were seen";

std::string VersionText(int driver_version) {
  return std::to_string(driver_version / 1000) + "." + std::to_string(driver_version % 1000 / 10);
}

}  // namespace

Watcher::Watcher(Settings settings, const journal::ProcessIdentity& identity,
                 std::function<void()> libraries_used)
    : settings_(std::move(settings)),
      libraries_used_(std::move(libraries_used)),
      failures_(settings_.run_directory),
      journal_(settings_.run_directory, settings_.run_id, identity, settings_.lines_before_rollup,
               &failures_),
      began_(steady_clock::now()),
      began_us_(journal::NowUs()) {}

bool Watcher::Start() noexcept {
  try {
    counters::OwnThread("ftprof-watcher", [this] { Run(); }).Detach();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Watcher::Run() noexcept {
  try {
    Watch();
  } catch (const std::exception& problem) {
    GiveUp(problem.what());
  }
  const char* reason = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reason = stopping_ ? end_reason_.c_str() : "gave up";
  }
  // Without the lock: who waits for us in Stop must not wait for a disk.
  if (journal_begun_) journal_.End(reason);
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

void Watcher::GiveUp(const char* why) noexcept {
  try {
    BeginJournal();
    journal_.Problem(std::string("the counters' watcher gave up: ") + why);
    EndMeters();
  } catch (const std::exception&) {  // no memory
  }
}

void Watcher::Watch() {
  if (WaitForDriver()) {
    do {
      for (auto& [ordinal, device] : devices_) LookAt(ordinal, &device);
      LookAtOthers();
      if (!libraries_were_used_ && journal_.HasWindows()) {
        libraries_were_used_ = true;
        libraries_used_();
      }
    } while (Sleep());
  }
  LookOnceMore();
  TellTroubles();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    all_told_ = true;
  }
  EndMeters();
}

// Nothing that came since the last look is counted any more, and none of it may be left out in
// silence.
void Watcher::LookOnceMore() {
  for (auto& [ordinal, device] : devices_) {
    if (device.counted || device.trouble) continue;
    try {
      if (driver_->PrimaryContextIsActive(ordinal))
        device.trouble = CuptiError("count", 0, kEnded, {});
    } catch (const CuptiError& error) {
      device.trouble = error;
    }
  }
  for (const auto& [handle, begin_us] : TakeCreated()) {
    try {
      if (!IsPrimary(handle)) TellUncounted(kTooLate);
    } catch (const std::exception& error) {
      TellUncounted(error.what());
    }
  }
}

// The driver calls us in the midst of its own start: until that is over it answers nobody.
bool Watcher::WaitForDriver() {
  driver_ = cupti::Driver::FromMapped();
  for (bool again = true;; again = Sleep()) {  // once more when the process ends
    try {
      const int count = driver_->DeviceCount();
      driver_->RelaxCaptureMode();  // a retain or a release would spoil another thread's capture
      for (int ordinal = 0; ordinal < count; ++ordinal) {
        devices_[ordinal].idle_us = began_us_;
        devices_[ordinal].trouble = driver_failure_;
      }
      driver_failure_.reset();
      return count > 0 && again;  // at the end nothing is begun any more
    } catch (const CuptiError& error) {
      if (error.code() == CUDA_ERROR_NO_DEVICE) return false;
      if (error.code() != CUDA_ERROR_NOT_INITIALIZED) driver_failure_ = error;
    }
    if (!again) return false;
  }
}

// Whatever fails here is tried again, and is no reason to give up another device.
void Watcher::LookAt(int ordinal, Device* device) {
  if (steady_clock::now() < device->next_look) return;
  try {
    Look(ordinal, device);
    device->failures = 0;
  } catch (const CuptiError& error) {
    Note(device, error);
  } catch (const std::exception& problem) {
    Note(device, CuptiError("count", 0, problem.what(), {}));
  }
}

void Watcher::Look(int ordinal, Device* device) {
  const std::int64_t now_us = journal::NowUs();
  const bool active = driver_->PrimaryContextIsActive(ordinal);
  if (device->counted) {
    if (active && !device->gone) return;
    if (!device->gone) {
      // Reset under our hands: CUPTI must not be called on it any more. Our hold on it is not gone
      // with that, and is let go of like any other (CUDA driver API, cuDevicePrimaryCtxReset).
      device->gone = true;
      device->idle_us = now_us;
      device->counted->Abandon();
    }
    if (!device->counted->WaitOver(microseconds::zero())) return;
    contexts_.End(device->counted);
    device->counted->journal().OnGone(device->idle_us);
    device->counted.reset();
    device->gone = false;
  }
  if (active) return StartPrimary(ordinal, device);
  if (device->trouble) {
    device->blind_us += now_us - device->idle_us;
    device->blind_why = std::move(device->trouble);
    if (device->blind_us > kLongBlindUs) TellBlindness(ordinal, device, now_us);
  }
  device->trouble.reset();
  device->idle_us = now_us;
}

void Watcher::Note(Device* device, const CuptiError& error) {
  const int doublings = std::min(device->failures++, kMostDoublings);
  device->next_look = steady_clock::now() + kPauseAfterFailure * (1 << doublings);
  if (!device->counted) {
    if (!device->trouble) device->trouble = error;
  } else if (std::exchange(device->said, error.what()) != error.what()) {
    const std::int64_t now_us = journal::NowUs();
    device->counted->journal().OnGap({now_us, now_us, error});
  }
}

void Watcher::StartPrimary(int ordinal, Device* device) {
  cupti::PrimaryContext primary(*driver_, ordinal);
  const CUcontext handle = primary.get();
  if (const Contexts::Shared other = contexts_.Find(handle)) {
    other->Stop();  // it was heard of before the driver called it a primary one
    contexts_.End(other);
  }
  const auto context = std::make_shared<MeteredContext>(handle, std::move(primary), &journal_);
  StartMeter(context.get(), ordinal, device->idle_us, device->trouble);
  contexts_.Add(context);
  device->counted = context;
  device->trouble.reset();
}

// The contexts that have come, and since when; those that have gone are let go of.
std::map<CUcontext, std::int64_t> Watcher::TakeCreated() {
  std::map<CUcontext, std::int64_t> created;
  for (const Contexts::Event& event : contexts_.TakeEvents()) {
    if (event.created) {
      created[event.handle] = event.time_us;
    } else if (created.erase(event.handle) != 0) {
      TellUncounted(kTooShort);
    } else if (const Contexts::Shared gone = contexts_.Find(event.handle)) {
      if (!gone->is_primary()) {
        contexts_.End(gone);
        gone->journal().OnGone(event.time_us);
      }
    }
  }
  return created;
}

void Watcher::LookAtOthers() {
  for (const auto& [handle, begin_us] : TakeCreated()) {
    try {
      StartOther(handle, begin_us);
    } catch (const std::exception& error) {
      TellUncounted(error.what());
    }
  }
}

// Each reason once: a program may make contexts all day long.
void Watcher::TellUncounted(const std::string& why) {
  if (!uncounted_.insert(why).second) return;
  BeginJournal();
  journal_.Uncounted("", "contexts that were not counted: " + why);
}

void Watcher::StartOther(CUcontext handle, std::int64_t begin_us) {
  const Contexts::Starting starting(&contexts_, handle);
  if (!starting.may_start()) return TellUncounted(kTooShort);
  if (IsPrimary(handle)) return;
  driver_->MakeCurrent(handle);
  const int ordinal = driver_->CurrentDevice();
  driver_->MakeCurrent(nullptr);
  const auto context = std::make_shared<MeteredContext>(handle, std::nullopt, &journal_);
  StartMeter(context.get(), ordinal, begin_us, std::nullopt);
  contexts_.Add(context);
}

bool Watcher::IsPrimary(CUcontext handle) const {
  return std::any_of(devices_.begin(), devices_.end(), [&](const auto& entry) {
    return driver_->PrimaryContextIsActive(entry.first) &&
           cupti::PrimaryContext(*driver_, entry.first).get() == handle;
  });
}

void Watcher::StartMeter(MeteredContext* context, int ordinal, std::int64_t begin_us,
                         const std::optional<CuptiError>& before) {
  const cupti::DeviceInfo device = driver_->Describe(ordinal);
  if (!library_) LoadLibrary();
  BeginJournal();
  try {
    if (!library_) throw CuptiError(*library_failure_);
    HearOfCaptures();
  } catch (const CuptiError& error) {
    context->BeginUncounted(device, begin_us, error);
    return;
  }
  counters::MeterSettings settings = settings_.meter;
  settings.seed += meters_++;
  settings.begin_us = begin_us;
  settings.before = before;
  context->Begin(*library_, *driver_, device, &gate_, settings);
}

void Watcher::LoadLibrary() {
  try {
    library_ = cupti::Library::Load(SearchRoots(settings_));
    libraries_used_();
  } catch (const CuptiError& error) {
    library_failure_ = error;
  } catch (const std::exception& problem) {
    library_failure_ = CuptiError("find CUPTI", 0, problem.what(), {});
  }
}

void Watcher::Subscribe() noexcept {
  try {
    LoadLibrary();
    if (!library_) throw CuptiError(*library_failure_);
    TakeSubscriber({[this](CUcontext handle) {
                      contexts_.Created(handle);
                      WakeUp();
                    },
                    [this](CUcontext handle) { contexts_.AboutToGo(handle); }, nullptr, nullptr});
  } catch (const CuptiError& error) {
    subscribe_failure_ = error;
  } catch (const std::exception& problem) {
    subscribe_failure_ = CuptiError("cuptiSubscribe", 0, problem.what(), {});
  }
}

void Watcher::TakeSubscriber(cupti::Subscriber::Listener listener) {
  listener.capture_begins = [this] { gate_.CaptureBegins(); };
  listener.capture_ends = [this] { gate_.CaptureEnds(); };
  subscriber_.emplace(*library_, std::move(listener));
  gate_.CapturesAreAnnounced();
}

// Any window's edge spoils a capture that is under way. In a process with torch the hook announces
// them, and torch.profiler may want the subscriber's place; elsewhere it is taken for that. Throws
// CuptiError where it cannot be had: then nothing may be counted.
void Watcher::HearOfCaptures() {
  if (!gate_.announced()) TakeSubscriber({});
}

void Watcher::BeginJournal() {
  if (journal_begun_) return;
  journal_begun_ = true;
  std::string driver;
  try {
    if (driver_) driver = VersionText(driver_->Version());
  } catch (const CuptiError& error) {
    driver = error.what();
  }
  journal_.Begin(library_ ? library_->info() : cupti::LibraryInfo{}, driver,
                 settings_.subscribe && subscriber_ ? "all" : "primary");
  if (!subscribe_failure_) return;
  journal_.Uncounted("",
                     std::string("contexts that are not a device's primary one were not seen: ") +
                         subscribe_failure_->what());
}

void Watcher::EndMeters() {
  for (const Contexts::Shared& context : contexts_.All()) context->Stop();
  for (const Contexts::Shared& context : contexts_.All()) contexts_.End(context);
}

// What kept us to the end from seeing whether there is work.
void Watcher::TellTroubles() {
  if (driver_failure_) {
    BeginJournal();
    journal_.Uncounted("", driver_failure_->what());
  }
  for (auto& [ordinal, device] : devices_) {
    TellBlindness(ordinal, &device, journal::NowUs());
    const bool ended = device.trouble && device.trouble->code() == CUDA_ERROR_DEINITIALIZED;
    if (device.trouble && !ended) TellTrouble(ordinal, device.idle_us, *device.trouble);
  }
}

// Whatever it did up to now is bounded by its peak, where that is known.
void Watcher::TellTrouble(int ordinal, std::int64_t begin_us, const CuptiError& trouble) {
  BeginJournal();
  try {
    const cupti::DeviceInfo info = driver_->Describe(ordinal);
    MeteredContext unseen(nullptr, std::nullopt, &journal_);
    unseen.BeginUncounted(info, begin_us, trouble);
    unseen.End();
  } catch (const CuptiError&) {
    journal_.Uncounted("cuda:" + std::to_string(ordinal), trouble.what());
  }
}

// As long as all of it was together.
void Watcher::TellBlindness(int ordinal, Device* device, std::int64_t now_us) {
  if (!device->blind_why) return;
  TellTrouble(ordinal, now_us - device->blind_us, *device->blind_why);
  device->blind_why.reset();
  device->blind_us = 0;
}

// Until the next look is due; false once there is to be none.
bool Watcher::Sleep() {
  const bool first = contexts_.All().empty() && steady_clock::now() - began_ < kAtFirst;
  const auto until = steady_clock::now() + (first ? kPauseAtFirst : kPauseLater);
  std::unique_lock<std::mutex> lock(mutex_);
  looks_ended_ = looks_begun_;
  changed_.notify_all();
  changed_.wait_until(lock, until, [this] { return stopping_ || woken_; });
  woken_ = false;
  ++looks_begun_;
  return !stopping_;
}

void Watcher::WakeUp() {
  const std::lock_guard<std::mutex> lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void Watcher::Stop(const std::string& reason, milliseconds patience) noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  if (given_up_) return;
  if (!std::exchange(stopping_, true)) end_reason_ = reason;
  changed_.notify_all();
  const auto until = steady_clock::now() + patience;
  if (changed_.wait_until(lock, until, [this] { return done_; })) return;
  if (std::exchange(given_up_, true)) return;
  const char* untold = all_told_ ? nullptr : kNotLookedAt;
  lock.unlock();
  cupti::ForbidCalls();
  try {
    for (const Contexts::Shared& context : contexts_.All()) context->Abandon();
  } catch (const std::exception&) {  // no memory
  }
  journal_.EndBefore(reason, gate_.capturing() ? kCaptureGoesOn : kNotClosed, untold,
                     kPatienceForJournal);
}

bool Watcher::Cut(milliseconds patience) noexcept {
  try {
    return contexts_.Cut(patience);
  } catch (const std::exception&) {  // no memory
    return false;
  }
}

// A context may be so new that nobody has seen it yet: waits for a whole look that begins now.
// False where that took too long.
bool Watcher::AwaitLook(steady_clock::time_point until) {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::uint64_t next = looks_begun_ + 1;
  woken_ = true;
  changed_.notify_all();
  return changed_.wait_until(lock, until,
                             [this, next] { return looks_ended_ >= next || stopping_ || done_; });
}

bool Watcher::AwaitWindows(milliseconds patience) noexcept {
  const auto until = steady_clock::now() + patience;
  try {
    return AwaitLook(until) && contexts_.AwaitWindows(std::chrono::duration_cast<milliseconds>(
                                   until - steady_clock::now()));
  } catch (const std::exception&) {  // no memory
    return false;
  }
}

}  // namespace ftprof::inject
