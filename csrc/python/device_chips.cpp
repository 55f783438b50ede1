#include "python/device_chips.h"

#include <utility>

#include "cupti/driver.h"
#include "cupti/library.h"
#include "cupti/range_profiler.h"
#include "python/loaded_cupti.h"

namespace ftprof {

std::vector<DeviceChip> DeviceChips() {
  const cupti::Driver driver = cupti::Driver::Start();
  const int count = driver.DeviceCount();
  const cupti::Library& library = LoadedCupti::Get().library();
  if (count > 0) cupti::InitializeProfiler(library);
  std::vector<DeviceChip> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    DeviceChip device;
    device.uuid = driver.Describe(ordinal).uuid;
    try {
      device.chip = cupti::ChipName(library, ordinal);
    } catch (const cupti::CuptiError& error) {
      device.failure = error;
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace ftprof
