#include "counters/plan.h"

#include <algorithm>
#include <utility>

#include "counters/group_search.h"
#include "counters/metric_catalogue.h"
#include "counters/metric_forest.h"
#include "cupti/error.h"

namespace ftprof::counters {
namespace {

// The group of these nodes, which must fit into one pass, with the cycles at its end.
Group CycleGroup(Role role, const Nodes& nodes, MetricForest* forest) {
  std::vector<std::string> metrics = forest->SinglePassForms(nodes).value();
  metrics.push_back(WithSum(kCyclesMetric));
  return {role, std::move(metrics), 1};
}

Nodes ChooseBase(MetricForest* forest) {
  Nodes chosen;
  for (NodeIndex node = 0; node < forest->nodes().size(); ++node) {
    const bool overlaps = std::any_of(chosen.begin(), chosen.end(), [&](NodeIndex other) {
      return forest->Overlap(node, other);
    });
    if (overlaps) continue;
    chosen.push_back(node);
    if (!forest->SinglePassForms(chosen)) chosen.pop_back();
  }
  return chosen;
}

void AddUnsupported(const std::vector<Target>& targets, const MetricForest& forest, Plan* plan) {
  for (const Target& target : targets) {
    if (!target.ways.empty()) continue;
    plan->unsupported.push_back(
        {forest.nodes()[target.node].metric->name,
         "no form of it, nor its parts, fits into one pass with " + std::string(kCyclesMetric)});
  }
}

void AddFewestGroups(Role role, const std::vector<Target>& targets, MetricForest* forest,
                     Plan* plan) {
  for (const Nodes& nodes : FewestGroups(targets, forest)) {
    plan->groups.push_back(CycleGroup(role, nodes, forest));
  }
  AddUnsupported(targets, *forest, plan);
}

void AddTensorGroups(PassOracle* oracle, Plan* plan) {
  MetricForest forest(Kind::kFloating, oracle);
  const Nodes base = ChooseBase(&forest);
  plan->groups.push_back(CycleGroup(Role::kBase, base, &forest));
  AddFewestGroups(Role::kRotating, forest.Remaining(base), &forest, plan);
}

void AddSeparateGroups(Role role, Kind kind, PassOracle* oracle, Plan* plan) {
  MetricForest forest(kind, oracle);
  AddFewestGroups(role, forest.Remaining({}), &forest, plan);
}

void AddFixedGroup(Role role, std::vector<std::string> metrics, PassOracle* oracle, Plan* plan) {
  const std::size_t passes = oracle->NumPasses(metrics);
  if (passes == 1) {
    plan->groups.push_back({role, std::move(metrics), passes});
    return;
  }
  for (std::string& metric : metrics) {
    plan->unsupported.push_back({std::move(metric), std::string("its ") + RoleName(role) +
                                                        " group takes " + std::to_string(passes) +
                                                        " passes"});
  }
}

std::vector<std::string> CudaCoreMetrics(const PassOracle& oracle) {
  std::vector<std::string> metrics;
  for (const Metric& metric : Catalogue()) {
    const std::string name = WithSum(metric.name);
    if (metric.kind == Kind::kCudaCore && oracle.HasMetric(name)) metrics.push_back(name);
  }
  metrics.push_back(WithSum(kPatchedInstructionsMetric));
  return metrics;
}

}  // namespace

const char* RoleName(Role role) noexcept {
  switch (role) {
    case Role::kBase:
      return "base";
    case Role::kRotating:
      return "rotating";
    case Role::kCudaCore:
      return "cuda-core";
    case Role::kLink:
      return "link";
    case Role::kInteger:
      return "integer";
    case Role::kSparse:
      return "sparse";
  }
  return "";
}

Plan MakePlan(const Chip& chip) {
  PassOracle oracle(chip);
  if (!oracle.HasMetric(WithSum(kCyclesMetric))) {
    // Every chip has it: without this check a CUPTI that misunderstands names gives an empty plan.
    throw cupti::CuptiError("plan " + chip.name, 0,
                            "CUPTI has no " + std::string(kCyclesMetric) + " on this chip",
                            "use another CUPTI release, such as 13.0");
  }
  Plan plan;
  plan.chip = chip.name;
  AddTensorGroups(&oracle, &plan);
  AddFixedGroup(Role::kCudaCore, CudaCoreMetrics(oracle), &oracle, &plan);
  AddFixedGroup(Role::kLink, {WithSum(kInstructionsMetric), WithSum(kCyclesMetric)}, &oracle,
                &plan);
  AddSeparateGroups(Role::kInteger, Kind::kInteger, &oracle, &plan);
  AddSeparateGroups(Role::kSparse, Kind::kSparse, &oracle, &plan);
  plan.questions = oracle.NumQuestions();
  return plan;
}

}  // namespace ftprof::counters
