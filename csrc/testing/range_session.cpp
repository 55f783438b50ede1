// Stand-in for tests, never shipped: one range-profiler session on one context.
#include "testing/range_session.h"

#include <algorithm>
#include <set>
#include <utility>

#include "testing/chip_model.h"
#include "testing/evidence.h"

using namespace ftprof::standin;

namespace {

const ChipModel* ModelOf(int device, std::string* name) {
  const int place = Door()->device_in_script(device);
  if (place < 0) return nullptr;
  *name = TheScript().devices[static_cast<std::size_t>(place)].chip;
  const auto found = Chips().find(*name);
  return found == Chips().end() ? nullptr : &found->second;
}

std::uint64_t CounterMask() {
  const unsigned bits = TheScript().counter_bits;
  return bits >= 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
}

bool SameMetrics(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::set<std::string>(a.begin(), a.end()) == std::set<std::string>(b.begin(), b.end());
}

}  // namespace

CUptiResult CUpti_RangeProfiler_Object::Wrong(const std::string& sentence) const {
  // After a failure the caller cannot know the session's state, and may try what it likes.
  if (!faulted) Violation(sentence);
  return CUPTI_ERROR_INVALID_OPERATION;
}

void CUpti_RangeProfiler_Object::CheckHeld(const char* when) const {
  for (const Held& held : configs_) {
    if (Hash(held.data, held.size) != held.hash) {
      Violation(std::string("a config image was changed before the session was disabled: ") + when);
    }
  }
  if (image_ != nullptr && Hash(image_, image_size_) != image_hash_) {
    Violation(std::string("the counter-data image was changed by the caller: ") + when);
  }
}

