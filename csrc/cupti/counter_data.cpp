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

}  // namespace

std::vector<std::uint64_t> CountsOf(const Library& library, const HostProfiler& host,
                                    const std::vector<std::uint8_t>& image,
                                    const std::vector<std::string>& metrics) {
  const std::size_t ranges = RangesIn(library, image);
  if (ranges != 1) {
    throw CuptiError("cuptiRangeProfilerGetCounterDataInfo", 0,
                     std::to_string(ranges) + " ranges were decoded instead of one", {});
  }
  std::vector<std::uint64_t> counts;
  const std::vector<double> values = host.Evaluate(image, 0, metrics);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] >= 0 && values[i] < kFirstInexact) || std::nearbyint(values[i]) != values[i]) {
      throw CuptiError("cuptiProfilerHostEvaluateToGpuValues", 0,
                       metrics[i] + " is no exact count: " + std::to_string(values[i]), {});
    }
    counts.push_back(static_cast<std::uint64_t>(values[i]));
  }
  return counts;
}

}  // namespace ftprof::cupti
