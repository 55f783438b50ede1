// Test client for the stand-ins, never shipped: commands that call CUPTI.
#include "testing/client_cupti.h"

#include <cupti_profiler_target.h>
#include <cupti_target.h>
#include <cupti_version.h>

#include <cstdio>
#include <fstream>
#include <sstream>

namespace ftprof::standin {
namespace {

// Fills in the size of a parameter struct.
#define FTPROF_PARAMS(type)                      \
  [] {                                           \
    type##_Params made{};                        \
    made.structSize = type##_Params_STRUCT_SIZE; \
    return made;                                 \
  }()

void OnContext(void* meddle, CUpti_CallbackDomain, CUpti_CallbackId id, const void* data) {
  const auto* resource = static_cast<const CUpti_ResourceData*>(data);
  if (meddle != nullptr) (void)cuCtxSetCurrent(nullptr);
  std::printf("  callback %u %s\n", id, resource->context != nullptr ? "context" : "nothing");
}

std::vector<const char*> Pointers(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  for (const std::string& name : names) pointers.push_back(name.c_str());
  return pointers;
}

}  // namespace

bool CuptiCommands::Run(const Words& words, int* code, std::string* extra) {
  return RunHost(words, code, extra) || RunSession(words, code, extra) ||
         RunRange(words, code, extra) || RunOthers(words, code, extra);
}

int CuptiCommands::Host(const std::string& chip, const std::string& metrics, std::string* extra) {
  auto init = FTPROF_PARAMS(CUpti_Profiler_Host_Initialize);
  init.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
  init.pChipName = chip.c_str();
  if (const int code = cuptiProfilerHostInitialize(&init)) return code;
  host_ = init.pHostObject;
  metrics_.clear();
  std::istringstream names(metrics);
  for (std::string name; std::getline(names, name, ',');) metrics_.push_back(name + ".sum");
  std::vector<const char*> pointers = Pointers(metrics_);
  auto add = FTPROF_PARAMS(CUpti_Profiler_Host_ConfigAddMetrics);
  add.pHostObject = host_;
  add.ppMetricNames = pointers.data();
  add.numMetrics = pointers.size();
  if (const int code = cuptiProfilerHostConfigAddMetrics(&add)) return code;
  auto size = FTPROF_PARAMS(CUpti_Profiler_Host_GetConfigImageSize);
  size.pHostObject = host_;
  if (const int code = cuptiProfilerHostGetConfigImageSize(&size)) return code;
  config_.resize(size.configImageSize);
  auto get = FTPROF_PARAMS(CUpti_Profiler_Host_GetConfigImage);
  get.pHostObject = host_;
  get.configImageSize = config_.size();
  get.pConfigImage = config_.data();
  if (const int code = cuptiProfilerHostGetConfigImage(&get)) return code;
  auto passes = FTPROF_PARAMS(CUpti_Profiler_Host_GetNumOfPasses);
  passes.configImageSize = config_.size();
  passes.pConfigImage = config_.data();
  const int code = cuptiProfilerHostGetNumOfPasses(&passes);
  *extra = std::to_string(passes.numOfPasses);
  return code;
}

bool CuptiCommands::RunHost(const Words& words, int* code, std::string* extra) {
  const std::string& name = words[0];
  if (name == "host") {
    *code = Host(words[1], words[2], extra);
  } else if (name == "unhost") {
    auto params = FTPROF_PARAMS(CUpti_Profiler_Host_Deinitialize);
    params.pHostObject = host_;
    *code = cuptiProfilerHostDeinitialize(&params);
  } else if (name == "values") {
    *code = Values(Number(words, 1), extra);
  } else if (name == "badsize") {
    auto params = FTPROF_PARAMS(CUpti_Profiler_Host_GetSupportedChips);
    --params.structSize;
    *code = cuptiProfilerHostGetSupportedChips(&params);
  } else if (name == "version") {
    std::uint32_t version = 0;
    *code = cuptiGetVersion(&version);
    *extra = std::to_string(version);
  } else {
    return false;
  }
  return true;
}

int CuptiCommands::Size(int ranges) {
  std::vector<const char*> pointers = Pointers(metrics_);
  auto params = FTPROF_PARAMS(CUpti_RangeProfiler_GetCounterDataSize);
  params.pRangeProfilerObject = session_;
  params.pMetricNames = pointers.data();
  params.numMetrics = pointers.size();
  params.maxNumOfRanges = static_cast<std::size_t>(ranges);
  params.maxNumRangeTreeNodes = static_cast<std::uint32_t>(ranges);
  const int code = cuptiRangeProfilerGetCounterDataSize(&params);
  if (code == 0) image_.resize(params.counterDataSize);
  return code;
}

int CuptiCommands::Config(int ranges) {
  auto params = FTPROF_PARAMS(CUpti_RangeProfiler_SetConfig);
  params.pRangeProfilerObject = session_;
  params.configSize = config_.size();
  params.pConfig = config_.data();
  params.counterDataImageSize = image_.size();
  params.pCounterDataImage = image_.data();
  params.range = CUPTI_UserRange;
  params.replayMode = CUPTI_UserReplay;
  params.maxRangesPerPass = static_cast<std::size_t>(ranges);
  params.numNestingLevels = 1;
  params.minNestingLevel = 1;
  params.targetNestingLevel = 1;
  return cuptiRangeProfilerSetConfig(&params);
}

bool CuptiCommands::RunSession(const Words& words, int* code, std::string*) {
  const std::string& name = words[0];
  if (name == "enable") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_Enable);
    params.ctx = driver_->context;
    *code = cuptiRangeProfilerEnable(&params);
    if (*code == 0) session_ = params.pRangeProfilerObject;
  } else if (name == "disable") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_Disable);
    params.pRangeProfilerObject = session_;
    *code = cuptiRangeProfilerDisable(&params);
  } else if (name == "size") {
    *code = Size(Number(words, 1));
  } else if (name == "image") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_CounterDataImage_Initialize);
    params.pRangeProfilerObject = session_;
    params.counterDataSize = image_.size();
    params.pCounterData = image_.data();
    *code = cuptiRangeProfilerCounterDataImageInitialize(&params);
  } else if (name == "config") {
    *code = Config(Number(words, 1));
  } else if (name == "touchconfig") {
    config_.back() ^= 1;
  } else if (name == "touchimage") {
    image_.back() ^= 1;
  } else if (name == "saveimage") {
    std::ofstream file(words.at(1), std::ios::binary);
    file.write(reinterpret_cast<const char*>(image_.data()),
               static_cast<std::streamsize>(image_.size()));
    *code = file.flush() ? 0 : 1;
  } else {
    return false;
  }
  return true;
}

