// Stand-in for tests, never shipped: everything that the stand-in libcuda.so.1 knows.
#pragma once

// Declares the functions under the names that libcuda exports them by.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "testing/driver_door.h"
#include "testing/ledger.h"
#include "testing/script.h"
#include "testing/timeline.h"

// The types behind the driver's handles. A context's object is never freed, so that a stale handle
// is recognised; id tells one life of a primary context from the next.
struct CUctx_st {
  int device = 0;
  bool primary = false;
  bool alive = false;
  std::uint64_t id = 0;
  unsigned flags = 0;
  bool patched = false;
  std::optional<ftprof::standin::Timeline> timeline;
  ftprof::standin::LedgerRecord* last_work = nullptr;
};

struct CUgraph_st {
  std::vector<std::size_t> kernels;
};

struct CUgraphExec_st {
  CUgraph_st graph;
};

// What belongs to one life of a context.
struct OfContext {
  CUcontext context = nullptr;
  std::uint64_t context_id = 0;
};

struct Capture {
  std::uint64_t id = 0;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  bool invalidated = false;
  CUgraph_st graph;
};

struct CUstream_st : OfContext {
  unsigned flags = 0;
  std::uint64_t free_at_ns = 0;
  std::optional<Capture> capture;
};

struct CUevent_st : OfContext {
  std::uint64_t at_ns = 0;
};

struct CUfunc_st : OfContext {
  std::size_t kernel = 0;
};

struct CUmod_st : OfContext {
  std::map<std::string, CUfunc_st> functions;
};

namespace ftprof::standin {

struct Device {
  const DeviceScript* script;
  int place;  // in the script
  KernelTable kernels;
  CUcontext primary = nullptr;
  unsigned retained = 0;
  unsigned flags = 0;
  std::uint64_t lost_at_ns = UINT64_MAX;
};

template <typename T>
using Owned = std::map<T*, std::unique_ptr<T>>;

struct DriverState {
  explicit DriverState(const Script& script)
      : clock(TheClock()), ledger(script.truth_dir, script.ledger_mib) {}

  std::mutex mutex;  // guards all that follows
  const Clock clock;
  Ledger ledger;
  std::vector<Device> devices;  // the visible ones
  std::vector<std::unique_ptr<CUctx_st>> contexts;
  Owned<CUstream_st> streams;
  Owned<CUevent_st> events;
  Owned<CUgraph_st> graphs;
  Owned<CUgraphExec_st> executables;
  Owned<CUmod_st> modules;
  std::map<CUdeviceptr, std::size_t> memory;
  CUdeviceptr next_address = 0x7f0000000000;
  std::uint64_t next_context_id = 1;
  std::uint64_t next_capture_id = 1;
};

using Lock = std::unique_lock<std::mutex>;

// Made by the first cuInit that succeeds, and never destroyed.
DriverState& State();

// The context on top of this thread's stack, or null. Objects of contexts live for ever.
CUcontext Current();

// CUPTI, which may come before cuInit: called after a context came to life and before it ends.
using ContextObserver = void (*)(CUcontext context, bool created);
void SetObserver(ContextObserver observer);
ContextObserver Observer();
using CaptureObserver = void (*)(const CaptureCall& call);
void SetCaptureObserver(CaptureObserver observer);
CaptureObserver TheCaptureObserver();

// CUDA_SUCCESS while the context can be used. The caller holds the lock.
CUresult Usable(const DriverState& state, CUcontext context);
CUresult Usable(const DriverState& state, const OfContext& object);

// Sleeps, without the lock, until the moment or until the context's device is lost; then answers
// whether this life of the context can still be used.
CUresult WaitUntil(DriverState* state, Lock* lock, CUcontext context, std::uint64_t moment_ns);

// Fails and invalidates captures where the calling thread may not make a potentially unsafe call,
// as cuThreadExchangeStreamCaptureMode describes it. The caller holds the lock.
CUresult ForbidUnsafe(DriverState* state);

// What any call of the range profiler does to the captures under way on its context.
bool SpoilCaptures(DriverState* state, CUcontext context);

// Whether a stream of the context is being captured; blocking: only those that synchronise with the
// legacy stream.
bool IsCapturing(const DriverState& state, CUcontext context, bool blocking);

// Puts a kernel on a context's GPU, waiting while too many are pending. Returns when it ends.
CUresult Enqueue(DriverState* state, Lock* lock, CUcontext context, KernelRun run,
                 std::uint64_t* end_ns);

}  // namespace ftprof::standin
