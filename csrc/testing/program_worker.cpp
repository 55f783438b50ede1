// Test program for the stand-ins, never shipped: one of its threads, which launches kernels.
#include "testing/program_worker.h"

#include <algorithm>
#include <cmath>
#include <thread>

namespace ftprof::standin {
namespace {

// How many of a kernel's launches belong before this share of the run.
std::uint64_t DueBy(const KernelOption& kernel, double share) {
  const double length = kernel.to - kernel.from;
  const double done = length <= 0 ? (share >= kernel.to ? 1.0 : 0.0)
                                  : std::clamp((share - kernel.from) / length, 0.0, 1.0);
  return static_cast<std::uint64_t>(std::llround(done * static_cast<double>(kernel.count)));
}

}  // namespace

bool Worker::Prepare() {
  const Cuda& cuda = TheCuda();
  CUmodule module = nullptr;
  if (!Succeeded("cuCtxSetCurrent", cuda.set_current(context_)) ||
      !Succeeded("cuStreamCreate", cuda.stream_create(&stream_, CU_STREAM_NON_BLOCKING)) ||
      !Succeeded("cuModuleLoadData", cuda.load(&module, "the kernels of the script"))) {
    return false;
  }
  launched_.resize(std::max(launched_.size(), options_.kernels.size()));
  functions_.assign(options_.kernels.size(), nullptr);
  graphs_.assign(options_.kernels.size(), nullptr);
  for (std::size_t i = 0; i < functions_.size(); ++i) {
    const char* name = options_.kernels[i].name.c_str();
    if (!Succeeded("cuModuleGetFunction", cuda.function(&functions_[i], module, name))) {
      return false;
    }
  }
  return true;
}

bool Worker::LaunchOne(std::size_t kernel) {
  return Succeeded("cuLaunchKernel", TheCuda().launch(functions_[kernel], 1, 1, 1, 1, 1, 1, 0,
                                                      stream_, nullptr, nullptr));
}

bool Worker::CaptureGraph(std::size_t kernel) {
  const Cuda& cuda = TheCuda();
  if (!Succeeded("cuStreamBeginCapture",
                 cuda.begin_capture(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL))) {
    return false;
  }
  bool launched = true;
  for (std::uint64_t i = 0; i < kGraphSize && launched; ++i) launched = LaunchOne(kernel);
  CUgraph graph = nullptr;
  if (!Succeeded("cuStreamEndCapture", cuda.end_capture(stream_, &graph)) || !launched) {
    return false;
  }
  const bool made = Succeeded("cuGraphInstantiate", cuda.instantiate(&graphs_[kernel], graph, 0));
  return Succeeded("cuGraphDestroy", cuda.graph_destroy(graph)) && made;
}

void Worker::DropGraph(std::size_t kernel) {
  if (graphs_[kernel] == nullptr) return;
  (void)Succeeded("cuGraphExecDestroy", TheCuda().exec_destroy(graphs_[kernel]));
  graphs_[kernel] = nullptr;
}

bool Worker::Launch(std::size_t kernel, std::uint64_t times) {
  while (options_.graphs && times >= kGraphSize) {
    if (graphs_[kernel] == nullptr && !CaptureGraph(kernel)) return false;
    if (!Succeeded("cuGraphLaunch", TheCuda().graph_launch(graphs_[kernel], stream_))) return false;
    if (options_.capture) DropGraph(kernel);
    times -= kGraphSize;
    launched_[kernel] += kGraphSize;
  }
  for (; times > 0; --times) {
    if (!LaunchOne(kernel)) return false;
    ++launched_[kernel];
  }
  return true;
}

bool Worker::LaunchRound(std::uint64_t round) {
  const auto rounds = static_cast<double>(options_.rounds);
  for (std::size_t i = 0; i < options_.kernels.size(); ++i) {
    const KernelOption& kernel = options_.kernels[i];
    const std::uint64_t before = DueBy(kernel, static_cast<double>(round) / rounds);
    const std::uint64_t after = DueBy(kernel, static_cast<double>(round + 1) / rounds);
    if (!Launch(i, after - before)) return false;
  }
  return true;
}

bool Worker::Run(std::uint64_t first, std::uint64_t last,
                 std::chrono::steady_clock::time_point begin) {
  if (!Succeeded("cuCtxSetCurrent", TheCuda().set_current(context_))) return false;
  for (std::uint64_t round = first; round < last; ++round) {
    const std::chrono::duration<double> due(options_.seconds * static_cast<double>(round) /
                                            static_cast<double>(options_.rounds));
    std::this_thread::sleep_until(
        begin + std::chrono::duration_cast<std::chrono::steady_clock::duration>(due));
    if (!LaunchRound(round)) return false;
  }
  return true;
}

void Worker::Finish() {
  for (std::size_t i = 0; i < graphs_.size(); ++i) DropGraph(i);
  if (stream_ != nullptr) (void)Succeeded("cuStreamDestroy", TheCuda().stream_destroy(stream_));
  stream_ = nullptr;
}

std::string Worker::Launched() const {
  std::string text;
  for (std::size_t i = 0; i < launched_.size(); ++i) {
    text += " " + options_.kernels[i].name + " " + std::to_string(launched_[i]);
  }
  return text;
}

}  // namespace ftprof::standin
