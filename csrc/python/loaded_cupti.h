// The one CUPTI of this Python process.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cupti/library.h"

namespace ftprof {

// Loaded once for the process. Call it with the GIL released: a thread that holds its locks may
// wait for CUPTI.
class LoadedCupti {
 public:
  // Never destroyed: a meter's thread may use it until the process's very end.
  static LoadedCupti& Get();

  // Where it is loaded already, the roots change nothing. Throws CuptiError.
  cupti::LibraryInfo Load(const std::vector<std::pair<std::string, std::string>>& roots);
  // Throws CuptiError before Load.
  const cupti::Library& library();

  // Calls the host API, which is called by one thread at a time.
  template <typename Function>
  auto With(Function function) {
    const cupti::Library& loaded = library();
    const std::lock_guard<std::mutex> lock(loaded.host_mutex());
    return function(loaded);
  }

 private:
  LoadedCupti() = default;

  std::mutex mutex_;
  std::optional<cupti::Library> library_;
};

}  // namespace ftprof
