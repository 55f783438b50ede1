// What the planner asks about a chip.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace ftprof::counters {

// A chip as the planner sees it: CUPTI's host API, or a fake in tests. Metrics are named with
// rollup.
struct Chip {
  std::string name;
  std::function<bool(const std::string& metric)> has_metric;
  // A set that cannot be scheduled may give 0 or throw.
  std::function<std::size_t(const std::vector<std::string>& metrics)> num_passes;
};

// Remembers each answer, since one costs CUPTI 2 ms.
class PassOracle {
 public:
  explicit PassOracle(const Chip& chip) : chip_(&chip) {}  // chip must outlive this object

  bool HasMetric(const std::string& metric) const { return chip_->has_metric(metric); }
  std::size_t NumPasses(std::vector<std::string> metrics);
  bool SinglePass(std::vector<std::string> metrics) { return NumPasses(std::move(metrics)) == 1; }
  // How often the chip was asked for passes.
  std::size_t NumQuestions() const noexcept { return answers_.size(); }

 private:
  const Chip* chip_;
  std::map<std::vector<std::string>, std::size_t> answers_;
};

}  // namespace ftprof::counters
