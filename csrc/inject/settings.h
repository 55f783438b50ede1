// What `ftprof wrap` tells the injection library, through the environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "counters/meter.h"
#include "cupti/library.h"

namespace ftprof::inject {

struct Settings {
  std::string run_directory;  // FTPROF_RUN_DIR
  std::string run_id;         // FTPROF_RUN_ID
  // Folders that may hold a CUPTI: those that CUDA_HOME and CUDA_PATH name, and behind them
  // FTPROF_CUPTI_ROOTS ("path=origin", with colons between).
  std::vector<cupti::SearchRoot> cupti_roots;
  bool subscribe = false;                  // FTPROF_SUBSCRIBE=1
  std::size_t lines_before_rollup = 4096;  // FTPROF_ROLLUP_LINES
  counters::MeterSettings meter;           // FTPROF_COUNTERS_SEED, FTPROF_CUDA_CORE, FTPROF_SLOT_US
};

// Nothing where this process is no part of a run. To be read on a thread of the application's,
// which may change its environment at any time.
std::optional<Settings> SettingsFromEnvironment();

// The folders under which this process's own CUPTI may lie, the best first: that of the Python
// environment whose libraries it has mapped, and then those of the settings.
std::vector<cupti::SearchRoot> SearchRoots(const Settings& settings);

}  // namespace ftprof::inject
