// Stand-in for tests, never shipped: what the stand-in driver and CUPTI play, read from the file
// that FTPROF_STANDIN_SCRIPT names. FORMAT.md beside this file describes it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "testing/json.h"

namespace ftprof::standin {

struct DeviceScript {
  std::string name = "NVIDIA H200 (stand-in)";
  std::string uuid;  // "GPU-" and the usual groups of hexadecimal digits
  std::string chip = "GH100";
  int capability_major = 9;
  int capability_minor = 0;
  int multiprocessors = 132;
  int clock_khz = 1980000;
  std::uint64_t memory_mib = 143771;
  // The device is lost this long after cuInit: every call on it then answers these codes.
  std::optional<std::uint64_t> lost_after_us;
  int lost_code = 719;
  int lost_cupti_code = 999;
};

struct KernelScript {
  std::string name;
  std::uint64_t duration_ns = 0;
  std::map<std::string, std::uint64_t> counts;  // by metric, without rollup
  std::optional<std::uint64_t> cycles;          // by default: all SMs over the duration
};

// What happens at some calls of one function. Exactly one of code, delay_us and set is given.
struct CallRule {
  std::string call;  // without _v2 and the like
  std::optional<std::uint64_t> nth;
  bool every = false;
  std::uint64_t after_us = 0;
  std::uint64_t times = 0;  // at most so often; 0: without limit
  int device = -1;
  std::optional<bool> in_program;  // calls from the test program's own threads, or from all others
  std::string variable;            // holds only where this environment variable has this value
  std::string value;
  std::optional<int> code;
  std::optional<std::uint64_t> delay_us;
  std::optional<Json> set;  // results that are overwritten
};

enum class TraceLevel { kNone, kCupti, kAll };

struct Script {
  std::vector<DeviceScript> devices;
  std::vector<KernelScript> kernels;  // in the order of their names
  std::vector<CallRule> rules;
  Json chips;                           // beside the built-in ones
  std::map<std::string, double> peaks;  // of "METRIC.sum.peak_sustained"
  std::string truth_dir;                // empty: no truth is kept
  TraceLevel trace = TraceLevel::kNone;
  bool virtual_time = false;
  bool require_current = true;
  bool patch_graphs = false;
  std::uint64_t patched_slowdown = 1;
  std::uint64_t queue_limit = 1024;
  std::uint64_t ledger_mib = 64;
  unsigned counter_bits = 64;
  int driver_version = 13000;
  std::uint32_t cupti_version = 130001;
};

// Without a file: one device and no kernels. Throws std::runtime_error.
Script ReadScript(const char* path);

// The script of this process, read at the first call. A bad one ends the process with its reason.
const Script& TheScript();

// The metric without its _realtime suffix: on the stand-ins the twins count the same.
std::string WithoutTwin(const std::string& metric);

// "cuCtxDestroy" for "cuCtxDestroy_v2".
std::string WithoutVersion(const std::string& function);

}  // namespace ftprof::standin
