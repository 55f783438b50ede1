#include "cupti/range_profiler.h"

#include <exception>
#include <utility>

#include "cupti/error.h"

namespace ftprof::cupti {
namespace {

template <typename Params>
Params Sized(std::size_t size) {
  Params params{};
  params.structSize = size;
  return params;
}

std::vector<const char*> Pointers(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  pointers.reserve(names.size());
  for (const std::string& name : names) pointers.push_back(name.c_str());
  return pointers;
}

// The device's own answer, by CUpti_Profiler_DeviceSupported_Params. code: what CUPTI's calls would
// fail with there, so that it is explained as that is.
struct Obstacle {
  CUpti_Profiler_Support_Level level;
  CUptiResult code;
  const char* what;
};

}  // namespace

void InitializeProfiler(const Library& library) {
  auto params =
      Sized<CUpti_Profiler_Initialize_Params>(CUpti_Profiler_Initialize_Params_STRUCT_SIZE);
  library.Check(library.target().initialize(&params), "cuptiProfilerInitialize");
}

std::string ChipName(const Library& library, int device) {
  auto params = Sized<CUpti_Device_GetChipName_Params>(CUpti_Device_GetChipName_Params_STRUCT_SIZE);
  params.deviceIndex = static_cast<std::size_t>(device);
  library.Check(library.target().get_chip_name(&params), "cuptiDeviceGetChipName");
  return params.pChipName != nullptr ? params.pChipName : "";
}

std::optional<CuptiError> WhyUnsupported(const Library& library, CUdevice device) {
  constexpr char kCall[] = "cuptiProfilerDeviceSupported";
  auto params = Sized<CUpti_Profiler_DeviceSupported_Params>(
      CUpti_Profiler_DeviceSupported_Params_STRUCT_SIZE);
  params.cuDevice = device;
  params.api = CUPTI_PROFILER_RANGE_PROFILING;
  library.Check(library.target().device_supported(&params), kCall);
  if (params.isSupported == CUPTI_PROFILER_CONFIGURATION_SUPPORTED) return std::nullopt;
  const Obstacle obstacles[] = {
      {params.architecture, CUPTI_ERROR_NOT_SUPPORTED, "its architecture is too old"},
      {params.sli, CUPTI_ERROR_SLI_DEVICE_NOT_SUPPORTED, "SLI is on"},
      {params.vGpu, CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES,
       "it is a vGPU whose profiling is off"},
      {params.confidentialCompute, CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED,
       "confidential computing is on"},
      {params.cmp, CUPTI_ERROR_CMP_DEVICE_NOT_SUPPORTED, "it is a mining processor"},
      {params.wsl, CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED, "WSL does not allow it"},
  };
  for (const Obstacle& obstacle : obstacles) {
    if (obstacle.level == CUPTI_PROFILER_CONFIGURATION_UNSUPPORTED ||
        obstacle.level == CUPTI_PROFILER_CONFIGURATION_DISABLED) {
      return CuptiError(kCall, obstacle.code, obstacle.what, {});
    }
  }
  return CuptiError(kCall, CUPTI_ERROR_NOT_SUPPORTED, "CUPTI does not say why", {});
}

std::vector<std::uint8_t> CounterAvailability(const Library& library, CUcontext context) {
  auto params = Sized<CUpti_Profiler_GetCounterAvailability_Params>(
      CUpti_Profiler_GetCounterAvailability_Params_STRUCT_SIZE);
  params.ctx = context;
  constexpr char kCall[] = "cuptiProfilerGetCounterAvailability";
  library.Check(library.target().get_counter_availability(&params), kCall);
  std::vector<std::uint8_t> image(params.counterAvailabilityImageSize);
  params.pCounterAvailabilityImage = image.data();
  library.Check(library.target().get_counter_availability(&params), kCall);
  return image;
}

RangeProfiler::RangeProfiler(const Library& library, CUcontext context, CallPermit* permit)
    : library_(&library), permit_(permit) {
  auto params =
      Sized<CUpti_RangeProfiler_Enable_Params>(CUpti_RangeProfiler_Enable_Params_STRUCT_SIZE);
  params.ctx = context;
  Call(&TargetApi::range_enable, &params, "cuptiRangeProfilerEnable");
  object_ = params.pRangeProfilerObject;
}

RangeProfiler::~RangeProfiler() {
  try {
    Disable();
  } catch (const std::exception&) {
    // Who wants to know calls it before.
  }
}

void RangeProfiler::Disable() {
  if (object_ == nullptr) return;
  auto params =
      Sized<CUpti_RangeProfiler_Disable_Params>(CUpti_RangeProfiler_Disable_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = std::exchange(object_, nullptr);
  Call(&TargetApi::range_disable, &params, "cuptiRangeProfilerDisable");
}

void RangeProfiler::Check(CUptiResult result, const char* call) const {
  if (result == CUPTI_SUCCESS) return;
  // To ask for the error's name is a call, too.
  if (permit_ != nullptr && permit_->IsForbidden()) throw CuptiError("count", 0, kForbidden, {});
  library_->Check(result, call);
}

RangeProfiler::RangeProfiler(RangeProfiler&& other) noexcept
    : library_(other.library_),
      permit_(other.permit_),
      object_(std::exchange(other.object_, nullptr)) {}

RangeProfiler& RangeProfiler::operator=(RangeProfiler&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(permit_, other.permit_);
  std::swap(object_, other.object_);
  return *this;
}

GroupImages::GroupImages(const Library& library, const std::string& chip,
                         const std::vector<std::uint8_t>& availability,
                         std::vector<std::string> metrics)
    : library_(&library), metrics_(std::move(metrics)), host_(library, chip, availability) {
  host_.AddMetrics(metrics_);
  config_ = host_.ConfigImage();
  const std::size_t passes = NumPasses(library, config_);
  if (passes != 1) {
    throw CuptiError("plan a group", 0,
                     "it takes " + std::to_string(passes) + " passes on this device", {});
  }
}

void GroupImages::Configure(const RangeProfiler& profiler, std::size_t most_ranges) {
  std::vector<const char*> names = Pointers(metrics_);
  // Each time: the profiler initialises an image for the metrics that were named last.
  auto size = Sized<CUpti_RangeProfiler_GetCounterDataSize_Params>(
      CUpti_RangeProfiler_GetCounterDataSize_Params_STRUCT_SIZE);
  size.pRangeProfilerObject = profiler.get();
  size.pMetricNames = names.data();
  size.numMetrics = names.size();
  size.maxNumOfRanges = most_ranges;
  size.maxNumRangeTreeNodes = static_cast<std::uint32_t>(most_ranges);
  profiler.Call(&TargetApi::range_get_counter_data_size, &size,
                "cuptiRangeProfilerGetCounterDataSize");
  data_.resize(size.counterDataSize);
  auto image = Sized<CUpti_RangeProfiler_CounterDataImage_Initialize_Params>(
      CUpti_RangeProfiler_CounterDataImage_Initialize_Params_STRUCT_SIZE);
  image.pRangeProfilerObject = profiler.get();
  image.counterDataSize = data_.size();
  image.pCounterData = data_.data();
  profiler.Call(&TargetApi::range_initialize_image, &image,
                "cuptiRangeProfilerCounterDataImageInitialize");
  auto config =
      Sized<CUpti_RangeProfiler_SetConfig_Params>(CUpti_RangeProfiler_SetConfig_Params_STRUCT_SIZE);
  config.pRangeProfilerObject = profiler.get();
  config.configSize = config_.size();
  config.pConfig = config_.data();
  config.counterDataImageSize = data_.size();
  config.pCounterDataImage = data_.data();
  config.range = CUPTI_UserRange;
  config.replayMode = CUPTI_UserReplay;
  config.maxRangesPerPass = most_ranges;
  config.numNestingLevels = 1;
  config.minNestingLevel = 1;
  config.passIndex = 0;
  config.targetNestingLevel = 1;
  profiler.Call(&TargetApi::range_set_config, &config, "cuptiRangeProfilerSetConfig");
}

std::vector<RangeCounts> GroupImages::Counts(std::size_t ranges) const {
  return CountsOf(*library_, host_, data_, metrics_, ranges);
}

std::vector<std::vector<std::uint8_t>> GroupImages::TakeBytes() {
  std::vector<std::vector<std::uint8_t>> bytes;
  bytes.push_back(std::move(config_));
  bytes.push_back(std::move(data_));
  return bytes;
}

CountedPass::CountedPass(const RangeProfiler& profiler) : profiler_(&profiler) {
  auto params =
      Sized<CUpti_RangeProfiler_Start_Params>(CUpti_RangeProfiler_Start_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = profiler.get();
  profiler.Call(&TargetApi::range_start, &params, "cuptiRangeProfilerStart");
  started_ = true;
}

CountedPass::~CountedPass() {
  try {
    if (started_) End();
  } catch (const std::exception&) {
    // The error that led here is told; the pass is ended as far as it can be.
  }
}

void CountedPass::End() {
  started_ = false;
  auto params = Sized<CUpti_RangeProfiler_Stop_Params>(CUpti_RangeProfiler_Stop_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = profiler_->get();
  constexpr char kCall[] = "cuptiRangeProfilerStop";
  profiler_->Call(&TargetApi::range_stop, &params, kCall);
  if (params.isAllPassSubmitted != 1) {
    throw CuptiError(kCall, 0, "not all passes were submitted", {});
  }
}

void CountedPass::Decode() {
  auto params = Sized<CUpti_RangeProfiler_DecodeData_Params>(
      CUpti_RangeProfiler_DecodeData_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = profiler_->get();
  constexpr char kCall[] = "cuptiRangeProfilerDecodeData";
  profiler_->Call(&TargetApi::range_decode, &params, kCall);
  if (params.numOfRangeDropped != 0) {
    throw CuptiError(kCall, 0, std::to_string(params.numOfRangeDropped) + " ranges were dropped",
                     {});
  }
}

CountedRange::CountedRange(const RangeProfiler& profiler, const std::string& name)
    : profiler_(&profiler) {
  auto params =
      Sized<CUpti_RangeProfiler_PushRange_Params>(CUpti_RangeProfiler_PushRange_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = profiler.get();
  params.pRangeName = name.c_str();
  profiler.Call(&TargetApi::range_push, &params, "cuptiRangeProfilerPushRange");
  pushed_ = true;
}

CountedRange::~CountedRange() {
  try {
    if (pushed_) End();
  } catch (const std::exception&) {
    // The error that led here is told.
  }
}

void CountedRange::End() {
  pushed_ = false;
  auto params =
      Sized<CUpti_RangeProfiler_PopRange_Params>(CUpti_RangeProfiler_PopRange_Params_STRUCT_SIZE);
  params.pRangeProfilerObject = profiler_->get();
  profiler_->Call(&TargetApi::range_pop, &params, "cuptiRangeProfilerPopRange");
}

}  // namespace ftprof::cupti
