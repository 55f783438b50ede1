// Test program for the stand-ins, never shipped: one of its threads, which launches kernels.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "testing/program_cuda.h"
#include "testing/program_options.h"

namespace ftprof::standin {

// Launches on one stream of one context; used by one thread. A failed call is printed and ends its
// work.
class Worker {
 public:
  Worker(const ProgramOptions& options, CUcontext context) : options_(options), context_(context) {}

  bool Prepare();
  // The rounds from first to last, spread over their share of the run's time since its begin.
  bool Run(std::uint64_t first, std::uint64_t last, std::chrono::steady_clock::time_point begin);
  void Finish();

  // "gemm 1000 softmax 50": what was launched.
  std::string Launched() const;

 private:
  static constexpr std::uint64_t kGraphSize = 10;

  bool LaunchRound(std::uint64_t round);
  bool Launch(std::size_t kernel, std::uint64_t times);
  bool LaunchOne(std::size_t kernel);
  bool CaptureGraph(std::size_t kernel);
  void DropGraph(std::size_t kernel);

  const ProgramOptions& options_;
  CUcontext context_;
  CUstream stream_ = nullptr;
  std::vector<CUfunction> functions_;
  std::vector<CUgraphExec> graphs_;
  std::vector<std::uint64_t> launched_;
};

}  // namespace ftprof::standin
