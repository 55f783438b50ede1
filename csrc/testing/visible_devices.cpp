// Stand-in for tests, never shipped: CUDA_VISIBLE_DEVICES.
#include "testing/visible_devices.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <sstream>
#include <string>

namespace ftprof::standin {
namespace {

std::optional<std::size_t> FindDevice(const Script& script, const std::string& entry) {
  if (entry.empty()) return std::nullopt;
  const bool number =
      std::all_of(entry.begin(), entry.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (number && entry.size() < 6) {
    const std::size_t place = std::stoul(entry);
    if (place < script.devices.size()) return place;
    return std::nullopt;
  }
  for (std::size_t place = 0; place < script.devices.size(); ++place) {
    if (script.devices[place].uuid.compare(0, entry.size(), entry) == 0) return place;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::size_t> VisibleDevices(const Script& script, const char* variable) {
  std::vector<std::size_t> places;
  if (variable == nullptr) {
    for (std::size_t place = 0; place < script.devices.size(); ++place) places.push_back(place);
    return places;
  }
  std::istringstream entries(variable);
  for (std::string entry; std::getline(entries, entry, ',');) {
    const std::optional<std::size_t> place = FindDevice(script, entry);
    if (!place) return places;
    if (std::find(places.begin(), places.end(), *place) != places.end()) return {};
    places.push_back(*place);
  }
  return places;
}

}  // namespace ftprof::standin
