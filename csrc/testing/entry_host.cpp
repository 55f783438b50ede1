// Stand-in for tests, never shipped: libcupti's host API.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "testing/chip_model.h"
#include "testing/cupti_state.h"
#include "testing/evidence.h"
#include "testing/images.h"

using namespace ftprof::standin;

struct CUpti_Profiler_Host_Object {
  std::string chip;
  const ChipModel* model = nullptr;
  std::vector<std::string> metrics;
  std::uint64_t passes = 0;
  // As in the real one, a bad name spoils the object's configuration for good.
  bool spoiled = false;
  const std::uint8_t* availability = nullptr;  // of the caller's, read after HostInitialize, too
  std::uint64_t availability_hash = 0;
  std::vector<std::string> names;  // that the caller was given pointers to
  std::vector<const char*> pointers;
};

namespace {

std::mutex& Mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

using Objects = std::map<CUpti_Profiler_Host_Object*, std::unique_ptr<CUpti_Profiler_Host_Object>>;

Objects& TheObjects() {
  static auto* objects = new Objects;
  return *objects;
}

// The real one crashed where its caller had let go of the image (H200, CUPTI 13.0).
void CheckAvailability(const CUpti_Profiler_Host_Object& object) {
  if (object.availability == nullptr) return;
  if (Hash(object.availability, kAvailabilitySize) != object.availability_hash) {
    Violation("the counter-availability image was changed while a host object had it");
  }
}

// body(object) for a host object that exists. As documented, one thread at a time may use it.
template <typename Params, typename Body>
CUptiResult ObjectCall(const char* function, Params* params, std::size_t size, Body body) {
  return HostCall(function, params, size, [&] {
    const std::lock_guard<std::mutex> lock(Mutex());
    const auto found = TheObjects().find(params->pHostObject);
    if (found == TheObjects().end()) return CUPTI_ERROR_INVALID_PARAMETER;
    CheckAvailability(*found->second);
    return body(*found->second);
  });
}

std::optional<std::string> KnownMetric(const CUpti_Profiler_Host_Object& object, const char* name) {
  if (name == nullptr) return std::nullopt;
  const std::optional<std::string> metric = WithoutSum(name);
  return metric && object.model->Has(*metric) ? metric : std::nullopt;
}

CUptiResult AddMetrics(CUpti_Profiler_Host_Object* object, const char* const* names,
                       std::size_t count) {
  if (object->spoiled || names == nullptr || count == 0) return CUPTI_ERROR_INVALID_PARAMETER;
  std::vector<std::string> added;
  for (std::size_t i = 0; i < count; ++i) {
    const std::optional<std::string> metric = KnownMetric(*object, names[i]);
    object->spoiled = !metric;
    if (!metric) return CUPTI_ERROR_INVALID_PARAMETER;
    added.push_back(*metric);
  }
  // Each call adds passes, also for metrics that are there already.
  object->passes += object->model->Passes(added);
  for (const std::string& metric : added) {
    if (std::count(object->metrics.begin(), object->metrics.end(), metric) == 0) {
      object->metrics.push_back(metric);
    }
  }
  return CUPTI_SUCCESS;
}

std::vector<std::uint8_t> ImageOf(const CUpti_Profiler_Host_Object& object) {
  if (object.spoiled || object.metrics.empty()) return {};
  return ConfigImage{object.chip, object.passes, object.metrics}.Encode();
}

const char** GivePointers(CUpti_Profiler_Host_Object* object) {
  object->pointers.clear();
  for (const std::string& name : object->names) object->pointers.push_back(name.c_str());
  return object->pointers.data();
}

CUptiResult Evaluate(const CounterImage& image, std::size_t range, const std::string& name,
                     double* value) {
  const auto& peaks = TheScript().peaks;
  const auto peak = peaks.find(name);
  if (peak != peaks.end()) {
    *value = peak->second;
    return CUPTI_SUCCESS;
  }
  const std::optional<std::string> metric = WithoutSum(name);
  if (!metric) return CUPTI_ERROR_INVALID_METRIC_NAME;
  const auto place = std::find(image.metrics.begin(), image.metrics.end(), *metric);
  if (place == image.metrics.end()) return CUPTI_ERROR_INVALID_METRIC_NAME;
  const auto index = static_cast<std::size_t>(place - image.metrics.begin());
  const std::uint64_t count = image.ranges[range].counts[index];
  *value = count == kNoCount ? std::nan("") : static_cast<double>(count);
  const Json* overwritten = CallGate::Overwritten("metric");
  if (overwritten == nullptr || overwritten->String() == *metric) Overwrite("value", value);
  return CUPTI_SUCCESS;
}

}  // namespace

