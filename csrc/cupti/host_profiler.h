// CUPTI's host API for one chip: which metrics exist and how many passes they take. Needs no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cupti/library.h"

namespace ftprof::cupti {

struct MetricProperties {
  std::string description;
  std::string hardware_unit;
  std::string dimension;
};

// A host object for one chip, created and destroyed with this object. Not thread-safe.
//
// A host object holds one configuration: each AddMetrics adds passes to it, also for a metric that
// it has already, and one bad name spoils it for good. So there is one AddMetrics for each
// HostProfiler.
class HostProfiler {
 public:
  // library must outlive this object. Throws CuptiError for a chip that CUPTI does not know.
  // availability is the image that a context gave of the counters that it can read; empty: all.
  HostProfiler(const Library& library, const std::string& chip,
               std::vector<std::uint8_t> availability = {});
  ~HostProfiler();
  HostProfiler(HostProfiler&& other) noexcept;
  HostProfiler& operator=(HostProfiler&& other) noexcept;
  HostProfiler(const HostProfiler&) = delete;
  HostProfiler& operator=(const HostProfiler&) = delete;

  // Every counter that the chip has, thousands of them. For checks, not for start-up.
  std::vector<std::string> BaseMetrics() const;
  // These three take a name with its rollup, such as "sm__cycles_active.sum": CUPTI 12.x knows no
  // other.
  bool HasMetric(const std::string& name) const;
  std::vector<std::string> SubMetrics(const std::string& name) const;
  // Empty where the chip has no such metric.
  std::optional<MetricProperties> Properties(const std::string& name) const;

  void AddMetrics(const std::vector<std::string>& names);
  // The configuration of the metrics added. CUPTI keeps a pointer to it once a session uses it.
  std::vector<std::uint8_t> ConfigImage() const;
  // The values of the metrics in one range of a decoded counter-data image.
  std::vector<double> Evaluate(const std::vector<std::uint8_t>& counter_data, std::size_t range,
                               const std::vector<std::string>& names) const;

 private:
  struct Given;

  const Library* library_;
  // Where it lies, also when this object moves: CUPTI reads the availability again at AddMetrics
  // (seen on an H200 with CUPTI 13.0: it crashes if that has gone).
  std::unique_ptr<const Given> given_;
  CUpti_Profiler_Host_Object* object_ = nullptr;
};

std::vector<std::string> SupportedChips(const Library& library);
std::size_t NumPasses(const Library& library, std::vector<std::uint8_t> config_image);
// Of these metrics on a fresh host object.
std::size_t NumPasses(const Library& library, const std::string& chip,
                      const std::vector<std::string>& names);

}  // namespace ftprof::cupti
