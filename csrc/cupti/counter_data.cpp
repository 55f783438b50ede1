#include "cupti/counter_data.h"

#include <cmath>
#include <cstddef>

#include "cupti/error.h"

namespace ftprof::cupti {
namespace {

// CUPTI evaluates to double: from here on a count may have been rounded.
constexpr double kFirstInexact = 9007199254740992.0;  // 2^53

std::size_t RangesIn(const Library& library, const std::vector<std::uint8_t>& image) {
  CUpti_RangeProfiler_GetCounterDataInfo_Params info{};
  info.structSize = CUpti_RangeProfiler_GetCounterDataInfo_Params_STRUCT_SIZE;
  info.pCounterDataImage = image.data();
  info.counterDataImageSize = image.size();
  library.Check(library.target().range_get_info(&info), "cuptiRangeProfilerGetCounterDataInfo");
  return info.numTotalRanges;
}

RangeCounts Judged(const std::vector<double>& values, const std::vector<std::string>& metrics) {
  RangeCounts judged;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool is_whole = values[i] >= 0 && std::nearbyint(values[i]) == values[i];
    if (is_whole && values[i] < kFirstInexact) {
      judged.counts.push_back(static_cast<std::uint64_t>(values[i]));
      continue;
    }
    judged.counts.clear();
    judged.too_large = is_whole && std::isfinite(values[i]);
    judged.inexact =
        CuptiError("cuptiProfilerHostEvaluateToGpuValues", 0,
                   metrics[i] + " is no exact count: " + std::to_string(values[i]), {});
    break;
  }
  return judged;
}

}  // namespace

const std::vector<std::uint64_t>& RangeCounts::Exact() const {
  if (inexact) throw CuptiError(*inexact);
  return counts;
}

std::vector<RangeCounts> CountsOf(const Library& library, const HostProfiler& host,
                                  const std::vector<std::uint8_t>& image,
                                  const std::vector<std::string>& metrics, std::size_t ranges) {
  const std::size_t decoded = RangesIn(library, image);
  if (decoded != ranges) {
    throw CuptiError(
        "cuptiRangeProfilerGetCounterDataInfo", 0,
        std::to_string(decoded) + " ranges were decoded instead of " + std::to_string(ranges), {});
  }
  std::vector<RangeCounts> counts;
  for (std::size_t range = 0; range < ranges; ++range) {
    counts.push_back(Judged(host.Evaluate(image, range, metrics), metrics));
  }
  return counts;
}

}  // namespace ftprof::cupti
