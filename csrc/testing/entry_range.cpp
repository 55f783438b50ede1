// Stand-in for tests, never shipped: libcupti's range profiler.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "testing/evidence.h"
#include "testing/range_session.h"

using namespace ftprof::standin;

namespace {

using Session = CUpti_RangeProfiler_Object;

std::mutex& Mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

// Shared, so that a call under way outlives a Disable on another thread.
std::map<Session*, std::shared_ptr<Session>>& Sessions() {
  static auto* sessions = new std::map<Session*, std::shared_ptr<Session>>;
  return *sessions;
}

std::shared_ptr<Session> FindSession(Session* handle) {
  const std::lock_guard<std::mutex> lock(Mutex());
  const auto found = Sessions().find(handle);
  return found == Sessions().end() ? nullptr : found->second;
}

// What a call on the context of a session answers before it does anything.
CUptiResult CheckContext(const char* function, const Session& session) {
  ContextView view{};
  if (!Door()->find_context(session.context, &view) || view.id != session.context_id) {
    return CUPTI_ERROR_INVALID_CONTEXT;
  }
  if (view.state != CUDA_SUCCESS) {
    const int place = Door()->device_in_script(view.device);
    return static_cast<CUptiResult>(
        TheScript().devices[static_cast<std::size_t>(place)].lost_cupti_code);
  }
  if (TheScript().require_current && !view.current) {
    Violation(std::string(function) + " was called on a thread where its context is not current");
    return CUPTI_ERROR_INVALID_CONTEXT;
  }
  if (Door()->spoil_captures(session.context)) {
    Violation(std::string(function) + " invalidated a stream capture");
    return CUPTI_ERROR_UNKNOWN;
  }
  return CUPTI_SUCCESS;
}

// body(session) for a session that is enabled, on a context that can be used, one thread at a time.
template <typename Params, typename Body>
CUptiResult SessionCall(const char* function, Params* params, std::size_t size, Body body) {
  const bool readable = params != nullptr && params->structSize == size;
  const std::shared_ptr<Session> session =
      readable ? FindSession(params->pRangeProfilerObject) : nullptr;
  const int device = session ? session->device : -1;
  const CUptiResult result = TargetCall(function, params, size, device, [&] {
    if (!session) {
      Violation(std::string(function) + " was called on no session");
      return CUPTI_ERROR_INVALID_PARAMETER;
    }
    std::unique_lock<std::mutex> lock(session->mutex, std::try_to_lock);
    if (!lock) {
      Violation(std::string(function) + " was called while another thread was in the session");
      lock.lock();
    }
    if (const CUptiResult unusable = CheckContext(function, *session)) return unusable;
    return body(*session);
  });
  if (session && result != CUPTI_SUCCESS) session->faulted = true;
  return result;
}

CUptiResult Enable(CUpti_RangeProfiler_Enable_Params* params) {
  if (!ProfilerInitialized()) {
    Violation("cuptiRangeProfilerEnable was called before cuptiProfilerInitialize");
    return CUPTI_ERROR_NOT_INITIALIZED;
  }
  ContextView view{};
  if (params->ctx == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
  if (!Door()->find_context(params->ctx, &view)) return CUPTI_ERROR_INVALID_CONTEXT;
  auto session = std::make_shared<Session>(params->ctx, view);
  if (const CUptiResult result = CheckContext("cuptiRangeProfilerEnable", *session)) return result;
  const std::lock_guard<std::mutex> lock(Mutex());
  for (const auto& [handle, other] : Sessions()) {
    if (other->context != session->context || other->context_id != session->context_id) continue;
    // Where its Disable has failed the caller cannot know that it is still there.
    if (!other->faulted) Violation("cuptiRangeProfilerEnable was called twice on one context");
    return CUPTI_ERROR_INVALID_OPERATION;
  }
  params->pRangeProfilerObject = session.get();
  Sessions().emplace(session.get(), session);
  return CUPTI_SUCCESS;
}

CUptiResult Disable(Session* handle) {
  const std::shared_ptr<Session> session = FindSession(handle);
  if (!session) {
    Violation("cuptiRangeProfilerDisable was called on no session");
    return CUPTI_ERROR_INVALID_PARAMETER;
  }
  const std::lock_guard<std::mutex> of_session(session->mutex);
  const CUptiResult result = CheckContext("cuptiRangeProfilerDisable", *session);
  session->Close();
  const std::lock_guard<std::mutex> lock(Mutex());
  Sessions().erase(handle);
  return result;
}

}  // namespace

namespace ftprof::standin {

std::size_t OpenSessions(int device) {
  const std::lock_guard<std::mutex> lock(Mutex());
  return static_cast<std::size_t>(
      std::count_if(Sessions().begin(), Sessions().end(), [device](const auto& entry) {
        ContextView view{};
        const Session& session = *entry.second;
        const bool alive = Door()->find_context(session.context, &view);
        return alive && view.id == session.context_id && (device < 0 || device == session.device);
      }));
}

}  // namespace ftprof::standin

CUptiResult cuptiRangeProfilerEnable(CUpti_RangeProfiler_Enable_Params* params) {
  ContextView view{};
  const DriverDoor* door = Door();
  const bool known = params != nullptr && door != nullptr && door->state() == CUDA_SUCCESS &&
                     door->find_context(params->ctx, &view);
  return TargetCall(__func__, params, CUpti_RangeProfiler_Enable_Params_STRUCT_SIZE,
                    known ? view.device : -1, [params] { return Enable(params); });
}

CUptiResult cuptiRangeProfilerDisable(CUpti_RangeProfiler_Disable_Params* params) {
  const std::shared_ptr<Session> session =
      params == nullptr ? nullptr : FindSession(params->pRangeProfilerObject);
  const CUptiResult result = TargetCall(
      __func__, params, CUpti_RangeProfiler_Disable_Params_STRUCT_SIZE,
      session ? session->device : -1, [params] { return Disable(params->pRangeProfilerObject); });
  if (session && result != CUPTI_SUCCESS) session->faulted = true;
  return result;
}

CUptiResult cuptiRangeProfilerGetCounterDataSize(
    CUpti_RangeProfiler_GetCounterDataSize_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_GetCounterDataSize_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.GetCounterDataSize(params); });
}

