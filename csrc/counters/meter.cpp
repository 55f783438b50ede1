#include "counters/meter.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "counters/context_session.h"
#include "counters/cupti_chip.h"
#include "counters/window_pass.h"
#include "cupti/range_profiler.h"
#include "journal/clock.h"

namespace ftprof::counters {
namespace {

using cupti::CuptiError;
using std::chrono::microseconds;

// The record knows it by this name (ftprof/record/counted.py).
constexpr char kPatchesNoGraph[] = "patch a CUDA graph";

// No chip of this compute capability, or of any older one, does more dense operations a clock on a
// multiprocessor in one format (NVIDIA's architecture whitepapers: fp16 on Turing, fp8 on Ada and
// Hopper, fp4 on Blackwell).
double MostOperationsPerClock(const std::string& capability) {
  const int major = std::atoi(capability.c_str());
  if (major <= 7) return 1024;
  if (major == 8) return 4096;
  if (major == 9) return 8192;
  return 32768;
}

// Slots so short that no count reaches the doubles' limit, at the highest rate that the device can
// have.
ScheduleSettings WithExactSlots(ScheduleSettings settings, const cupti::DeviceInfo& device) {
  const double rate = MostOperationsPerClock(device.capability) * device.multiprocessors *
                      device.clock_khz * 1000.0;
  settings.longest_slot_us = std::min(settings.longest_slot_us, LongestExactSlot(rate));
  settings.first_slot_us = std::min(settings.first_slot_us, settings.longest_slot_us);
  return settings;
}

}  // namespace

void MeterSettings::UseSlots(std::int64_t first_us, std::int64_t longest_us) {
  schedule.first_slot_us = first_us;
  schedule.longest_slot_us = longest_us;
  schedule.change_share = 0;
  first_retry = microseconds(first_us);
  longest_retry = microseconds(8 * longest_us);
}

// One window after the other.
class Meter::Session {
 public:
  explicit Session(Meter* meter) : meter_(*meter) {
    const WindowEdge edge(meter_.gate_, meter_.interrupt_);
    session_.emplace(meter_.library_, meter_.context_, meter_.counted_.plan, meter_.Availability(),
                     &meter_.calls_);
  }
  ~Session() { Close(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  cupti::GroupImages& ImagesOf(std::size_t group) { return session_->ImagesOf(group); }
  // One window of a group, as long as this or until interrupted. Says what ended it. The counts of
  // the base group's windows may be told later, together.
  Wake Count(std::size_t group, std::uint64_t stratum, microseconds length, bool continued = false);
  // The same of patched code, which is left as soon as the window is closed.
  Wake CountPatched(std::size_t group, std::uint64_t stratum, microseconds length,
                    PatchedWindow* patched);

 private:
  void Close() noexcept {
    if (!session_) return;
    std::optional<WindowEdge> edge;
    try {
      edge.emplace(meter_.gate_, meter_.interrupt_);
    } catch (const std::exception&) {  // no memory to be waited for
    }
    pass_.reset();
    session_.reset();
  }
  void Begin(std::size_t group, std::uint64_t stratum, bool continued);
  std::optional<std::vector<ClosedWindow>> End(bool is_last);
  void Deliver(const std::vector<ClosedWindow>& windows);

  Meter& meter_;
  std::optional<ContextSession> session_;
  std::optional<WindowPass> pass_;
};

Wake Meter::Session::Count(std::size_t group, std::uint64_t stratum, microseconds length,
                           bool continued) {
  Begin(group, stratum, continued);
  const Wake wake = meter_.interrupt_.WaitFor(length);
  const bool may_go_on = wake == Wake::kTimeout && group == meter_.base_group_;
  if (const auto windows = End(/*is_last=*/!may_go_on)) Deliver(*windows);
  return meter_.interrupt_.abandoned() ? Wake::kAbandon : wake;
}

Wake Meter::Session::CountPatched(std::size_t group, std::uint64_t stratum, microseconds length,
                                  PatchedWindow* patched) {
  Wake wake = Wake::kTimeout;
  std::optional<std::vector<ClosedWindow>> windows;
  try {
    Begin(group, stratum, /*continued=*/false);
    wake = meter_.interrupt_.WaitFor(length);
    windows = End(/*is_last=*/true);
  } catch (...) {
    Close();  // a capture that waits may begin only once no code is patched any more
    throw;
  }
  patched->Leave();
  Deliver(*windows);
  return meter_.interrupt_.abandoned() ? Wake::kAbandon : wake;
}

void Meter::Session::Begin(std::size_t group, std::uint64_t stratum, bool continued) {
  if (pass_ && (pass_->group() != group || !pass_->HasRoom())) {
    std::vector<ClosedWindow> windows;
    {
      const WindowEdge edge(meter_.gate_, meter_.interrupt_);
      windows = pass_->Close();
    }
    Deliver(windows);
  }
  std::int64_t begin_us = 0;
  {
    const WindowEdge edge(meter_.gate_, meter_.interrupt_);
    if (!pass_) pass_.emplace(&*session_, group, &meter_.interrupt_);
    begin_us = pass_->Begin(stratum, continued);
  }
  meter_.EndGap(begin_us);
}

// Ends the open window. Where it is the last of its pass: that too, and gives all of its windows.
std::optional<std::vector<ClosedWindow>> Meter::Session::End(bool is_last) {
  const WindowEdge edge(meter_.gate_, meter_.interrupt_);
  pass_->End();
  if (!is_last && pass_->HasRoom()) return std::nullopt;
  return pass_->Close();
}

// Outside the edge: no capture waits for a disk. Where a count is none at all, the session is not
// to be trusted any more.
void Meter::Session::Deliver(const std::vector<ClosedWindow>& windows) {
  if (meter_.interrupt_.abandoned()) return;  // what was read is of no context
  // Before the windows count as closed: whoever waits for a cut finds their counts there.
  const cupti::CuptiError* broken = nullptr;
  for (const ClosedWindow& closed : windows) {
    meter_.Tell(closed);
    if (closed.counted.inexact && !closed.counted.too_large) broken = &*closed.counted.inexact;
  }
  meter_.TellOfCaptures();
  if (broken != nullptr) throw CuptiError(*broken);
  pass_.reset();
}

Meter::Meter(const cupti::Library& library, const cupti::Driver& driver, CUcontext context,
             cupti::DeviceInfo device, CaptureGate* gate, MeterSink* sink, MeterSettings settings)
    : library_(library),
      driver_(driver),
      context_(context),
      gate_(gate),
      sink_(sink),
      settings_(std::move(settings)),
      calls_(gate, interrupt_) {
  counted_.device = std::move(device);
  counted_.seed = settings_.seed;
  counted_.begin_us = settings_.begin_us != 0 ? settings_.begin_us : journal::NowUs();
  covered_until_us_ = counted_.begin_us;
  failure_ = settings_.before;
}

Meter::~Meter() = default;

void Meter::Run() noexcept {
  try {
    CountAndRetry();
  } catch (const std::exception&) {
    // No memory, not even to say why. The sink sees that there was no end.
  }
  interrupt_.Finished();
}

void Meter::CountAndRetry() {
  sink_->OnContext(counted_);  // the plan may never come: the device is known
  microseconds retry = settings_.first_retry;
  while (interrupt_.Pending() == Wake::kTimeout) {
    const std::uint64_t windows = windows_;
    Attempt([this] { CountUntilInterrupted(); });
    // Not where a window was only opened: what fails at each one's end must not be tried every
    // time.
    if (windows_ != windows) retry = settings_.first_retry;
    if (interrupt_.Pending() != Wake::kTimeout) break;
    if (interrupt_.Pause(retry) == Wake::kCut) interrupt_.WindowClosed();
    retry = std::min(retry * 2, settings_.longest_retry);
  }
  if (interrupt_.Pending() == Wake::kAbandon && !failure_) {
    failure_ = CuptiError("count", 0, "the context has gone", {});
  }
  TellOfCaptures();
  const std::int64_t end_us = journal::NowUs();
  EndGap(end_us);
  sink_->OnEnd(end_us);
}

// What fails is a gap from now on, and the part of it that has passed is told.
void Meter::Attempt(const std::function<void()>& act) {
  try {
    act();
    return;
  } catch (const CuptiError& error) {
    failure_ = error;
  } catch (const std::exception& problem) {
    failure_ = CuptiError("count", 0, problem.what(), {});
  }
  EndGap(journal::NowUs(), /*goes_on=*/true);
}

// A failure's gap is told before the session ends: its window then counts as closed, and whoever
// has waited for a cut finds there what was lost.
void Meter::CountUntilInterrupted() {
  Prepare();
  Session session(this);
  Attempt([&] {
    while (CountSlot(&session) == Wake::kTimeout) {
    }
  });
}

// Everything is done again after a failure but the plan: what was refused may be granted now.
void Meter::Prepare() {
  driver_.MakeCurrent(context_);
  driver_.RelaxCaptureMode();
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  CheckWanted();
  cupti::InitializeProfiler(library_);
  if (const auto obstacle = cupti::WhyUnsupported(library_, driver_.CurrentDevice()))
    throw CuptiError(*obstacle);
  if (!schedule_) MakeSchedule();
}

// It is hundreds of questions to CUPTI. A program that ends meanwhile does not wait for them.
void Meter::MakeSchedule() {
  Chip chip = ChipFromCupti(library_, cupti::ChipName(library_, counted_.device.ordinal));
  chip.num_passes = [this, ask = std::move(chip.num_passes)](const std::vector<std::string>& set) {
    CheckWanted();
    return ask(set);
  };
  chip.has_metric = [this, ask = std::move(chip.has_metric)](const std::string& metric) {
    CheckWanted();
    return ask(metric);
  };
  counted_.plan = MakePlan(chip);
  std::vector<Role> roles;
  for (const Group& group : counted_.plan.groups) roles.push_back(group.role);
  base_group_ =
      static_cast<std::size_t>(std::find(roles.begin(), roles.end(), Role::kBase) - roles.begin());
  schedule_ = std::make_unique<Schedule>(roles, WithExactSlots(settings_.schedule, counted_.device),
                                         settings_.seed);
  sink_->OnContext(counted_);
}

void Meter::CheckWanted() const {
  if (interrupt_.Pending() == Wake::kTimeout) return;
  throw CuptiError("count", 0, "the context or its program ended before the counters were ready",
                   {});
}

// For chips that this CUPTI knows it can be done without.
std::vector<std::uint8_t> Meter::Availability() {
  try {
    CheckWanted();
    const cupti::PermittedCall permitted(&calls_);
    return AvailabilityOf(library_, context_, counted_.device.uuid);
  } catch (const CuptiError& error) {
    CheckWanted();
    Say(error);
    return {};
  }
}

Wake Meter::CountSlot(Session* session) {
  const Slot slot = schedule_->Next();
  const bool patched = counted_.plan.groups.at(slot.group).role == Role::kCudaCore;
  PatchedWindow window(patched ? gate_ : nullptr, &interrupt_);
  std::size_t group = patched && !window.entered() ? base_group_ : slot.group;
  if (group != base_group_ && unusable_.count(group) == 0) {
    try {
      (void)session->ImagesOf(group);
    } catch (const CuptiError& error) {
      unusable_.insert(group);
      Say(error);
    }
  }
  if (unusable_.count(group) != 0) group = base_group_;
  if (window.entered()) {
    // What cuts it may be a capture that waits: the rest of the slot is not patched.
    const Wake wake =
        session->CountPatched(group, slot.stratum, microseconds(slot.length_us), &window);
    return wake == Wake::kCut ? Wake::kTimeout : wake;
  }
  return CountFor(session, group, slot.stratum, microseconds(slot.length_us));
}

// A cut makes two windows of one slot, of which the second continues the first.
Wake Meter::CountFor(Session* session, std::size_t group, std::uint64_t stratum,
                     microseconds length) {
  const auto until = std::chrono::steady_clock::now() + length;
  for (bool continued = false;; continued = true) {
    const auto left =
        std::chrono::duration_cast<microseconds>(until - std::chrono::steady_clock::now());
    if (left <= microseconds::zero()) return Wake::kTimeout;
    const Wake wake = session->Count(group, stratum, left, continued);
    if (wake != Wake::kCut) return wake;
  }
}

// Only the window that has no exact counts is a gap, and not the others of its pass.
void Meter::Tell(const ClosedWindow& closed) {
  const Window& window = closed.window;
  if (closed.counted.inexact) {
    sink_->OnGap({window.begin_us, window.end_us, *closed.counted.inexact});
  } else {
    sink_->OnWindow(window);
    ++windows_;
  }
  covered_until_us_ = window.end_us;
}

// Something that was refused and cost no window.
void Meter::Say(const CuptiError& error) {
  const std::int64_t now = journal::NowUs();
  sink_->OnGap({now, now, error});
}

void Meter::TellOfCaptures() {
  if (gate_ == nullptr) return;
  if (gate_->TakeCapturesAtRisk() != 0) {
    Say(CuptiError("cuStreamBeginCapture", 0,
                   "a stream capture began while CUPTI was still reading the counters: it may fail",
                   "synchronise before a capture"));
  }
  // Whenever a graph was captured (H200, CUPTI 13.0; docs/evidence).
  const bool patches = settings_.schedule.cuda_core_windows > 0;
  if (!patches || told_of_graphs_ || !gate_->has_captured()) return;
  told_of_graphs_ = true;
  Say(CuptiError(
      kPatchesNoGraph, 0,
      "CUPTI patches no kernel of a CUDA graph: what graphs execute on CUDA cores is not "
      "counted",
      {}));
}

void Meter::EndGap(std::int64_t end_us, bool goes_on) {
  if (!failure_) return;
  sink_->OnGap({covered_until_us_, end_us, *failure_});
  covered_until_us_ = end_us;
  if (!goes_on) failure_.reset();
}

}  // namespace ftprof::counters
