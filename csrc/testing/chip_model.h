// Stand-in for tests, never shipped: which metrics a chip has and which of them one pass holds.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "testing/script.h"

namespace ftprof::standin {

// One pass holds hardware metrics that one of the groups contains, or a single metric; a metric of
// two_passes takes two of its own; the patched ones take one pass together, but never with others.
// The built-in chips are cut so that ftprof's plan is that of the real CUPTI 13.0. Metrics are
// named without rollup.
class ChipModel {
 public:
  explicit ChipModel(const Json& json);

  bool Has(const std::string& metric) const { return all_.count(metric) == 1; }
  bool IsPatched(const std::string& metric) const { return patched_.count(metric) == 1; }
  const std::set<std::string>& Metrics() const noexcept { return all_; }
  std::size_t Passes(const std::vector<std::string>& metrics) const;

 private:
  bool Fits(const std::set<std::string>& pass) const;

  std::set<std::string> all_;
  std::set<std::string> anywhere_;  // in any pass with hardware metrics
  std::set<std::string> two_passes_;
  std::set<std::string> patched_;
  std::vector<std::set<std::string>> groups_;
};

// By name: the built-in chips and the script's own.
const std::map<std::string, ChipModel>& Chips();

}  // namespace ftprof::standin
