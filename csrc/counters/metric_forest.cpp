#include "counters/metric_forest.h"

#include <algorithm>

namespace ftprof::counters {
namespace {

// Every way to count two disjoint parts is a way of the one joined with a way of the other.
std::vector<Nodes> Combine(const std::vector<Nodes>& left, const std::vector<Nodes>& right) {
  std::vector<Nodes> combined;
  for (const Nodes& a : left) {
    for (const Nodes& b : right) {
      combined.push_back(a);
      combined.back().insert(combined.back().end(), b.begin(), b.end());
    }
  }
  return combined;
}

}  // namespace

MetricForest::MetricForest(Kind kind, PassOracle* oracle) : oracle_(oracle) {
  for (const Metric& metric : Catalogue()) {
    if (metric.kind == kind) AddNode(metric);
  }
  ConnectParents();
}

void MetricForest::AddNode(const Metric& metric) {
  const std::string twin = std::string(metric.name) + std::string(kTwinSuffix);
  bool exists = false;
  MetricNode node{&metric, {}, std::nullopt, {}};
  for (const std::string& form : {WithSum(metric.name), WithSum(twin)}) {
    if (!oracle_->HasMetric(form)) continue;
    exists = true;
    if (oracle_->SinglePass({form, WithSum(kCyclesMetric)})) node.forms.push_back(form);
  }
  if (exists) nodes_.push_back(std::move(node));
}

void MetricForest::ConnectParents() {
  for (NodeIndex i = 0; i < nodes_.size(); ++i) {
    const Metric* ancestor = FindMetric(nodes_[i].metric->parent);
    while (ancestor != nullptr && !nodes_[i].parent) {
      for (NodeIndex j = 0; j < nodes_.size(); ++j) {
        if (nodes_[j].metric == ancestor) nodes_[i].parent = j;
      }
      ancestor = FindMetric(ancestor->parent);
    }
    if (nodes_[i].parent) nodes_[*nodes_[i].parent].children.push_back(i);
  }
}

bool MetricForest::IsAncestor(NodeIndex ancestor, NodeIndex node) const {
  for (std::optional<NodeIndex> at = nodes_[node].parent; at; at = nodes_[*at].parent) {
    if (*at == ancestor) return true;
  }
  return false;
}

bool MetricForest::Overlap(NodeIndex a, NodeIndex b) const {
  return a == b || IsAncestor(a, b) || IsAncestor(b, a);
}

std::vector<Nodes> MetricForest::Ways(NodeIndex node) const {
  std::vector<Nodes> ways;
  if (!nodes_[node].forms.empty()) ways.push_back({node});
  const Nodes& children = nodes_[node].children;
  // An only child counts the same as its parent, from the same raw counters.
  if (children.size() < 2) return ways;
  std::vector<Nodes> by_parts = {{}};
  for (const NodeIndex child : children) by_parts = Combine(by_parts, Ways(child));
  ways.insert(ways.end(), by_parts.begin(), by_parts.end());
  return ways;
}

void MetricForest::AddRemaining(NodeIndex node, const Nodes& chosen,
                                std::vector<Target>* targets) const {
  if (std::find(chosen.begin(), chosen.end(), node) != chosen.end()) return;
  const bool part_is_chosen = std::any_of(chosen.begin(), chosen.end(),
                                          [&](NodeIndex other) { return IsAncestor(node, other); });
  if (!part_is_chosen) {
    targets->push_back({node, Ways(node)});
    return;
  }
  for (const NodeIndex child : nodes_[node].children) AddRemaining(child, chosen, targets);
}

std::vector<Target> MetricForest::Remaining(const Nodes& chosen) const {
  std::vector<Target> targets;
  for (NodeIndex i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].parent) AddRemaining(i, chosen, &targets);
  }
  return targets;
}

// Tries the forms of the nodes from names->size() on. Sets that fit into one pass are closed
// downward, so a prefix that does not fit ends a branch.
bool MetricForest::ChooseForms(const Nodes& group, std::vector<std::string>* names) {
  if (names->size() == group.size()) return true;
  for (const std::string& form : nodes_[group[names->size()]].forms) {
    names->push_back(form);
    std::vector<std::string> pass = *names;
    pass.push_back(WithSum(kCyclesMetric));
    if (oracle_->SinglePass(pass) && ChooseForms(group, names)) return true;
    names->pop_back();
  }
  return false;
}

std::optional<std::vector<std::string>> MetricForest::SinglePassForms(const Nodes& group) {
  Nodes key = group;
  std::sort(key.begin(), key.end());
  const auto known = groups_.find(key);
  if (known != groups_.end()) return known->second;
  std::optional<std::vector<std::string>> forms;
  std::vector<std::string> names;
  if (ChooseForms(key, &names)) forms = std::move(names);
  groups_.emplace(std::move(key), forms);
  return forms;
}

}  // namespace ftprof::counters
