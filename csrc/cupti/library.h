// Finds CUPTI and loads it together with the two Perfworks libraries that it needs.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cupti/api.h"
#include "cupti/target_api.h"

namespace ftprof::cupti {

// A folder under which CUPTI may lie: a site-packages, a CUDA toolkit, or the library's own folder.
struct SearchRoot {
  std::string path;
  std::string origin;  // what to call it to the user, such as "site-packages" or "CUDA toolkit"
};

struct LibraryInfo {
  std::string path;               // of libcupti itself, absolute
  std::string version;            // of the CUDA release that it belongs to, such as "13.0"
  std::uint32_t api_version = 0;  // as cuptiGetVersion gives it
  std::string origin;             // the search root's, or "already mapped"
  std::string warning;            // empty, or a sentence for the user
};

// A loaded CUPTI. One that the process has mapped already is used before any search root, because
// two CUPTIs in a process compete; after that the roots are tried in the order given.
//
// The libraries stay mapped for the life of the process: CUPTI keeps threads and hooks of its own,
// and does not survive being unloaded.
class Library {
 public:
  // Throws CuptiError, in one line that says what was found where and what to do.
  static Library Load(const std::vector<SearchRoot>& roots);

  // Throws CuptiError where calls are forbidden (cupti/process_calls.h).
  const Api& api() const;
  const LibraryInfo& info() const noexcept { return info_; }
  // The same, and where this CUPTI is too old to count.
  const TargetApi& target() const;

  // CUPTI's host API is called by one thread at a time; whoever has several holds this while
  // calling it.
  std::mutex& host_mutex() const noexcept { return *host_mutex_; }

  // Throws CuptiError if result is no success. about (may be empty) says what the call was for.
  void Check(CUptiResult result, const char* call, const std::string& about = {}) const;

 private:
  Library(Api api, TargetApi target, LibraryInfo info);
  static Library LoadFile(const std::string& path, const std::string& origin);

  Api api_;
  TargetApi target_;
  LibraryInfo info_;
  std::shared_ptr<std::mutex> host_mutex_ = std::make_shared<std::mutex>();
};

}  // namespace ftprof::cupti
