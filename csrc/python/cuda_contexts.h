// The CUDA contexts of this process that can be found without a CUPTI subscriber.
#pragma once

#include <cuda.h>

#include <chrono>
#include <string>
#include <vector>

#include "python/process_bound.h"

namespace ftprof {

struct FoundContext {
  CUcontext handle = nullptr;
  int device = 0;  // its ordinal, as the process numbers its visible devices
  bool primary = false;
};

// The calling thread's current context first, then the other active primary ones. Empty where no
// CUDA driver is mapped, or nobody has initialised it. Starts nothing. Throws CuptiError.
std::vector<FoundContext> FindContexts();

// The newest CUDA that the mapped driver can do, such as "13.0". Throws CuptiError.
std::string DriverVersion();

// Waits, on a thread of its own, until the GPU has done what was launched into these contexts. That
// thread stays behind where the GPU hangs.
class Settling {
 public:
  explicit Settling(std::vector<FoundContext> contexts);

  // False where that took too long.
  bool Done(std::chrono::microseconds patience);

 private:
  struct State;

  ProcessBound<State> state_;
};

}  // namespace ftprof
