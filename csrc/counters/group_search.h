// The fewest single-pass groups that count what remains of a forest.
#pragma once

#include <vector>

#include "counters/metric_forest.h"

namespace ftprof::counters {

// Exact: a solution with fewer groups does not exist. Targets without any way are left out.
std::vector<Nodes> FewestGroups(const std::vector<Target>& targets, MetricForest* forest);

}  // namespace ftprof::counters