CUptiResult CUpti_RangeProfiler_Object::GetCounterDataSize(
    CUpti_RangeProfiler_GetCounterDataSize_Params* params) {
  std::string chip;
  const ChipModel* model = ModelOf(device, &chip);
  if (model == nullptr || params->numMetrics == 0 || params->maxNumOfRanges == 0 ||
      params->maxNumRangeTreeNodes < params->maxNumOfRanges) {
    return CUPTI_ERROR_INVALID_PARAMETER;
  }
  CounterImage layout;
  layout.max_ranges = params->maxNumOfRanges;
  for (std::size_t i = 0; i < params->numMetrics; ++i) {
    const std::optional<std::string> metric = WithoutSum(params->pMetricNames[i]);
    if (!metric || !model->Has(*metric)) return CUPTI_ERROR_INVALID_METRIC_NAME;
    layout.metrics.push_back(*metric);
  }
  params->counterDataSize = layout.Size();
  layout_ = std::move(layout);
  return CUPTI_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::InitializeImage(
    CUpti_RangeProfiler_CounterDataImage_Initialize_Params* params) {
  if (started_) return Wrong("a counter-data image was initialised in a started session");
  if (!layout_ || params->counterDataSize != layout_->Size()) {
    Violation("a counter-data image has not the size of the latest GetCounterDataSize");
    return CUPTI_ERROR_INVALID_PARAMETER;
  }
  if (params->pCounterData == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  CheckHeld("CounterDataImageInitialize");
  layout_->Encode(params->pCounterData, params->counterDataSize);
  if (params->pCounterData == image_) image_hash_ = Hash(image_, image_size_);
  return CUPTI_SUCCESS;
}

bool CUpti_RangeProfiler_Object::CanHold(const CUpti_RangeProfiler_SetConfig_Params& params,
                                         const CounterImage& image) const {
  return params.range == CUPTI_UserRange && params.replayMode == CUPTI_UserReplay &&
         params.maxRangesPerPass >= 1 && params.numNestingLevels >= 1 &&
         params.minNestingLevel >= 1 && params.targetNestingLevel >= 1 && image.max_ranges >= 1;
}

CUptiResult CUpti_RangeProfiler_Object::SetConfig(
    const CUpti_RangeProfiler_SetConfig_Params& params) {
  if (started_) return Wrong("SetConfig was called in a started session");
  if (undecoded_) return Wrong("SetConfig was called before DecodeData");
  std::optional<ConfigImage> config = ConfigImage::Decode(params.pConfig, params.configSize);
  const std::optional<CounterImage> image =
      CounterImage::Decode(params.pCounterDataImage, params.counterDataImageSize);
  std::string chip;
  const ChipModel* model = ModelOf(device, &chip);
  if (!config || !image || model == nullptr || config->chip != chip || !CanHold(params, *image)) {
    return CUPTI_ERROR_INVALID_PARAMETER;
  }
  if (!SameMetrics(config->metrics, image->metrics)) {
    Violation("the counter-data image was made for other metrics than the config image");
    return CUPTI_ERROR_INVALID_PARAMETER;
  }
  CheckHeld("SetConfig");
  configs_.push_back({params.pConfig, params.configSize, Hash(params.pConfig, params.configSize)});
  image_ = params.pCounterDataImage;
  image_size_ = params.counterDataImageSize;
  image_hash_ = Hash(image_, image_size_);
  max_ranges_ = params.maxRangesPerPass;
  max_depth_ = params.numNestingLevels;
  patched_ = std::any_of(config->metrics.begin(), config->metrics.end(),
                         [&](const std::string& metric) { return model->IsPatched(metric); });
  config_ = std::move(config);
  if (first_metrics_.empty()) first_metrics_ = config_->metrics;
  passes_done_ = 0;
  return CUPTI_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::Start() {
  if (!config_) return Wrong("Start was called before SetConfig");
  if (started_) return Wrong("Start was called twice");
  if (undecoded_ && passes_done_ >= config_->passes) {
    return Wrong("Start was called before DecodeData");
  }
  CheckHeld("Start");
  if (patched_) Door()->set_patched(context, context_id, true);
  started_ = true;
  pushed_ = 0;
  at_pop_.clear();
  return CUPTI_SUCCESS;
}

bool CUpti_RangeProfiler_Object::Read(std::vector<std::uint64_t>* counts,
                                      std::uint64_t* at_ns) const {
  std::vector<const char*> names;
  for (const std::string& metric : config_->metrics) names.push_back(metric.c_str());
  counts->resize(names.size());
  return Door()->read(context, context_id, names.data(), names.size(), counts->data(), at_ns) ==
         CUDA_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::Push(const char* name) {
  if (name == nullptr || *name == '\0') return CUPTI_ERROR_INVALID_PARAMETER;
  if (!started_) return Wrong("PushRange was called before Start");
  if (open_.size() >= max_depth_) return Wrong("PushRange was called deeper than it was set");
  CheckHeld("PushRange");
  OpenRange range{name, {}};
  std::uint64_t at_ns = 0;
  if (!Read(&range.before, &at_ns)) return CUPTI_ERROR_UNKNOWN;
  // Between a pop and the next push nothing is lost (H200, CUPTI 13.0).
  if (open_.empty() && !at_pop_.empty()) {
    range.before = at_pop_;
    at_ns = popped_ns_;
  }
  TraceRange("push", range.name, context_id, device, at_ns);
  open_.push_back(std::move(range));
  return CUPTI_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::Pop() {
  if (open_.empty()) return Wrong("PopRange was called without an open range");
  CheckHeld("PopRange");
  // It waits for what the context was given before, which counts (H200, CUPTI 13.0).
  if (Door()->synchronize(context, context_id) != CUDA_SUCCESS) return CUPTI_ERROR_UNKNOWN;
  CountedRange range{open_.back().name, {}};
  std::uint64_t at_ns = 0;
  if (!Read(&range.counts, &at_ns)) return CUPTI_ERROR_UNKNOWN;
  TraceRange("pop", range.name, context_id, device, at_ns);
  if (open_.size() == 1) {
    at_pop_ = range.counts;
    popped_ns_ = at_ns;
  }
  for (std::size_t i = 0; i < range.counts.size(); ++i) {
    range.counts[i] = (range.counts[i] - open_.back().before[i]) & CounterMask();
  }
  open_.pop_back();
  if (++pushed_ > max_ranges_) {
    ++dropped_;
  } else {
    counted_.push_back(std::move(range));
  }
  return CUPTI_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::Stop(CUpti_RangeProfiler_Stop_Params* params) {
  if (!started_) return Wrong("Stop was called before Start");
  if (!open_.empty()) return Wrong("Stop was called with an open range");
  CheckHeld("Stop");
  if (patched_) Door()->set_patched(context, context_id, false);
  started_ = false;
  undecoded_ = true;
  params->passIndex = passes_done_;
  params->targetNestingLevel = 1;
  params->isAllPassSubmitted = ++passes_done_ >= config_->passes ? 1 : 0;
  Overwrite("isAllPassSubmitted", &params->isAllPassSubmitted);
  return CUPTI_SUCCESS;
}

CUptiResult CUpti_RangeProfiler_Object::Decode(CUpti_RangeProfiler_DecodeData_Params* params) {
  if (started_ || !undecoded_) return Wrong("DecodeData was called before Stop");
  if (Door()->synchronize(context, context_id) != CUDA_SUCCESS) return CUPTI_ERROR_UNKNOWN;
  CheckHeld("DecodeData");
  std::optional<CounterImage> image = CounterImage::Decode(image_, image_size_);
  if (!image) return CUPTI_ERROR_INVALID_PARAMETER;
  undecoded_ = false;
  // A session that was enabled for one group has no numbers for another (H200, CUPTI 13.0).
  const bool first = SameMetrics(first_metrics_, config_->metrics);
  std::size_t lost = 0;
  Overwrite("numOfRangeDropped", &lost);
  for (std::size_t i = 0; i < counted_.size(); ++i) {
    if (i + lost >= counted_.size() || image->ranges.size() >= image->max_ranges) {
      ++dropped_;
      continue;
    }
    CountedRange range{counted_[i].name, {}};
    for (const std::string& metric : image->metrics) {
      const auto place = std::find(config_->metrics.begin(), config_->metrics.end(), metric);
      const auto index = static_cast<std::size_t>(place - config_->metrics.begin());
      range.counts.push_back(first ? counted_[i].counts[index] : kNoCount);
    }
    image->ranges.push_back(std::move(range));
  }
  params->numOfRangeDropped = std::exchange(dropped_, 0);
  counted_.clear();
  image->Encode(image_, image_size_);
  image_hash_ = Hash(image_, image_size_);
  return CUPTI_SUCCESS;
}

void CUpti_RangeProfiler_Object::Close() {
  CheckHeld("Disable");
  if (patched_ && started_) Door()->set_patched(context, context_id, false);
}
