// CUPTI's functions as pointers, so that nothing is linked against libcupti or libcuda.
#pragma once

#include <cupti_profiler_host.h>
#include <cupti_result.h>
#include <cupti_version.h>

namespace ftprof::cupti {

// Every pointer is set once Library::Load has returned.
struct Api {
  decltype(&cuptiGetVersion) get_version = nullptr;
  decltype(&cuptiGetResultString) get_result_string = nullptr;
  decltype(&cuptiProfilerHostInitialize) host_initialize = nullptr;
  decltype(&cuptiProfilerHostDeinitialize) host_deinitialize = nullptr;
  decltype(&cuptiProfilerHostGetSupportedChips) host_get_supported_chips = nullptr;
  decltype(&cuptiProfilerHostGetBaseMetrics) host_get_base_metrics = nullptr;
  decltype(&cuptiProfilerHostGetSubMetrics) host_get_sub_metrics = nullptr;
  decltype(&cuptiProfilerHostGetMetricProperties) host_get_metric_properties = nullptr;
  decltype(&cuptiProfilerHostConfigAddMetrics) host_config_add_metrics = nullptr;
  decltype(&cuptiProfilerHostGetConfigImageSize) host_get_config_image_size = nullptr;
  decltype(&cuptiProfilerHostGetConfigImage) host_get_config_image = nullptr;
  decltype(&cuptiProfilerHostGetNumOfPasses) host_get_num_of_passes = nullptr;
};

}  // namespace ftprof::cupti
