// Stand-in for tests, never shipped: libcupti's subscriber, with the two resource callbacks about
// contexts, and those around the driver's calls that begin and end a stream capture.
#include <cupti_callbacks.h>
#include <cupti_driver_cbid.h>

#include <mutex>
#include <set>

#include "testing/cupti_state.h"

using namespace ftprof::standin;

struct CUpti_Subscriber_st {
  CUpti_CallbackFunc callback = nullptr;
  void* userdata = nullptr;
  std::set<CUpti_CallbackId> resources;
  std::set<CUpti_CallbackId> calls;  // of the driver
};

namespace {

// Recursive: a callback may unsubscribe.
std::recursive_mutex& Mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

CUpti_Subscriber_st& TheSubscriber() {
  static auto* subscriber = new CUpti_Subscriber_st;
  return *subscriber;
}

void Notify(CUcontext context, bool created) {
  const CUpti_CallbackId id =
      created ? CUPTI_CBID_RESOURCE_CONTEXT_CREATED : CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING;
  CUpti_Subscriber_st subscriber;
  {
    const std::lock_guard<std::recursive_mutex> lock(Mutex());
    subscriber = TheSubscriber();
  }
  if (subscriber.callback == nullptr || subscriber.resources.count(id) == 0) return;
  CUpti_ResourceData data{};
  data.context = context;
  subscriber.callback(subscriber.userdata, CUPTI_CB_DOMAIN_RESOURCE, id, &data);
}

void NotifyCapture(const CaptureCall& call) {
  constexpr CUpti_CallbackId kIds[] = {CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCapture_v2,
                                       CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture,
                                       CUPTI_DRIVER_TRACE_CBID_cuStreamDestroy_v2};
  const CUpti_CallbackId id = kIds[call.what];
  CUpti_Subscriber_st subscriber;
  {
    const std::lock_guard<std::recursive_mutex> lock(Mutex());
    subscriber = TheSubscriber();
  }
  if (subscriber.callback == nullptr || subscriber.calls.count(id) == 0) return;
  CUresult result = call.result;
  CUpti_CallbackData data{};
  data.callbackSite = call.exits ? CUPTI_API_EXIT : CUPTI_API_ENTER;
  data.functionParams = &call.stream;
  data.functionReturnValue = &result;
  subscriber.callback(subscriber.userdata, CUPTI_CB_DOMAIN_DRIVER_API, id, &data);
}

// body(subscriber) for the subscriber that is there.
template <typename Body>
CUptiResult SubscriberCall(const char* function, CUpti_SubscriberHandle handle, Body body) {
  return ThroughGate<CUptiResult>(&Gate(), function, -1, [&] {
    const std::lock_guard<std::recursive_mutex> lock(Mutex());
    CUpti_Subscriber_st& subscriber = TheSubscriber();
    if (handle != &subscriber || subscriber.callback == nullptr) {
      return CUPTI_ERROR_INVALID_PARAMETER;
    }
    return body(subscriber);
  });
}

void EnableOne(bool enable, CUpti_CallbackId id, std::set<CUpti_CallbackId>* enabled) {
  if (enable) {
    enabled->insert(id);
  } else {
    enabled->erase(id);
  }
}

}  // namespace

CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* handle, CUpti_CallbackFunc callback,
                           void* userdata) {
  return ThroughGate<CUptiResult>(&Gate(), __func__, -1, [=] {
    if (handle == nullptr || callback == nullptr) return CUPTI_ERROR_INVALID_PARAMETER;
    if (Door() == nullptr) return CUPTI_ERROR_NOT_INITIALIZED;
    const std::lock_guard<std::recursive_mutex> lock(Mutex());
    CUpti_Subscriber_st& subscriber = TheSubscriber();
    if (subscriber.callback != nullptr) return CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
    subscriber.callback = callback;
    subscriber.userdata = userdata;
    *handle = &subscriber;
    Door()->observe(&Notify);
    Door()->observe_captures(&NotifyCapture);
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle handle) {
  return SubscriberCall(__func__, handle, [](CUpti_Subscriber_st& subscriber) {
    subscriber = {};
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiEnableCallback(uint32_t enable, CUpti_SubscriberHandle handle,
                                CUpti_CallbackDomain domain, CUpti_CallbackId id) {
  return SubscriberCall(__func__, handle, [=](CUpti_Subscriber_st& subscriber) {
    if (domain == CUPTI_CB_DOMAIN_RESOURCE) EnableOne(enable != 0, id, &subscriber.resources);
    if (domain == CUPTI_CB_DOMAIN_DRIVER_API) EnableOne(enable != 0, id, &subscriber.calls);
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiEnableDomain(uint32_t enable, CUpti_SubscriberHandle handle,
                              CUpti_CallbackDomain domain) {
  return SubscriberCall(__func__, handle, [=](CUpti_Subscriber_st& subscriber) {
    if (domain != CUPTI_CB_DOMAIN_RESOURCE) return CUPTI_SUCCESS;
    for (const CUpti_CallbackId id :
         {CUPTI_CBID_RESOURCE_CONTEXT_CREATED, CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING}) {
      EnableOne(enable != 0, id, &subscriber.resources);
    }
    return CUPTI_SUCCESS;
  });
}
