#include "counters/stratum_sums.h"

#include <algorithm>
#include <string>

#include "counters/metric_catalogue.h"

namespace ftprof::counters {

std::size_t DenominatorOf(const Group& group) {
  const std::string wanted =
      WithSum(group.role == Role::kCudaCore ? kPatchedInstructionsMetric : kCyclesMetric);
  const auto found = std::find(group.metrics.begin(), group.metrics.end(), wanted);
  return static_cast<std::size_t>(found - group.metrics.begin());
}

void StratumSums::AddToSlot(const Window& window, std::size_t denominator, GroupSums* group) {
  if (!window.continued) slot_.clear();
  slot_.resize(window.counts.size());
  const std::vector<WideCount> before = slot_;
  for (std::size_t i = 0; i < before.size(); ++i) slot_[i] += window.counts[i];
  const WideCount divisor_before = before.at(denominator);
  const WideCount divisor = slot_.at(denominator);
  for (std::size_t i = 0; i < before.size(); ++i) {
    group->slot_squares[i] += slot_[i] * slot_[i] - before[i] * before[i];
    group->slot_products[i] += slot_[i] * divisor - before[i] * divisor_before;
  }
}

void StratumSums::Add(const Window& window, std::size_t denominator) {
  Stratum& stratum = strata_[window.stratum];
  if (stratum.groups.empty()) stratum.begin_us = window.begin_us;
  stratum.end_us = window.end_us;
  GroupSums& group = stratum.groups[window.group];
  const std::size_t metrics = window.counts.size();
  group.sums.resize(metrics);
  group.squares.resize(metrics);
  group.products.resize(metrics);
  group.slot_squares.resize(metrics);
  group.slot_products.resize(metrics);
  ++group.windows;
  group.continued += window.continued ? 1 : 0;
  group.time_us += static_cast<std::uint64_t>(window.end_us - window.begin_us);
  for (std::size_t i = 0; i < metrics; ++i) {
    const WideCount count = window.counts[i];
    group.sums[i] += count;
    group.squares[i] += count * count;
    group.products[i] += count * window.counts.at(denominator);
  }
  AddToSlot(window, denominator, &group);
}

}  // namespace ftprof::counters
