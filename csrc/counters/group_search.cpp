#include "counters/group_search.h"

#include <algorithm>
#include <cstddef>

namespace ftprof::counters {
namespace {

// Depth-first search for a distribution over at most max_groups groups.
class Search {
 public:
  Search(const std::vector<Target>& targets, std::size_t max_groups, MetricForest* forest)
      : targets_(targets), max_groups_(max_groups), forest_(forest) {}

  bool Run() { return PlaceTarget(0); }
  const std::vector<Nodes>& groups() const noexcept { return groups_; }

 private:
  bool PlaceTarget(std::size_t target) {
    if (target == targets_.size()) return true;
    const std::vector<Nodes>& ways = targets_[target].ways;
    return std::any_of(ways.begin(), ways.end(),
                       [&](const Nodes& way) { return PlaceNodes(way, 0, target); });
  }

  bool PlaceNodes(const Nodes& way, std::size_t position, std::size_t target) {
    if (position == way.size()) return PlaceTarget(target + 1);
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      groups_[i].push_back(way[position]);
      if (Fits(groups_[i]) && PlaceNodes(way, position + 1, target)) return true;
      groups_[i].pop_back();
    }
    // All empty groups are alike, so only one is tried.
    if (groups_.size() == max_groups_) return false;
    groups_.push_back({way[position]});
    if (PlaceNodes(way, position + 1, target)) return true;
    groups_.pop_back();
    return false;
  }

  // Asks about pairs first: they recur in many groups, and a pair that does not fit settles it.
  bool Fits(const Nodes& group) {
    const NodeIndex last = group.back();
    for (std::size_t i = 0; i + 1 < group.size(); ++i) {
      if (!forest_->SinglePassForms({group[i], last})) return false;
    }
    return forest_->SinglePassForms(group).has_value();
  }

  const std::vector<Target>& targets_;
  std::size_t max_groups_;
  MetricForest* forest_;
  std::vector<Nodes> groups_;
};

}  // namespace

std::vector<Nodes> FewestGroups(const std::vector<Target>& targets, MetricForest* forest) {
  std::vector<Target> countable;
  std::copy_if(targets.begin(), targets.end(), std::back_inserter(countable),
               [](const Target& target) { return !target.ways.empty(); });
  for (std::size_t max_groups = 0;; ++max_groups) {
    Search search(countable, max_groups, forest);
    if (search.Run()) return search.groups();
  }
}

}  // namespace ftprof::counters
