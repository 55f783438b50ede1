#include "counters/context_session.h"

#include <mutex>
#include <utility>

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
                               std::vector<std::uint8_t> availability,
                               const std::atomic<bool>* forbidden)
    : library_(library),
      plan_(plan),
      context_(context),
      availability_(std::move(availability)),
      forbidden_(forbidden) {
  profiler_.emplace(library_, context_, forbidden_);
}

ContextSession::~ContextSession() {
  if (profiler_ && profiler_->IsForbidden()) KeepForEver(std::move(images_));
}

const cupti::RangeProfiler& ContextSession::Configure(std::size_t group) {
  cupti::GroupImages& images = ImagesOf(group);
  if (configured_ && *configured_ != group) {
    profiler_.reset();  // a context has one at a time
    configured_.reset();
  }
  if (!profiler_) profiler_.emplace(library_, context_, forbidden_);
  images.Configure(*profiler_);
  configured_ = group;
  return *profiler_;
}

cupti::GroupImages& ContextSession::ImagesOf(std::size_t group) {
  const auto found = images_->find(group);
  if (found != images_->end()) return found->second;
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  return images_
      ->try_emplace(group, library_, plan_.chip, availability_, plan_.groups.at(group).metrics)
      .first->second;
}

std::vector<std::uint64_t> ContextSession::CountsOf(std::size_t group) {
  const cupti::GroupImages& images = ImagesOf(group);
  const std::lock_guard<std::mutex> lock(library_.host_mutex());
  return images.Counts();
}

// CUPTI has pointers into the images of a profiler that it was not allowed to disable.
void ContextSession::KeepForEver(std::unique_ptr<Images> images) {
  static auto* mutex = new std::mutex;
  static auto* kept = new std::vector<std::unique_ptr<Images>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  kept->push_back(std::move(images));
}

}  // namespace ftprof::counters