CUptiResult cuptiProfilerHostInitialize(CUpti_Profiler_Host_Initialize_Params* params) {
  return HostCall(__func__, params, CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE, [params] {
    if (params->profilerType != CUPTI_PROFILER_TYPE_RANGE_PROFILER) {
      return CUPTI_ERROR_NOT_SUPPORTED;
    }
    if (params->pChipName == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
    const auto chip = Chips().find(params->pChipName);
    if (chip == Chips().end()) return CUPTI_ERROR_INVALID_CHIP_NAME;
    auto object = std::make_unique<CUpti_Profiler_Host_Object>();
    object->chip = chip->first;
    object->model = &chip->second;
    object->availability = params->pCounterAvailabilityImage;
    if (object->availability != nullptr) {
      object->availability_hash = Hash(object->availability, kAvailabilitySize);
    }
    params->pHostObject = object.get();
    const std::lock_guard<std::mutex> lock(Mutex());
    TheObjects().emplace(params->pHostObject, std::move(object));
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiProfilerHostDeinitialize(CUpti_Profiler_Host_Deinitialize_Params* params) {
  return HostCall(__func__, params, CUpti_Profiler_Host_Deinitialize_Params_STRUCT_SIZE, [params] {
    const std::lock_guard<std::mutex> lock(Mutex());
    return TheObjects().erase(params->pHostObject) == 1 ? CUPTI_SUCCESS
                                                        : CUPTI_ERROR_INVALID_PARAMETER;
  });
}

CUptiResult cuptiProfilerHostGetSupportedChips(
    CUpti_Profiler_Host_GetSupportedChips_Params* params) {
  return HostCall(__func__, params, CUpti_Profiler_Host_GetSupportedChips_Params_STRUCT_SIZE,
                  [params] {
                    static const auto* names = [] {
                      auto* made = new std::vector<const char*>;
                      for (const auto& [name, chip] : Chips()) made->push_back(name.c_str());
                      return made;
                    }();
                    params->numChips = names->size();
                    params->ppChipNames = names->data();
                    return CUPTI_SUCCESS;
                  });
}

CUptiResult cuptiProfilerHostGetBaseMetrics(CUpti_Profiler_Host_GetBaseMetrics_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_GetBaseMetrics_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      object.names.clear();
                      if (params->metricType == CUPTI_METRIC_TYPE_COUNTER) {
                        const std::set<std::string>& all = object.model->Metrics();
                        object.names.assign(all.begin(), all.end());
                      }
                      params->ppMetricNames = GivePointers(&object);
                      params->numMetrics = object.names.size();
                      return CUPTI_SUCCESS;
                    });
}

CUptiResult cuptiProfilerHostGetSubMetrics(CUpti_Profiler_Host_GetSubMetrics_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_GetSubMetrics_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      if (!KnownMetric(object, params->pMetricName)) {
                        return CUPTI_ERROR_INVALID_METRIC_NAME;
                      }
                      object.names = {".avg", ".max", ".min", ".sum", ".sum.peak_sustained"};
                      params->ppSubMetrics = GivePointers(&object);
                      params->numOfSubmetrics = object.names.size();
                      return CUPTI_SUCCESS;
                    });
}

