#include "python/cuda_contexts.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "counters/own_thread.h"
#include "cupti/driver.h"
#include "cupti/error.h"
#include "cupti/shared_object.h"

namespace ftprof {
namespace {

using cupti::SharedObject;

std::optional<CUcontext> CurrentContext() {
  const SharedObject driver = SharedObject::FindMapped("libcuda.so.1");
  decltype(&cuCtxGetCurrent) get_current = nullptr;
  CUcontext context = nullptr;
  if (!driver || !driver.Find("cuCtxGetCurrent", &get_current)) return std::nullopt;
  const CUresult result = get_current(&context);
  // Also in a child that was forked afterwards: then no context is anybody's.
  if (result == CUDA_ERROR_NOT_INITIALIZED || result == CUDA_ERROR_DEINITIALIZED)
    return std::nullopt;
  if (result != CUDA_SUCCESS) throw cupti::CuptiError("cuCtxGetCurrent", result, "", {});
  return context;
}

void Synchronize(const FoundContext& context) {
  const cupti::Driver driver = cupti::Driver::FromMapped();
  driver.MakeCurrent(context.handle);
  driver.RelaxCaptureMode();  // or a capture that another thread has under way would be spoilt
  decltype(&cuCtxSynchronize) synchronize = nullptr;
  // What it answers is the application's own affair: it will hear of it from its next call.
  if (SharedObject::FindMapped("libcuda.so.1").Find("cuCtxSynchronize", &synchronize)) {
    (void)synchronize();
  }
}

}  // namespace

std::vector<FoundContext> FindContexts() {
  const std::optional<CUcontext> current = CurrentContext();
  if (!current) return {};
  const cupti::Driver driver = cupti::Driver::FromMapped();
  const cupti::RelaxedCaptureMode relaxed(driver);
  std::vector<FoundContext> found;
  for (int device = 0, count = driver.DeviceCount(); device < count; ++device) {
    if (!driver.PrimaryContextIsActive(device)) continue;
    found.push_back({cupti::PrimaryContext(driver, device).get(), device, true});
  }
  if (*current == nullptr) return found;
  const auto first = std::find_if(found.begin(), found.end(),
                                  [&](const auto& context) { return context.handle == *current; });
  if (first == found.end()) {
    found.insert(found.begin(), {*current, static_cast<int>(driver.CurrentDevice()), false});
  } else {
    std::rotate(found.begin(), first, first + 1);
  }
  return found;
}

std::string DriverVersion() {
  const int version = cupti::Driver::FromMapped().Version();
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

struct Settling::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

Settling::Settling(std::vector<FoundContext> contexts) : state_(std::make_shared<State>()) {
  counters::OwnThread thread("ftprof-settle",
                             [state = state_.shared(), contexts = std::move(contexts)] {
                               for (const FoundContext& context : contexts) {
                                 try {
                                   Synchronize(context);
                                 } catch (const std::exception&) {
                                   // A context that has gone has nothing left to do.
                                 }
                               }
                               const std::lock_guard<std::mutex> lock(state->mutex);
                               state->done = true;
                               state->changed.notify_all();
                             });
  thread.Detach();
}

bool Settling::Done(std::chrono::microseconds patience) {
  State* state = state_.get();
  if (state == nullptr) return true;
  std::unique_lock<std::mutex> lock(state->mutex);
  return state->changed.wait_for(lock, patience, [&] { return state->done; });
}

}  // namespace ftprof
