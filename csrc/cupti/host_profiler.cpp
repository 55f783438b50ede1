#include "cupti/host_profiler.h"

#include <utility>

#include "cupti/process_calls.h"

namespace ftprof::cupti {
namespace {

std::string TextOrEmpty(const char* text) { return text != nullptr ? text : ""; }

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

struct HostProfiler::Given {
  std::string chip;
  std::vector<std::uint8_t> availability;
};

HostProfiler::HostProfiler(const Library& library, const std::string& chip,
                           std::vector<std::uint8_t> availability)
    : library_(&library), given_(new Given{chip, std::move(availability)}) {
  CUpti_Profiler_Host_Initialize_Params params{};
  params.structSize = CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE;
  params.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
  params.pChipName = given_->chip.c_str();
  params.pCounterAvailabilityImage =
      given_->availability.empty() ? nullptr : given_->availability.data();
  library.Check(library.api().host_initialize(&params), "cuptiProfilerHostInitialize",
                "chip " + chip);
  object_ = params.pHostObject;
}

HostProfiler::~HostProfiler() {
  if (object_ == nullptr || CallsAreForbidden()) return;
  CUpti_Profiler_Host_Deinitialize_Params params{};
  params.structSize = CUpti_Profiler_Host_Deinitialize_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  (void)library_->api().host_deinitialize(&params);
}

HostProfiler::HostProfiler(HostProfiler&& other) noexcept
    : library_(other.library_),
      given_(std::move(other.given_)),
      object_(std::exchange(other.object_, nullptr)) {}

HostProfiler& HostProfiler::operator=(HostProfiler&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(given_, other.given_);
  std::swap(object_, other.object_);
  return *this;
}

std::vector<std::string> HostProfiler::BaseMetrics() const {
  CUpti_Profiler_Host_GetBaseMetrics_Params params{};
  params.structSize = CUpti_Profiler_Host_GetBaseMetrics_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.metricType = CUPTI_METRIC_TYPE_COUNTER;
  library_->Check(library_->api().host_get_base_metrics(&params),
                  "cuptiProfilerHostGetBaseMetrics");
  return {params.ppMetricNames, params.ppMetricNames + params.numMetrics};
}

bool HostProfiler::HasMetric(const std::string& name) const { return Properties(name).has_value(); }

std::vector<std::string> HostProfiler::SubMetrics(const std::string& name) const {
  CUpti_Profiler_Host_GetSubMetrics_Params params{};
  params.structSize = CUpti_Profiler_Host_GetSubMetrics_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.metricType = CUPTI_METRIC_TYPE_COUNTER;
  params.pMetricName = name.c_str();
  library_->Check(library_->api().host_get_sub_metrics(&params), "cuptiProfilerHostGetSubMetrics",
                  name);
  return {params.ppSubMetrics, params.ppSubMetrics + params.numOfSubmetrics};
}

std::optional<MetricProperties> HostProfiler::Properties(const std::string& name) const {
  CUpti_Profiler_Host_GetMetricProperties_Params params{};
  params.structSize = CUpti_Profiler_Host_GetMetricProperties_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.pMetricName = name.c_str();
  const CUptiResult result = library_->api().host_get_metric_properties(&params);
  if (result == CUPTI_ERROR_INVALID_METRIC_NAME || result == CUPTI_ERROR_INVALID_PARAMETER) {
    return std::nullopt;
  }
  library_->Check(result, "cuptiProfilerHostGetMetricProperties", name);
  return MetricProperties{TextOrEmpty(params.pDescription), TextOrEmpty(params.pHwUnit),
                          TextOrEmpty(params.pDimUnit)};
}

void HostProfiler::AddMetrics(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  pointers.reserve(names.size());
  for (const std::string& name : names) pointers.push_back(name.c_str());
  CUpti_Profiler_Host_ConfigAddMetrics_Params params{};
  params.structSize = CUpti_Profiler_Host_ConfigAddMetrics_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.ppMetricNames = pointers.data();
  params.numMetrics = pointers.size();
  library_->Check(library_->api().host_config_add_metrics(&params),
                  "cuptiProfilerHostConfigAddMetrics", Joined(names));
}

std::vector<std::uint8_t> HostProfiler::ConfigImage() const {
  CUpti_Profiler_Host_GetConfigImageSize_Params size{};
  size.structSize = CUpti_Profiler_Host_GetConfigImageSize_Params_STRUCT_SIZE;
  size.pHostObject = object_;
  library_->Check(library_->api().host_get_config_image_size(&size),
                  "cuptiProfilerHostGetConfigImageSize");
  std::vector<std::uint8_t> image(size.configImageSize);
  CUpti_Profiler_Host_GetConfigImage_Params params{};
  params.structSize = CUpti_Profiler_Host_GetConfigImage_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.configImageSize = image.size();
  params.pConfigImage = image.data();
  library_->Check(library_->api().host_get_config_image(&params),
                  "cuptiProfilerHostGetConfigImage");
  return image;
}

std::vector<double> HostProfiler::Evaluate(const std::vector<std::uint8_t>& counter_data,
                                           std::size_t range,
                                           const std::vector<std::string>& names) const {
  std::vector<const char*> pointers;
  pointers.reserve(names.size());
  for (const std::string& name : names) pointers.push_back(name.c_str());
  std::vector<double> values(names.size());
  CUpti_Profiler_Host_EvaluateToGpuValues_Params params{};
  params.structSize = CUpti_Profiler_Host_EvaluateToGpuValues_Params_STRUCT_SIZE;
  params.pHostObject = object_;
  params.pCounterDataImage = counter_data.data();
  params.counterDataImageSize = counter_data.size();
  params.rangeIndex = range;
  params.ppMetricNames = pointers.data();
  params.numMetrics = pointers.size();
  params.pMetricValues = values.data();
  library_->Check(library_->target().host_evaluate(&params), "cuptiProfilerHostEvaluateToGpuValues",
                  Joined(names));
  return values;
}

std::vector<std::string> SupportedChips(const Library& library) {
  CUpti_Profiler_Host_GetSupportedChips_Params params{};
  params.structSize = CUpti_Profiler_Host_GetSupportedChips_Params_STRUCT_SIZE;
  library.Check(library.api().host_get_supported_chips(&params),
                "cuptiProfilerHostGetSupportedChips");
  return {params.ppChipNames, params.ppChipNames + params.numChips};
}

std::size_t NumPasses(const Library& library, std::vector<std::uint8_t> config_image) {
  CUpti_Profiler_Host_GetNumOfPasses_Params params{};
  params.structSize = CUpti_Profiler_Host_GetNumOfPasses_Params_STRUCT_SIZE;
  params.configImageSize = config_image.size();
  params.pConfigImage = config_image.data();
  library.Check(library.api().host_get_num_of_passes(&params), "cuptiProfilerHostGetNumOfPasses");
  return params.numOfPasses;
}

std::size_t NumPasses(const Library& library, const std::string& chip,
                      const std::vector<std::string>& names) {
  HostProfiler profiler(library, chip);
  profiler.AddMetrics(names);
  return NumPasses(library, profiler.ConfigImage());
}

}  // namespace ftprof::cupti
