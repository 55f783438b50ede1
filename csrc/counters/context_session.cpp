#include "counters/context_session.h"

#include <exception>
#include <mutex>
#include <utility>

#include "cupti/error.h"

namespace ftprof::counters {
namespace {

struct Availabilities {
  std::mutex mutex;
  std::map<std::string, std::vector<std::uint8_t>> of_device;
};

Availabilities& TheAvailabilities() {
  static auto* availabilities = new Availabilities;  // used until the process's very end
  return *availabilities;
}

}  // namespace

std::vector<std::uint8_t> AvailabilityOf(const cupti::Library& library, CUcontext context,
                                         const std::string& uuid) {
  Availabilities& known = TheAvailabilities();
  const std::lock_guard<std::mutex> lock(known.mutex);
  std::vector<std::uint8_t>& mine = known.of_device[uuid];
  if (mine.empty()) mine = cupti::CounterAvailability(library, context);
  return mine;
}

ContextSession::ContextSession(const cupti::Library& library, CUcontext context, const Plan& plan,
                               std::vector<std::uint8_t> availability, cupti::CallPermit* permit)
    : library_(library),
      plan_(plan),
      context_(context),
      availability_(std::move(availability)),
      permit_(permit) {
  profiler_.emplace(library_, context_, permit_);
}

ContextSession::~ContextSession() {
  try {
    EndProfiler();
  } catch (const std::exception&) {
    // Nothing is lost with it; a session that cannot begin after it says so.
  }
  EndImages();
}

// Their host objects are CUPTI's, which one thread at a time may call.
void ContextSession::EndImages() {
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  if (images_) images_->clear();
}

// A context has one at a time. Where it could not be disabled, CUPTI has its images for ever.
void ContextSession::EndProfiler() {
  configured_.reset();
  if (!profiler_) return;
  try {
    profiler_->Disable();
  } catch (const std::exception&) {
    profiler_.reset();
    KeepForEver();
    throw;
  }
  profiler_.reset();
}

const cupti::RangeProfiler& ContextSession::Configure(std::size_t group, std::size_t most_ranges) {
  if (configured_ && *configured_ != group) EndProfiler();
  cupti::GroupImages& images = ImagesOf(group);
  if (!profiler_) profiler_.emplace(library_, context_, permit_);
  images.Configure(*profiler_, most_ranges);
  configured_ = group;
  return *profiler_;
}

cupti::GroupImages& ContextSession::ImagesOf(std::size_t group) {
  if (!images_) images_ = std::make_unique<Images>();
  const auto found = images_->find(group);
  if (found != images_->end()) return found->second;
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  return images_
      ->try_emplace(group, library_, plan_.chip, availability_, plan_.groups.at(group).metrics)
      .first->second;
}

std::vector<cupti::RangeCounts> ContextSession::CountsOf(std::size_t group, std::size_t ranges) {
  const cupti::GroupImages& images = ImagesOf(group);
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  return images.Counts(ranges);
}

// CUPTI has pointers into the images of a profiler that could not be disabled. What else there is
// of a group takes a megabyte and ends.
void ContextSession::KeepForEver() noexcept {
  try {
    static auto* mutex = new std::mutex;
    static auto* kept = new std::vector<std::vector<std::uint8_t>>;
    {
      const std::lock_guard<std::mutex> lock(*mutex);
      kept->reserve(kept->size() + 2 * images_->size());
      for (auto& [group, images] : *images_) {
        for (std::vector<std::uint8_t>& bytes : images.TakeBytes()) {
          kept->push_back(std::move(bytes));
        }
      }
    }
    EndImages();
  } catch (const std::exception&) {
    (void)images_.release();  // no memory to remember where they are
  }
}

}  // namespace ftprof::counters
