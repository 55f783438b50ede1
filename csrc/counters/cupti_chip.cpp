#include "counters/cupti_chip.h"

#include <memory>
#include <vector>

#include "cupti/host_profiler.h"

namespace ftprof::counters {

Chip ChipFromCupti(const cupti::Library& library, const std::string& name) {
  // Shared, because std::function copies what it holds.
  const auto profiler = std::make_shared<const cupti::HostProfiler>(library, name);
  return {name, [profiler](const std::string& metric) { return profiler->HasMetric(metric); },
          [&library, name](const std::vector<std::string>& metrics) {
            return cupti::NumPasses(library, name, metrics);
          }};
}

}  // namespace ftprof::counters
