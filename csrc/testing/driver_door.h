// Stand-in for tests, never shipped: how the stand-in CUPTI reaches the stand-in driver. The real
// ones talk over interfaces that NVIDIA does not publish.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "testing/clock.h"

namespace ftprof::standin {

struct ContextView {
  std::uint64_t id;  // a new one each time a primary context comes to life
  int device;        // the ordinal, as the process sees it
  CUresult state;    // CUDA_SUCCESS while it can be used
  bool current;      // on the calling thread
};

struct DriverDoor {
  Clock clock;
  // Whether the calling thread is one of the test program's own.
  bool (*in_program)();
  // CUDA_SUCCESS between cuInit and the process's exit, in the process that called cuInit.
  CUresult (*state)();
  // False for what is no context, or no longer one.
  bool (*find_context)(CUcontext context, ContextView* view);
  // The place of a visible device in the script, or -1.
  int (*device_in_script)(int ordinal);
  // Fails, and invalidates captures, where the calling thread may not make an unsafe call.
  CUresult (*forbid_unsafe)();
  // Whether any stream of the context is being captured.
  bool (*is_capturing)(CUcontext context);
  CUresult (*synchronize)(CUcontext context, std::uint64_t id);
  // Of each metric (a name without rollup) what the context has executed up to *at_ns, which is
  // the moment of the call.
  CUresult (*read)(CUcontext context, std::uint64_t id, const char* const* metrics,
                   std::size_t num_metrics, std::uint64_t* counts, std::uint64_t* at_ns);
  // While set, kernels that are launched run slower (the script's patched_slowdown).
  void (*set_patched)(CUcontext context, std::uint64_t id, bool patched);
  // Called after a context came to life and before it goes, on the thread that does it.
  void (*observe)(void (*observer)(CUcontext context, bool created));
};

// The symbol that the stand-in libcuda.so.1 exports.
inline constexpr char kDriverDoorSymbol[] = "ftprofStandinDriverDoor";
using DriverDoorFunction = const DriverDoor* (*)();

}  // namespace ftprof::standin
