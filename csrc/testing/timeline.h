// Stand-in for tests, never shipped: what one context's GPU executes, and when.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "testing/script.h"

namespace ftprof::standin {

struct KernelRun {
  std::size_t kernel;
  bool of_graph;  // or of a launch on a stream
  bool operator==(const KernelRun& other) const {
    return kernel == other.kernel && of_graph == other.of_graph;
  }
};

// What each kernel counts, by metric, on one device.
class KernelTable {
 public:
  KernelTable(const Script& script, const DeviceScript& device);

  std::size_t num_metrics() const noexcept { return metrics_.size(); }
  // Of a name without rollup and twin; -1 where no kernel counts it.
  int MetricIndex(const std::string& metric) const;
  // -1 where there is no such kernel.
  int KernelIndex(const std::string& kernel) const;
  std::uint64_t Duration(std::size_t kernel) const { return durations_[kernel]; }
  const std::vector<std::uint64_t>& Counts(KernelRun run) const {
    return (run.of_graph ? counts_of_graphs_ : counts_)[run.kernel];
  }

 private:
  std::vector<std::string> metrics_;  // sorted
  std::vector<std::string> kernels_;  // sorted
  std::vector<std::uint64_t> durations_;
  std::vector<std::vector<std::uint64_t>> counts_;  // by kernel, then by metric
  // CUPTI patches the code of no kernel of a graph (H200, CUPTI 13.0): zero for patched metrics,
  // unless the script has it otherwise.
  std::vector<std::vector<std::uint64_t>> counts_of_graphs_;
};

// Kernels of one context run one after the other in the order of their launches, each at its
// duration. A kernel's counts grow evenly while it runs, in whole numbers, so that any two readings
// differ by exactly what was executed between them. Not thread-safe; times must not go back.
class Timeline {
 public:
  explicit Timeline(const KernelTable* table) : table_(table), done_(table->num_metrics()) {}

  struct Launch {
    std::uint64_t start_ns;
    std::uint64_t duration_ns;
    bool joined;  // it follows directly on such a launch of the same kernel and duration
  };
  Launch Append(KernelRun run, std::uint64_t slowdown, std::uint64_t now_ns);

  // The counts up to now, by metric.
  std::vector<std::uint64_t> Read(std::uint64_t now_ns);
  // When everything that was launched has run.
  std::uint64_t FreeAt() const noexcept { return free_at_ns_; }
  // When at most this many launches are still to be done.
  std::uint64_t WhenPendingAtMost(std::uint64_t limit, std::uint64_t now_ns);

 private:
  struct Work {
    KernelRun run;
    std::uint64_t start_ns;
    std::uint64_t duration_ns;  // of one of them
    std::uint64_t count;
  };

  void Retire(std::uint64_t now_ns);
  void AddDone(KernelRun run, std::uint64_t times);

  const KernelTable* table_;
  std::vector<std::uint64_t> done_;  // of whole kernels
  std::deque<Work> queue_;
  std::uint64_t pending_ = 0;
  std::uint64_t free_at_ns_ = 0;
};

}  // namespace ftprof::standin
