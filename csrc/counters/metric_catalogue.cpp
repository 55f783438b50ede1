#include "counters/metric_catalogue.h"

namespace ftprof::counters {
namespace {

void RemoveSuffix(std::string_view suffix, std::string_view* name) {
  if (name->size() < suffix.size()) return;
  if (name->substr(name->size() - suffix.size()) == suffix) name->remove_suffix(suffix.size());
}

}  // namespace

const char* KindName(Kind kind) noexcept {
  switch (kind) {
    case Kind::kFloating:
      return "floating";
    case Kind::kInteger:
      return "integer";
    case Kind::kSparse:
      return "sparse";
    case Kind::kCudaCore:
      return "cuda-core";
    case Kind::kCycles:
      return "cycles";
    case Kind::kInstructions:
      return "instructions";
  }
  return "";
}

const char* UnitName(Unit unit) noexcept {
  switch (unit) {
    case Unit::kOperation:
      return "operation";
    case Unit::kInstruction:
      return "instruction";
    case Unit::kCycle:
      return "cycle";
  }
  return "";
}

const std::vector<Metric>& Catalogue() {
  // Never destroyed: a meter may look at it while the process runs its exit handlers.
  static const auto* rows = new std::vector<Metric>{
#include "counters/metric_table.inc"
  };
  return *rows;
}

std::string WithSum(std::string_view name) { return std::string(name) + std::string(kSum); }

const Metric* FindMetric(std::string_view name) {
  RemoveSuffix(kSum, &name);
  RemoveSuffix(kTwinSuffix, &name);
  for (const Metric& row : Catalogue()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

}  // namespace ftprof::counters