CUptiResult cuptiRangeProfilerCounterDataImageInitialize(
    CUpti_RangeProfiler_CounterDataImage_Initialize_Params* params) {
  return SessionCall(__func__, params,
                     CUpti_RangeProfiler_CounterDataImage_Initialize_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.InitializeImage(params); });
}

CUptiResult cuptiRangeProfilerSetConfig(CUpti_RangeProfiler_SetConfig_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_SetConfig_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.SetConfig(*params); });
}

CUptiResult cuptiRangeProfilerStart(CUpti_RangeProfiler_Start_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_Start_Params_STRUCT_SIZE,
                     [](Session& session) { return session.Start(); });
}

CUptiResult cuptiRangeProfilerStop(CUpti_RangeProfiler_Stop_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_Stop_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.Stop(params); });
}

CUptiResult cuptiRangeProfilerPushRange(CUpti_RangeProfiler_PushRange_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_PushRange_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.Push(params->pRangeName); });
}

CUptiResult cuptiRangeProfilerPopRange(CUpti_RangeProfiler_PopRange_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_PopRange_Params_STRUCT_SIZE,
                     [](Session& session) { return session.Pop(); });
}

CUptiResult cuptiRangeProfilerDecodeData(CUpti_RangeProfiler_DecodeData_Params* params) {
  return SessionCall(__func__, params, CUpti_RangeProfiler_DecodeData_Params_STRUCT_SIZE,
                     [params](Session& session) { return session.Decode(params); });
}

CUptiResult cuptiRangeProfilerGetCounterDataInfo(
    CUpti_RangeProfiler_GetCounterDataInfo_Params* params) {
  return HostCall(
      __func__, params, CUpti_RangeProfiler_GetCounterDataInfo_Params_STRUCT_SIZE, [params] {
        const auto image =
            CounterImage::Decode(params->pCounterDataImage, params->counterDataImageSize);
        if (!image) return CUPTI_ERROR_INVALID_PARAMETER;
        params->numTotalRanges = image->ranges.size();
        Overwrite("numTotalRanges", &params->numTotalRanges);
        return CUPTI_SUCCESS;
      });
}

CUptiResult cuptiRangeProfilerCounterDataGetRangeInfo(
    CUpti_RangeProfiler_CounterData_GetRangeInfo_Params* params) {
  return HostCall(
      __func__, params, CUpti_RangeProfiler_CounterData_GetRangeInfo_Params_STRUCT_SIZE, [params] {
        const auto image =
            CounterImage::Decode(params->pCounterDataImage, params->counterDataImageSize);
        if (!image || params->rangeIndex >= image->ranges.size()) {
          return CUPTI_ERROR_INVALID_PARAMETER;
        }
        // Valid until this thread's next call: who keeps it is not documented.
        static thread_local char name[128];
        (void)image->ranges[params->rangeIndex].name.copy(name, sizeof name - 1);
        name[std::min(image->ranges[params->rangeIndex].name.size(), sizeof name - 1)] = '\0';
        params->rangeName = name;
        return CUPTI_SUCCESS;
      });
}