bool CuptiCommands::RunRange(const Words& words, int* code, std::string* extra) {
  const std::string& name = words[0];
  if (name == "start") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_Start);
    params.pRangeProfilerObject = session_;
    *code = cuptiRangeProfilerStart(&params);
  } else if (name == "push") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_PushRange);
    params.pRangeProfilerObject = session_;
    params.pRangeName = words.size() > 1 ? words[1].c_str() : "window";
    *code = cuptiRangeProfilerPushRange(&params);
  } else if (name == "pop") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_PopRange);
    params.pRangeProfilerObject = session_;
    *code = cuptiRangeProfilerPopRange(&params);
  } else if (name == "stop") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_Stop);
    params.pRangeProfilerObject = session_;
    *code = cuptiRangeProfilerStop(&params);
    *extra = std::to_string(params.isAllPassSubmitted);
  } else if (name == "decode") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_DecodeData);
    params.pRangeProfilerObject = session_;
    *code = cuptiRangeProfilerDecodeData(&params);
    *extra = std::to_string(params.numOfRangeDropped);
  } else if (name == "info") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_GetCounterDataInfo);
    params.pCounterDataImage = image_.data();
    params.counterDataImageSize = image_.size();
    *code = cuptiRangeProfilerGetCounterDataInfo(&params);
    *extra = std::to_string(params.numTotalRanges);
  } else if (name == "rangename") {
    auto params = FTPROF_PARAMS(CUpti_RangeProfiler_CounterData_GetRangeInfo);
    params.pCounterDataImage = image_.data();
    params.counterDataImageSize = image_.size();
    params.rangeIndex = static_cast<std::size_t>(Number(words, 1));
    *code = cuptiRangeProfilerCounterDataGetRangeInfo(&params);
    *extra = *code == 0 ? params.rangeName : "";
  } else {
    return false;
  }
  return true;
}

