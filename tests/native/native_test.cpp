// Runs the native code without Python, so that sanitizers see it whole.
//
//   ftprof_native_test [ROOT...]   ROOT: a folder to search for CUPTI, such as a site-packages
//
// Without a ROOT only the parts that need no CUPTI run.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "counters/cupti_chip.h"
#include "counters/metric_catalogue.h"
#include "counters/plan.h"
#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "cupti/library.h"
#include "cupti/version.h"
#include "cupti/zero_pages.h"

namespace {

using ftprof::counters::Chip;
using ftprof::counters::Group;
using ftprof::counters::MakePlan;
using ftprof::counters::Plan;
using ftprof::counters::Role;
using ftprof::cupti::CuptiError;
using ftprof::cupti::GiveBackZeroPages;
using ftprof::cupti::HostProfiler;
using ftprof::cupti::Library;
using Names = std::vector<std::string>;

int failures = 0;

void Expect(bool condition, const char* what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what);
}

std::string ErrorOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const CuptiError& error) {
    return error.what();
  }
  return {};
}

// A chip whose passes hold the metrics of one letter only, besides the cycles.
Chip FakeChip(std::map<std::string, char> letters) {
  const auto has_metric = [letters](const std::string& name) { return letters.count(name) != 0; };
  const auto num_passes = [letters](const Names& names) {
    std::set<char> needed;
    for (const std::string& name : names) needed.insert(letters.at(name));
    needed.erase('*');
    return std::max<std::size_t>(needed.size(), 1);
  };
  return {"FAKE", has_metric, num_passes};
}

Names WithPrefix(const Names& names) {
  Names full;
  for (const std::string& name : names) full.push_back("sm__ops_path_tensor_" + name + ".sum");
  full.push_back("sm__cycles_active.sum");
  return full;
}

std::vector<Names> GroupsOf(const Plan& plan, Role role) {
  std::vector<Names> groups;
  for (const Group& group : plan.groups) {
    if (group.role == role) groups.push_back(group.metrics);
  }
  return groups;
}

std::map<std::string, char> Letters(const std::map<std::string, char>& tensor) {
  std::map<std::string, char> letters = {{"sm__cycles_active.sum", '*'},
                                         {"smsp__thread_inst_executed.sum", '*'},
                                         {"smsp__sass_thread_inst_executed.sum", 's'}};
  for (const auto& [name, letter] : tensor)
    letters["sm__ops_path_tensor_" + name + ".sum"] = letter;
  return letters;
}

void TestFewestGroups() {
  const Plan plan = MakePlan(FakeChip(Letters({{"src_bf16_dst_fp32", 'a'},
                                               {"src_fp16_dst_fp32", 'b'},
                                               {"src_fp16_dst_fp32_realtime", 'a'},
                                               {"src_fp8", 'c'},
                                               {"src_tf32_dst_fp32", 'd'},
                                               {"src_fp64", 'c'}})));
  Expect(GroupsOf(plan, Role::kBase) ==
             std::vector<Names>{WithPrefix({"src_bf16_dst_fp32", "src_fp16_dst_fp32_realtime"})},
         "the twin is used where it lets a metric into the base group");
  Expect(GroupsOf(plan, Role::kRotating) == std::vector<Names>{WithPrefix({"src_fp8", "src_fp64"}),
                                                               WithPrefix({"src_tf32_dst_fp32"})},
         "two rotating groups");
  Expect(plan.unsupported.empty(), "all is supported");
}

// A metric that needs two passes is replaced by its parts, or is unsupported where it has none.
void TestPartsAndUnsupported() {
  std::map<std::string, char> letters = Letters({{"src_fp16", 'x'},
                                                 {"op_hgmma_src_fp16", 'a'},
                                                 {"op_hmma_src_fp16_dst_fp16", 'b'},
                                                 {"op_hmma_src_fp16_dst_fp32", 'c'},
                                                 {"src_fp64", 'y'}});
  Chip chip = FakeChip(letters);
  chip.num_passes = [inner = chip.num_passes](const Names& names) {
    const bool two = std::any_of(names.begin(), names.end(), [](const std::string& name) {
      return name == "sm__ops_path_tensor_src_fp16.sum" ||
             name == "sm__ops_path_tensor_src_fp64.sum";
    });
    return inner(names) + (two ? 1 : 0);
  };
  const Plan plan = MakePlan(chip);
  Expect(GroupsOf(plan, Role::kBase) == std::vector<Names>{WithPrefix({"op_hgmma_src_fp16"})},
         "the first part is in the base group");
  Expect(GroupsOf(plan, Role::kRotating) ==
             std::vector<Names>{WithPrefix({"op_hmma_src_fp16_dst_fp32"}),
                                WithPrefix({"op_hmma_src_fp16_dst_fp16"})},
         "the other parts rotate");
  Expect(
      plan.unsupported.size() == 1 && plan.unsupported[0].metric == "sm__ops_path_tensor_src_fp64",
      "fp64 is unsupported");
}

