// Stand-in for tests, never shipped: which metrics a chip has and which of them one pass holds.
#include "testing/chip_model.h"

#include <algorithm>

namespace ftprof::standin {
namespace {

constexpr char kBuiltInChips[] =
#include "testing/built_in_chips.inc"
    ;

std::set<std::string> Names(const Json& chip, const char* key) {
  std::set<std::string> names;
  const Json* list = chip.Find(key);
  if (list == nullptr) return names;
  for (const Json& name : list->Array()) names.insert(name.String());
  return names;
}

void AddChips(const Json& json, std::map<std::string, ChipModel>* chips) {
  if (json.type() == Json::Type::kNull) return;
  for (const auto& [name, chip] : json.Object()) chips->insert_or_assign(name, ChipModel(chip));
}

}  // namespace

ChipModel::ChipModel(const Json& json)
    : anywhere_(Names(json, "anywhere")),
      two_passes_(Names(json, "two_passes")),
      patched_(Names(json, "patched")) {
  all_ = Names(json, "alone");
  for (const auto* part : {&anywhere_, &two_passes_, &patched_}) {
    all_.insert(part->begin(), part->end());
  }
  const Json* groups = json.Find("groups");
  if (groups == nullptr) return;
  for (const Json& group : groups->Array()) {
    std::set<std::string>& names = groups_.emplace_back();
    for (const Json& name : group.Array()) names.insert(name.String());
    all_.insert(names.begin(), names.end());
  }
}

bool ChipModel::Fits(const std::set<std::string>& pass) const {
  if (pass.size() == 1) return true;
  return std::any_of(groups_.begin(), groups_.end(), [&](const std::set<std::string>& group) {
    return std::includes(group.begin(), group.end(), pass.begin(), pass.end());
  });
}

std::size_t ChipModel::Passes(const std::vector<std::string>& metrics) const {
  std::vector<std::set<std::string>> passes;
  std::size_t others = 0;
  bool patched = false;
  bool hardware = false;
  for (const std::string& metric : std::set<std::string>(metrics.begin(), metrics.end())) {
    patched = patched || IsPatched(metric);
    hardware = hardware || !IsPatched(metric);
    if (IsPatched(metric) || anywhere_.count(metric) == 1) continue;
    if (two_passes_.count(metric) == 1) {
      others += 2;
      continue;
    }
    const auto home = std::find_if(passes.begin(), passes.end(), [&](std::set<std::string> pass) {
      pass.insert(metric);
      return Fits(pass);
    });
    if (home == passes.end()) {
      passes.push_back({metric});
    } else {
      home->insert(metric);
    }
  }
  const std::size_t needed = passes.size() + others;
  return std::max<std::size_t>(needed, hardware ? 1 : 0) + (patched ? 1 : 0);
}

const std::map<std::string, ChipModel>& Chips() {
  static const auto* chips = [] {
    auto* made = new std::map<std::string, ChipModel>;
    AddChips(Json::Parse(kBuiltInChips), made);
    AddChips(TheScript().chips, made);
    return made;
  }();
  return *chips;
}

}  // namespace ftprof::standin