CUptiResult cuptiProfilerHostGetMetricProperties(
    CUpti_Profiler_Host_GetMetricProperties_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_GetMetricProperties_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      if (!KnownMetric(object, params->pMetricName)) {
                        return CUPTI_ERROR_INVALID_METRIC_NAME;
                      }
                      params->pDescription = "a stand-in's metric";
                      params->pHwUnit = "sm";
                      params->pDimUnit = "math_op";
                      params->metricType = CUPTI_METRIC_TYPE_COUNTER;
                      return CUPTI_SUCCESS;
                    });
}

CUptiResult cuptiProfilerHostConfigAddMetrics(CUpti_Profiler_Host_ConfigAddMetrics_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_ConfigAddMetrics_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      return AddMetrics(&object, params->ppMetricNames, params->numMetrics);
                    });
}

CUptiResult cuptiProfilerHostGetConfigImageSize(
    CUpti_Profiler_Host_GetConfigImageSize_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_GetConfigImageSize_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      params->configImageSize = ImageOf(object).size();
                      return params->configImageSize == 0 ? CUPTI_ERROR_INVALID_PARAMETER
                                                          : CUPTI_SUCCESS;
                    });
}

CUptiResult cuptiProfilerHostGetConfigImage(CUpti_Profiler_Host_GetConfigImage_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_GetConfigImage_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object& object) {
                      const std::vector<std::uint8_t> image = ImageOf(object);
                      if (image.empty() || params->pConfigImage == nullptr ||
                          params->configImageSize < image.size()) {
                        return CUPTI_ERROR_INVALID_PARAMETER;
                      }
                      std::copy(image.begin(), image.end(), params->pConfigImage);
                      return CUPTI_SUCCESS;
                    });
}

CUptiResult cuptiProfilerHostGetNumOfPasses(CUpti_Profiler_Host_GetNumOfPasses_Params* params) {
  return HostCall(
      __func__, params, CUpti_Profiler_Host_GetNumOfPasses_Params_STRUCT_SIZE, [params] {
        const auto image = ConfigImage::Decode(params->pConfigImage, params->configImageSize);
        if (!image) return CUPTI_ERROR_INVALID_PARAMETER;
        params->numOfPasses = image->passes;
        Overwrite("numOfPasses", &params->numOfPasses);
        return CUPTI_SUCCESS;
      });
}

CUptiResult cuptiProfilerHostGetMaxNumHardwareMetricsPerPass(
    CUpti_Profiler_Host_GetMaxNumHardwareMetricsPerPass_Params* params) {
  return HostCall(__func__, params,
                  CUpti_Profiler_Host_GetMaxNumHardwareMetricsPerPass_Params_STRUCT_SIZE, [params] {
                    params->maxMetricsPerPass = 88;
                    return CUPTI_SUCCESS;
                  });
}

CUptiResult cuptiProfilerHostEvaluateToGpuValues(
    CUpti_Profiler_Host_EvaluateToGpuValues_Params* params) {
  return ObjectCall(__func__, params, CUpti_Profiler_Host_EvaluateToGpuValues_Params_STRUCT_SIZE,
                    [params](CUpti_Profiler_Host_Object&) {
                      const auto image = CounterImage::Decode(params->pCounterDataImage,
                                                              params->counterDataImageSize);
                      if (!image || params->rangeIndex >= image->ranges.size() ||
                          params->ppMetricNames == nullptr || params->pMetricValues == nullptr) {
                        return CUPTI_ERROR_INVALID_PARAMETER;
                      }
                      for (std::size_t i = 0; i < params->numMetrics; ++i) {
                        const CUptiResult result =
                            Evaluate(*image, params->rangeIndex, params->ppMetricNames[i],
                                     &params->pMetricValues[i]);
                        if (result != CUPTI_SUCCESS) return result;
                      }
                      return CUPTI_SUCCESS;
                    });
}
