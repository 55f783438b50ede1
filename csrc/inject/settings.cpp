#include "inject/settings.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>

namespace ftprof::inject {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// 0 where it is no number: every setting's default.
std::uint64_t Number(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text.c_str(), &end, 10);
  return errno == 0 && end != text.c_str() && *end == '\0' ? value : 0;
}

std::uint64_t RandomSeed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

std::vector<cupti::SearchRoot> CuptiRoots() {
  std::vector<cupti::SearchRoot> roots;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string folder = Variable(name);
    if (!folder.empty()) roots.push_back({folder, "CUDA toolkit"});
  }
  roots.push_back({"/usr/local/cuda", "CUDA toolkit"});
  for (const std::string& root : Split(Variable("FTPROF_CUPTI_ROOTS"), ':')) {
    const std::size_t separator = std::min(root.find('='), root.size());
    const std::string origin = separator < root.size() ? root.substr(separator + 1) : "ftprof";
    roots.push_back({root.substr(0, separator), origin});
  }
  return roots;
}

void ReadSchedule(Settings* settings) {
  const std::uint64_t seed = Number(Variable("FTPROF_COUNTERS_SEED"));
  settings->meter.seed = seed != 0 ? seed : RandomSeed();
  settings->meter.schedule.cuda_core_windows = Variable("FTPROF_CUDA_CORE") == "1" ? 1 : 0;
  const std::vector<std::string> slots = Split(Variable("FTPROF_SLOT_US"), ',');
  if (slots.size() != 2) return;
  const std::uint64_t first = Number(slots[0]);
  const std::uint64_t longest = Number(slots[1]);
  if (first == 0 || longest < first) return;
  settings->meter.UseSlots(static_cast<std::int64_t>(first), static_cast<std::int64_t>(longest));
}

// "/a/lib/python3.12/site-packages" of "/a/lib/python3.12/site-packages/torch/lib/libc10.so".
std::string SitePackagesIn(std::string_view line) {
  for (const std::string_view name : {"/site-packages/", "/dist-packages/"}) {
    const std::size_t found = line.find(name);
    const std::size_t begin = line.find('/');
    if (found == std::string_view::npos || begin > found) continue;
    return std::string(line.substr(begin, found + name.size() - 1 - begin));
  }
  return {};
}

// In the order in which they were mapped. /proc/self/maps, since the process may be no Python.
std::vector<std::string> MappedSitePackages() {
  std::vector<std::string> found;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return found;
  char* line = nullptr;
  std::size_t capacity = 0;
  while (::getline(&line, &capacity, maps) > 0) {
    // Where this library lies says where ftprof is installed, not what the program uses.
    if (std::strstr(line, "/libftprof_inject.so") != nullptr) continue;
    std::string folder = SitePackagesIn(line);
    if (!folder.empty() && std::find(found.begin(), found.end(), folder) == found.end()) {
      found.push_back(std::move(folder));
    }
  }
  std::free(line);
  std::fclose(maps);
  return found;
}

}  // namespace

std::optional<Settings> SettingsFromEnvironment() {
  Settings settings;
  settings.run_directory = Variable("FTPROF_RUN_DIR");
  settings.run_id = Variable("FTPROF_RUN_ID");
  if (settings.run_directory.empty() || settings.run_id.empty()) return std::nullopt;
  settings.cupti_roots = CuptiRoots();
  settings.subscribe = Variable("FTPROF_SUBSCRIBE") == "1";
  const std::uint64_t lines = Number(Variable("FTPROF_ROLLUP_LINES"));
  if (lines != 0) settings.lines_before_rollup = lines;
  ReadSchedule(&settings);
  return settings;
}

std::vector<cupti::SearchRoot> SearchRoots(const Settings& settings) {
  std::vector<cupti::SearchRoot> roots;
  for (const std::string& folder : MappedSitePackages()) {
    roots.push_back({folder, "the training's site-packages"});
  }
  roots.insert(roots.end(), settings.cupti_roots.begin(), settings.cupti_roots.end());
  return roots;
}

}  // namespace ftprof::inject
