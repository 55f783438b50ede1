// The range profiler on one context, and what is kept of it between windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "counters/plan.h"
#include "cupti/library.h"
#include "cupti/range_profiler.h"

namespace ftprof::counters {

// The counters that a device has, asked once for each UUID: CUPTI may refuse to say it while a
// session is active on the device, such as that of another context of this process. Throws
// CuptiError.
std::vector<std::uint8_t> AvailabilityOf(const cupti::Library& library, CUcontext context,
                                         const std::string& uuid);

// The images of each group used so far outlive the profiler, as CUPTI demands.
class ContextSession {
 public:
  // As cupti::RangeProfiler takes it. The plan must outlive this object. Throws CuptiError.
  ContextSession(const cupti::Library& library, CUcontext context, const Plan& plan,
                 std::vector<std::uint8_t> availability, cupti::CallPermit* permit = nullptr);
  ~ContextSession();
  ContextSession(const ContextSession&) = delete;
  ContextSession& operator=(const ContextSession&) = delete;

  // Throws CuptiError where the device does not take the group, after all.
  cupti::GroupImages& ImagesOf(std::size_t group);
  // The counts of the ranges that were decoded last, in the order of the group's metrics. Throws
  // CuptiError.
  std::vector<cupti::RangeCounts> CountsOf(std::size_t group, std::size_t ranges);
  // Makes the next pass collect this group in at most so many ranges. A profiler that was enabled
  // for one group gives NaN for every other (seen on an H200 with CUPTI 13.0), so that each change
  // enables it anew. Throws CuptiError.
  const cupti::RangeProfiler& Configure(std::size_t group, std::size_t most_ranges);

 private:
  using Images = std::map<std::size_t, cupti::GroupImages>;

  void EndProfiler();
  void EndImages();
  void KeepForEver() noexcept;

  const cupti::Library& library_;
  const Plan& plan_;
  CUcontext context_;
  std::vector<std::uint8_t> availability_;
  cupti::CallPermit* permit_;
  std::unique_ptr<Images> images_ = std::make_unique<Images>();  // must outlive the profiler
  std::optional<cupti::RangeProfiler> profiler_;
  std::optional<std::size_t> configured_;  // for which group it was enabled
};

}  // namespace ftprof::counters