void TestChipsThatCannotBePlanned() {
  const Chip empty = FakeChip({});
  Expect(ErrorOf([&] { MakePlan(empty); }).find("sm__cycles_active") != std::string::npos,
         "a chip without cycles is an error");
  Chip broken = FakeChip(Letters({{"src_fp64", 'a'}}));
  broken.num_passes = [](const Names&) -> std::size_t { throw std::runtime_error("scheduler"); };
  bool thrown = false;
  try {
    MakePlan(broken);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  Expect(thrown, "the chip's own error passes through");
  Chip zero = FakeChip(Letters({{"src_fp64", 'a'}}));
  zero.num_passes = [](const Names&) -> std::size_t { return 0; };
  const Plan plan = MakePlan(zero);
  Expect(GroupsOf(plan, Role::kRotating).empty() && !plan.unsupported.empty(),
         "zero passes count as no pass");
}

void TestVersions() {
  using ftprof::cupti::ReleaseOf;
  Expect(ReleaseOf(24).Text() == "12.6" && ReleaseOf(28).Text() == "12.9", "counted releases");
  Expect(ReleaseOf(130001).Text() == "13.0" && ReleaseOf(130402).Text() == "13.4", "13.x");
  Expect(ReleaseOf(0) < ftprof::cupti::kOldestSupported, "an unknown release is old");
}

void PlanChip(const Library& library, const std::string& name) {
  const Plan plan = MakePlan(ftprof::counters::ChipFromCupti(library, name));
  Expect(!plan.groups.empty() && plan.unsupported.empty(), name.c_str());
  for (const Group& group : plan.groups) {
    Expect(NumPasses(library, name, group.metrics) == 1, name.c_str());
  }
}

void TestHostProfiler(const Library& library) {
  HostProfiler first(library, "GH100");
  HostProfiler second(std::move(first));
  HostProfiler third(library, "GA100");
  third = std::move(second);
  Expect(third.HasMetric("sm__ops_path_tensor_src_fp8.sum"), "the moved object works, for GH100");
  Expect(third.BaseMetrics().size() > 1000, "base metrics");
  Expect(!third.HasMetric("sm__no_such_metric.sum"), "unknown metric");
  third.AddMetrics({"sm__cycles_active.sum"});
  Expect(!third.ConfigImage().empty(), "config image");
  Expect(!ErrorOf([&] { third.AddMetrics({"sm__no_such_metric.sum"}); }).empty(), "refused metric");
  Expect(!ErrorOf([&] { third.SubMetrics("sm__no_such_metric.sum"); }).empty(), "no submetrics");
  Expect(!ErrorOf([&] { HostProfiler(library, "XX999"); }).empty(), "unknown chip");
  Expect(!ErrorOf([&] { NumPasses(library, {}); }).empty(), "empty config image");
}

// Six of eight written pages hold nothing but zeros.
void TestZeroPages() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* mapped =
      mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Expect(mapped != MAP_FAILED, "memory for a test");
  auto* memory = static_cast<std::byte*>(mapped);
  std::fill_n(memory, 8 * page, std::byte{0});
  memory[0] = memory[6 * page - 1] = std::byte{1};  // the first byte of a page, and the last of one
  const std::vector<std::byte> before(memory, memory + 8 * page);
  if (syscall(SYS_mlock, memory, 8 * page) == 0) {  // sanitizers make mlock do nothing
    Expect(GiveBackZeroPages(memory, 8 * page) == 0, "locked memory is left alone");
    (void)syscall(SYS_munlock, memory, 8 * page);
  }
  Expect(GiveBackZeroPages(memory, 8 * page) == 6 * page, "pages of zeros are given back");
  Expect(std::equal(before.begin(), before.end(), memory), "what they hold reads the same");
  memory[page] = std::byte{2};
  Expect(memory[page] == std::byte{2}, "a page that was given back can be written");
  (void)munmap(mapped, 8 * page);
}

void TestWithCupti(const std::vector<ftprof::cupti::SearchRoot>& roots) {
  const Library library = Library::Load(roots);
  std::printf("CUPTI %s: %s\n", library.info().version.c_str(), library.info().path.c_str());
  const Library again = Library::Load({});
  Expect(again.info().origin == "already mapped", "a second load finds the first");
  Expect(SupportedChips(library).size() >= 25, "supported chips");
  TestHostProfiler(library);
  for (const char* chip :
       {"TU102", "TU116", "GA100", "GH100", "AD102", "GB100", "GB110", "GB202"}) {
    PlanChip(library, chip);
  }
}

}  // namespace

int main(int argc, char** argv) {
  TestVersions();
  TestFewestGroups();
  TestPartsAndUnsupported();
  TestChipsThatCannotBePlanned();
  TestZeroPages();
  const std::string nowhere = ErrorOf([] { Library::Load({{"/nonexistent", "test"}}); });
  Expect(nowhere.find("no libcupti under /nonexistent") != std::string::npos, "no CUPTI");
  std::vector<ftprof::cupti::SearchRoot> roots;
  for (int i = 1; i < argc; ++i) roots.push_back({argv[i], "argument"});
  if (!roots.empty()) TestWithCupti(roots);
  std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
