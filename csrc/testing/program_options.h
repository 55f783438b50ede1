// Test program for the stand-ins, never shipped: its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftprof::standin {

// "NAME:COUNT" or "NAME:COUNT@FROM-TO": so many launches by every thread, evenly over this share of
// the run.
struct KernelOption {
  std::string name;
  std::uint64_t count = 0;
  double from = 0;
  double to = 1;
};

enum class ForkMoment { kNever, kBefore, kAfter, kExec };

struct ProgramOptions {
  int threads = 1;
  int processes = 1;
  std::vector<KernelOption> kernels;
  std::vector<int> devices = {0};
  double seconds = 0;  // the launches are spread over; 0: at once
  std::uint64_t rounds = 100;
  bool graphs = false;          // launch by graphs, captured once
  bool capture = false;         // and captured again in every round
  bool create_context = false;  // one thread more, on a context of its own
  bool subscribe = false;       // take CUPTI's subscription, as a profiler in the program would
  bool reset = false;           // half-way, reset the primary contexts and make them again
  bool synchronize = true;      // before the end
  bool print = false;           // a line for each thread, too
  ForkMoment fork = ForkMoment::kNever;
  int exit_code = 0;
  std::string end = "return";  // or exit, _exit, abort, or a signal's number
};

// Ends the process with its reason where the line is wrong.
ProgramOptions ParseOptions(int argc, char** argv);

}  // namespace ftprof::standin
