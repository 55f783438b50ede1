// Test client for the stand-ins, never shipped: commands that call CUPTI.
#pragma once

#include <cupti_callbacks.h>
#include <cupti_profiler_host.h>
#include <cupti_range_profiler.h>

#include <cstdint>
#include <string>
#include <vector>

#include "testing/client_driver.h"

namespace ftprof::standin {

// One host object, one session, one config and one counter-data image at a time.
class CuptiCommands {
 public:
  explicit CuptiCommands(DriverCommands* driver) : driver_(driver) {}

  bool Run(const Words& words, int* code, std::string* extra);

 private:
  bool RunHost(const Words& words, int* code, std::string* extra);
  bool RunSession(const Words& words, int* code, std::string* extra);
  bool RunRange(const Words& words, int* code, std::string* extra);
  bool RunOthers(const Words& words, int* code, std::string* extra);
  int Host(const std::string& chip, const std::string& metrics, std::string* extra);
  int Size(int ranges);
  int Config(int ranges);
  int Values(int range, std::string* extra);
  int Available();

  DriverCommands* driver_;
  CUpti_Profiler_Host_Object* host_ = nullptr;
  CUpti_RangeProfiler_Object* session_ = nullptr;
  CUpti_SubscriberHandle subscriber_ = nullptr;
  std::vector<std::string> metrics_;
  std::vector<std::uint8_t> config_;
  std::vector<std::uint8_t> image_;
};

}  // namespace ftprof::standin
