#include "cupti/version.h"

#include <tuple>

namespace ftprof::cupti {
namespace {

struct CountedRelease {
  std::uint32_t api_version;
  Version release;
};

// cupti_version.h. A number between two rows belongs to a release that had no CUPTI of its own.
constexpr CountedRelease kCountedReleases[] = {
    {28, {12, 9}}, {27, {12, 9}}, {26, {12, 8}}, {25, {12, 7}}, {24, {12, 6}},
    {23, {12, 5}}, {22, {12, 4}}, {21, {12, 3}}, {20, {12, 2}}, {19, {12, 0}},
};

struct PerfworksRelease {
  Version release;
  Version perfworks;
};

// Read from the wheels 12.6.37 to 12.6.80, 12.8.57, 12.8.90, 12.9.19, 12.9.79, 13.0.48, 13.0.85,
// 13.1.115, 13.2.23, 13.2.86, 13.3.75 and 13.4.92: patch releases do not change the two numbers.
constexpr PerfworksRelease kPerfworksReleases[] = {
    {{12, 6}, {2024, 1}}, {{12, 8}, {2024, 5}}, {{12, 9}, {2025, 2}}, {{13, 0}, {2025, 4}},
    {{13, 1}, {2025, 5}}, {{13, 2}, {2026, 1}}, {{13, 3}, {2026, 2}}, {{13, 4}, {2026, 3}},
};

}  // namespace

std::string Version::Text() const { return std::to_string(major) + "." + std::to_string(minor); }

bool operator<(const Version& a, const Version& b) noexcept {
  return std::tie(a.major, a.minor) < std::tie(b.major, b.minor);
}

bool operator==(const Version& a, const Version& b) noexcept {
  return a.major == b.major && a.minor == b.minor;
}

Version ReleaseOf(std::uint32_t api_version) noexcept {
  if (api_version >= 130000) return {api_version / 10000, api_version / 100 % 100};
  for (const CountedRelease& row : kCountedReleases) {
    if (api_version >= row.api_version) return row.release;
  }
  return {11, 0};
}

Version PerfworksOf(const Version& release) noexcept {
  for (const PerfworksRelease& row : kPerfworksReleases) {
    if (row.release == release) return row.perfworks;
  }
  return {};
}

}  // namespace ftprof::cupti
