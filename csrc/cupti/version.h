// Which CUDA release a CUPTI belongs to, and which Perfworks belongs to it.
#pragma once

#include <cstdint>
#include <string>

namespace ftprof::cupti {

struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;

  std::string Text() const;
};

bool operator<(const Version& a, const Version& b) noexcept;
bool operator==(const Version& a, const Version& b) noexcept;

inline constexpr Version kOldestSupported{12, 6};
inline constexpr Version kNewestTested{13, 0};
inline constexpr std::uint32_t kNewestMajor = 13;
// Perfworks of CUPTI 13.2.
inline constexpr Version kFirstPerfworksWithDriver{2026, 1};

// Translates cuptiGetVersion's number: up to 12.9 a running count, from 13.0 on major, minor, patch
// in two decimal digits each (cupti_version.h).
Version ReleaseOf(std::uint32_t api_version) noexcept;

// The Perfworks release (year, number) that CUPTI of this release ships with; {0, 0} where that was
// not looked up.
Version PerfworksOf(const Version& release) noexcept;

}  // namespace ftprof::cupti
