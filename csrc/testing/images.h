// Stand-in for tests, never shipped: the config and counter-data images that pass between the host
// and the range-profiler functions. Their form is the stand-ins' own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ftprof::standin {

std::uint64_t Hash(const void* data, std::size_t size);

struct ConfigImage {
  std::string chip;
  std::uint64_t passes = 0;
  std::vector<std::string> metrics;  // without rollup

  std::vector<std::uint8_t> Encode() const;
  // Nothing where the bytes are no image, or were changed.
  static std::optional<ConfigImage> Decode(const std::uint8_t* data, std::size_t size);
};

// Of a counter-availability image.
inline constexpr std::size_t kAvailabilitySize = 64;

// Evaluates to no number.
inline constexpr std::uint64_t kNoCount = UINT64_MAX;

struct CountedRange {
  std::string name;
  std::vector<std::uint64_t> counts;  // in the order of the image's metrics
};

struct CounterImage {
  std::uint64_t max_ranges = 0;
  std::vector<std::string> metrics;  // without rollup
  std::vector<CountedRange> ranges;

  // What Encode needs for max_ranges ranges.
  std::size_t Size() const;
  void Encode(std::uint8_t* data, std::size_t size) const;
  static std::optional<CounterImage> Decode(const std::uint8_t* data, std::size_t size);
};

}  // namespace ftprof::standin
