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

struct CaptureCall {
  enum What { kBegins, kEnds, kDestroysStream } what;
  CUstream stream;
  bool exits;  // or enters the call
  CUresult result;
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
  // Invalidates every capture that is under way on the context, whatever the calling thread's
  // capture mode is. Whether there was one.
  bool (*spoil_captures)(CUcontext context);
  CUresult (*synchronize)(CUcontext context, std::uint64_t id);
  // Of each metric (a name without rollup) what the context has executed up to *at_ns, which is
  // the moment of the call.
  CUresult (*read)(CUcontext context, std::uint64_t id, const char* const* metrics,
                   std::size_t num_metrics, std::uint64_t* counts, std::uint64_t* at_ns);
  // While set, kernels that are launched run slower (the script's patched_slowdown).
  void (*set_patched)(CUcontext context, std::uint64_t id, bool patched);
  // Called after a context came to life and before it goes, on the thread that does it.
  void (*observe)(void (*observer)(CUcontext context, bool created));
  // Called around the calls that begin and end a capture, on the thread that makes them.
  void (*observe_captures)(void (*observer)(const CaptureCall& call));
};

// The symbol that the stand-in libcuda.so.1 exports.
inline constexpr char kDriverDoorSymbol[] = "ftprofStandinDriverDoor";
using DriverDoorFunction = const DriverDoor* (*)();

}  // namespace ftprof::standin
