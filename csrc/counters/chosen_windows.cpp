#include "counters/chosen_windows.h"

#include <mutex>
#include <string>
#include <utility>

#include "counters/cupti_chip.h"
#include "cupti/error.h"

namespace ftprof::counters {
namespace {

using cupti::CuptiError;

constexpr char kCall[] = "open a window";

// For chips that this CUPTI knows it can be done without.
std::vector<std::uint8_t> AvailabilityIfTold(const cupti::Library& library, CUcontext context,
                                             const std::string& uuid) {
  try {
    return AvailabilityOf(library, context, uuid);
  } catch (const CuptiError&) {
    return {};
  }
}

}  // namespace

// The members end in reverse order: the range first, then the pass, then the time inside the gate.
class ChosenWindows::Open {
 public:
  Open(ContextSession* session, std::size_t group_of_plan, CaptureGate* gate, Interrupt* interrupt)
      : group(group_of_plan), gate_(gate, interrupt) {
    if (gate != nullptr && !gate_.entered()) {
      throw CuptiError(kCall, 0, "code may not be patched now: a stream is being captured",
                       "end the capture first, and announce captures");
    }
    const cupti::RangeProfiler& profiler = session->Configure(group, 1);
    pass.emplace(profiler);
    range.emplace(profiler, name_);
  }

  const std::size_t group;

 private:
  PatchedWindow gate_;
  const std::string name_ = "window";

 public:
  std::optional<cupti::CountedPass> pass;
  std::optional<cupti::CountedRange> range;
};

ChosenWindows::ChosenWindows(const cupti::Library& library, const cupti::Driver& driver,
                             CUcontext context, cupti::DeviceInfo device, CaptureGate* gate)
    : library_(library), context_(context), device_(std::move(device)), gate_(gate) {
  driver.MakeCurrent(context_);
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  cupti::InitializeProfiler(library_);
  if (const auto obstacle = cupti::WhyUnsupported(library_, driver.CurrentDevice()))
    throw CuptiError(*obstacle);
  plan_ = MakePlan(ChipFromCupti(library_, cupti::ChipName(library_, device_.ordinal)));
}

ChosenWindows::~ChosenWindows() { DropSession(); }

void ChosenWindows::DropSession() noexcept {
  open_.reset();
  session_.reset();
}

void ChosenWindows::Begin(std::size_t group) {
  if (open_) throw CuptiError(kCall, 0, "one is open already", {});
  if (group >= plan_.groups.size()) throw CuptiError(kCall, 0, "the plan has no such group", {});
  try {
    if (!session_) {
      session_ = std::make_unique<ContextSession>(
          library_, context_, plan_, AvailabilityIfTold(library_, context_, device_.uuid));
    }
    const bool patched = plan_.groups[group].role == Role::kCudaCore;
    open_ = std::make_unique<Open>(session_.get(), group, patched ? gate_ : nullptr, &interrupt_);
  } catch (const CuptiError&) {
    DropSession();
    throw;
  }
}

std::vector<std::uint64_t> ChosenWindows::End() {
  if (!open_) throw CuptiError("close a window", 0, "none is open", {});
  try {
    open_->range->End();
    open_->pass->End();
    open_->pass->Decode();
    std::vector<std::uint64_t> counts = session_->CountsOf(open_->group, 1).front().Exact();
    open_.reset();
    return counts;
  } catch (const CuptiError&) {
    DropSession();
    throw;
  }
}

}  // namespace ftprof::counters