int CuptiCommands::Values(int range, std::string* extra) {
  std::vector<const char*> pointers = Pointers(metrics_);
  std::vector<double> values(pointers.size());
  auto params = FTPROF_PARAMS(CUpti_Profiler_Host_EvaluateToGpuValues);
  params.pHostObject = host_;
  params.pCounterDataImage = image_.data();
  params.counterDataImageSize = image_.size();
  params.rangeIndex = static_cast<std::size_t>(range);
  params.ppMetricNames = pointers.data();
  params.numMetrics = pointers.size();
  params.pMetricValues = values.data();
  const int code = cuptiProfilerHostEvaluateToGpuValues(&params);
  for (const double value : values) {
    char text[64];
    std::snprintf(text, sizeof text, "%.0f", value);
    *extra += (extra->empty() ? "" : " ") + std::string(text);
  }
  return code;
}

int CuptiCommands::Available() {
  auto params = FTPROF_PARAMS(CUpti_Profiler_GetCounterAvailability);
  params.ctx = driver_->context;
  if (const int code = cuptiProfilerGetCounterAvailability(&params)) return code;
  std::vector<std::uint8_t> image(params.counterAvailabilityImageSize);
  params.pCounterAvailabilityImage = image.data();
  return cuptiProfilerGetCounterAvailability(&params);
}

bool CuptiCommands::RunOthers(const Words& words, int* code, std::string* extra) {
  const std::string& name = words[0];
  if (name == "profile") {
    auto params = FTPROF_PARAMS(CUpti_Profiler_Initialize);
    *code = cuptiProfilerInitialize(&params);
  } else if (name == "unprofile") {
    auto params = FTPROF_PARAMS(CUpti_Profiler_DeInitialize);
    *code = cuptiProfilerDeInitialize(&params);
  } else if (name == "chip") {
    auto params = FTPROF_PARAMS(CUpti_Device_GetChipName);
    params.deviceIndex = static_cast<std::size_t>(Number(words, 1));
    *code = cuptiDeviceGetChipName(&params);
    *extra = *code == 0 ? params.pChipName : "";
  } else if (name == "supported") {
    auto params = FTPROF_PARAMS(CUpti_Profiler_DeviceSupported);
    params.cuDevice = Number(words, 1);
    *code = cuptiProfilerDeviceSupported(&params);
    *extra = std::to_string(params.isSupported) + " " + std::to_string(params.vGpu);
  } else if (name == "available") {
    *code = Available();
  } else if (name == "subscribe") {
    *code = cuptiSubscribe(&subscriber_, &OnContext, nullptr);
  } else if (name == "meddle") {
    *code = cuptiSubscribe(&subscriber_, &OnContext, this);
  } else if (name == "watch") {
    *code = cuptiEnableDomain(1, subscriber_, CUPTI_CB_DOMAIN_RESOURCE);
  } else if (name == "unsubscribe") {
    *code = cuptiUnsubscribe(subscriber_);
  } else {
    return false;
  }
  return true;
}

}  // namespace ftprof::standin
