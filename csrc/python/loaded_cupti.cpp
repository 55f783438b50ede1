#include "python/loaded_cupti.h"

#include "cupti/error.h"

namespace ftprof {

LoadedCupti& LoadedCupti::Get() {
  static auto* loaded = new LoadedCupti;
  return *loaded;
}

cupti::LibraryInfo LoadedCupti::Load(
    const std::vector<std::pair<std::string, std::string>>& roots) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!library_) {
    std::vector<cupti::SearchRoot> search;
    search.reserve(roots.size());
    for (const auto& [path, origin] : roots) search.push_back({path, origin});
    library_ = cupti::Library::Load(search);
  }
  return library_->info();
}

const cupti::Library& LoadedCupti::library() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!library_) throw cupti::CuptiError("use CUPTI", 0, "not loaded", "call load_cupti first");
  return *library_;
}

}  // namespace ftprof
