// Stand-in for tests, never shipped: what one context's GPU executes, and when.
#include "testing/timeline.h"

#include <algorithm>
#include <set>

namespace ftprof::standin {
namespace {

constexpr char kCycles[] = "sm__cycles_active";
constexpr char kPatched[] = "smsp__sass_";  // how patched metrics begin

int IndexIn(const std::vector<std::string>& sorted, const std::string& name) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), name);
  if (found == sorted.end() || *found != name) return -1;
  return static_cast<int>(found - sorted.begin());
}

// floor(count * part / whole) without overflow.
std::uint64_t Share(std::uint64_t count, std::uint64_t part, std::uint64_t whole) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(count) * part / whole);
}

// All multiprocessors, active over the whole duration.
std::uint64_t DefaultCycles(const DeviceScript& device, std::uint64_t duration_ns) {
  return Share(static_cast<std::uint64_t>(device.multiprocessors) *
                   static_cast<std::uint64_t>(device.clock_khz),
               duration_ns, 1000000);
}

}  // namespace

KernelTable::KernelTable(const Script& script, const DeviceScript& device) {
  std::set<std::string> metrics = {kCycles};
  for (const KernelScript& kernel : script.kernels) {
    for (const auto& [metric, count] : kernel.counts) metrics.insert(metric);
  }
  metrics_.assign(metrics.begin(), metrics.end());
  for (const KernelScript& kernel : script.kernels) {
    kernels_.push_back(kernel.name);
    durations_.push_back(kernel.duration_ns);
    std::vector<std::uint64_t> counts(metrics_.size());
    counts[static_cast<std::size_t>(MetricIndex(kCycles))] =
        kernel.cycles.value_or(DefaultCycles(device, kernel.duration_ns));
    for (const auto& [metric, count] : kernel.counts) {
      counts[static_cast<std::size_t>(MetricIndex(metric))] = count;
    }
    counts_.push_back(counts);
    for (std::size_t i = 0; i < metrics_.size(); ++i) {
      if (!script.patch_graphs && metrics_[i].rfind(kPatched, 0) == 0) counts[i] = 0;
    }
    counts_of_graphs_.push_back(std::move(counts));
  }
}

int KernelTable::MetricIndex(const std::string& metric) const { return IndexIn(metrics_, metric); }

int KernelTable::KernelIndex(const std::string& kernel) const { return IndexIn(kernels_, kernel); }

Timeline::Launch Timeline::Append(KernelRun run, std::uint64_t slowdown, std::uint64_t now_ns) {
  Retire(now_ns);
  const std::uint64_t duration = table_->Duration(run.kernel) * slowdown;
  const std::uint64_t start = std::max(now_ns, free_at_ns_);
  const bool joined = !queue_.empty() && queue_.back().run == run &&
                      queue_.back().duration_ns == duration && start == free_at_ns_;
  if (joined) {
    ++queue_.back().count;
  } else {
    queue_.push_back({run, start, duration, 1});
  }
  ++pending_;
  free_at_ns_ = start + duration;
  return {start, duration, joined};
}

void Timeline::AddDone(KernelRun run, std::uint64_t times) {
  const std::vector<std::uint64_t>& counts = table_->Counts(run);
  for (std::size_t i = 0; i < counts.size(); ++i) done_[i] += counts[i] * times;
  pending_ -= times;
}

void Timeline::Retire(std::uint64_t now_ns) {
  while (!queue_.empty()) {
    Work& work = queue_.front();
    if (now_ns < work.start_ns) return;
    const std::uint64_t whole =
        work.duration_ns == 0 ? work.count
                              : std::min((now_ns - work.start_ns) / work.duration_ns, work.count);
    AddDone(work.run, whole);
    work.count -= whole;
    work.start_ns += whole * work.duration_ns;
    if (work.count != 0) return;
    queue_.pop_front();
  }
}

std::vector<std::uint64_t> Timeline::Read(std::uint64_t now_ns) {
  Retire(now_ns);
  std::vector<std::uint64_t> counts = done_;
  if (queue_.empty() || now_ns <= queue_.front().start_ns) return counts;
  const Work& running = queue_.front();
  const std::vector<std::uint64_t>& whole = table_->Counts(running.run);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i] += Share(whole[i], now_ns - running.start_ns, running.duration_ns);
  }
  return counts;
}

std::uint64_t Timeline::WhenPendingAtMost(std::uint64_t limit, std::uint64_t now_ns) {
  Retire(now_ns);
  if (pending_ <= limit) return now_ns;
  std::uint64_t excess = pending_ - limit;
  for (const Work& work : queue_) {
    if (excess <= work.count) return work.start_ns + excess * work.duration_ns;
    excess -= work.count;
  }
  return free_at_ns_;
}

}  // namespace ftprof::standin
