// The metrics of one kind that a chip has, as trees: a parent counts all that its children count.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "counters/metric_catalogue.h"
#include "counters/pass_oracle.h"

namespace ftprof::counters {

using NodeIndex = std::size_t;
using Nodes = std::vector<NodeIndex>;

struct MetricNode {
  const Metric* metric;
  // The name and its twin, with rollup, as far as each fits into one pass beside the cycles.
  std::vector<std::string> forms;
  std::optional<NodeIndex> parent;
  Nodes children;
};

// What remains to be counted of one tree, and the ways to count exactly that.
struct Target {
  NodeIndex node;
  std::vector<Nodes> ways;  // the node itself first; empty where there is no single-pass way
};

class MetricForest {
 public:
  // oracle must outlive this object.
  MetricForest(Kind kind, PassOracle* oracle);

  const std::vector<MetricNode>& nodes() const noexcept { return nodes_; }

  // True where one of the two counts something that the other counts too.
  bool Overlap(NodeIndex a, NodeIndex b) const;

  // What is left when the chosen nodes are counted already. No two of the chosen may overlap.
  std::vector<Target> Remaining(const Nodes& chosen) const;

  // A form of each node such that all fit into one pass together with the cycles, or nothing. The
  // plain names are preferred, the first node's most.
  std::optional<std::vector<std::string>> SinglePassForms(const Nodes& group);

 private:
  void AddNode(const Metric& metric);
  void ConnectParents();
  bool IsAncestor(NodeIndex ancestor, NodeIndex node) const;
  std::vector<Nodes> Ways(NodeIndex node) const;
  void AddRemaining(NodeIndex node, const Nodes& chosen, std::vector<Target>* targets) const;
  bool ChooseForms(const Nodes& group, std::vector<std::string>* names);

  PassOracle* oracle_;
  std::vector<MetricNode> nodes_;
  std::map<Nodes, std::optional<std::vector<std::string>>> groups_;
};

}  // namespace ftprof::counters
