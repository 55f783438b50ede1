#include "cupti/subscriber.h"

#include <cupti_driver_cbid.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "cupti/process_calls.h"

namespace ftprof::cupti {
namespace {

constexpr CUpti_CallbackId kCaptureBegins[] = {
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCapture,
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCapture_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCapture_v2,
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCapture_v2_ptsz,
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCaptureToGraph,
    CUPTI_DRIVER_TRACE_CBID_cuStreamBeginCaptureToGraph_ptsz,
};
constexpr CUpti_CallbackId kCaptureEnds[] = {
    CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture,
    CUPTI_DRIVER_TRACE_CBID_cuStreamEndCapture_ptsz,
};

// After these answers of cuStreamEndCapture there is no less capturing than before.
constexpr CUresult kNotEnded[] = {
    CUDA_ERROR_INVALID_VALUE,
    CUDA_ERROR_NOT_INITIALIZED,
    CUDA_ERROR_DEINITIALIZED,
    CUDA_ERROR_INVALID_CONTEXT,
    CUDA_ERROR_INVALID_HANDLE,
    CUDA_ERROR_ILLEGAL_STATE,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
};

template <typename Range, typename Value>
bool Holds(const Range& range, const Value& value) {
  return std::find(std::begin(range), std::end(range), value) != std::end(range);
}

void HearOfContext(const Subscriber::Listener& listener, CUpti_CallbackId callback,
                   CUcontext context) {
  if (callback == CUPTI_CBID_RESOURCE_CONTEXT_CREATED) listener.created(context);
  if (callback == CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING) listener.about_to_go(context);
}

// A capture is announced before it begins, and is over once its end has returned.
void HearOfCapture(const Subscriber::Listener& listener, CUpti_CallbackId callback,
                   const CUpti_CallbackData& call) {
  const bool enters = call.callbackSite == CUPTI_API_ENTER;
  const auto* answer = static_cast<const CUresult*>(call.functionReturnValue);
  const CUresult result = enters || answer == nullptr ? CUDA_SUCCESS : *answer;
  if (Holds(kCaptureBegins, callback)) {
    if (enters) listener.capture_begins();
    if (result != CUDA_SUCCESS) listener.capture_ends();
  } else if (Holds(kCaptureEnds, callback) && !enters && !Holds(kNotEnded, result)) {
    listener.capture_ends();
  }
}

void CUPTIAPI Hear(void* user_data, CUpti_CallbackDomain domain, CUpti_CallbackId callback,
                   const void* data) {
  const auto& listener = *static_cast<const Subscriber::Listener*>(user_data);
  try {
    if (domain == CUPTI_CB_DOMAIN_RESOURCE) {
      HearOfContext(listener, callback, static_cast<const CUpti_ResourceData*>(data)->context);
    } else if (domain == CUPTI_CB_DOMAIN_DRIVER_API) {
      HearOfCapture(listener, callback, *static_cast<const CUpti_CallbackData*>(data));
    }
  } catch (const std::exception&) {
    // No memory, in the midst of the application's call: what was to be heard is missed.
  }
}

}  // namespace

Subscriber::Subscriber(const Library& library, Listener listener)
    : library_(&library), listener_(std::make_unique<Listener>(std::move(listener))) {
  library.Check(library.target().subscribe(&handle_, &Hear, listener_.get()), "cuptiSubscribe");
  try {
    if (listener_->created) {
      Enable(CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_CONTEXT_CREATED);
      Enable(CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING);
    }
    for (const CUpti_CallbackId call : kCaptureBegins) Enable(CUPTI_CB_DOMAIN_DRIVER_API, call);
    for (const CUpti_CallbackId call : kCaptureEnds) Enable(CUPTI_CB_DOMAIN_DRIVER_API, call);
  } catch (...) {
    (void)library.target().unsubscribe(handle_);
    throw;
  }
}

Subscriber::~Subscriber() {
  if (handle_ == nullptr || CallsAreForbidden()) return;
  (void)library_->target().unsubscribe(handle_);
}

Subscriber::Subscriber(Subscriber&& other) noexcept
    : library_(other.library_),
      listener_(std::move(other.listener_)),
      handle_(std::exchange(other.handle_, nullptr)) {}

Subscriber& Subscriber::operator=(Subscriber&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(listener_, other.listener_);
  std::swap(handle_, other.handle_);
  return *this;
}

void Subscriber::Enable(CUpti_CallbackDomain domain, CUpti_CallbackId callback) {
  library_->Check(library_->target().enable_callback(1, handle_, domain, callback),
                  "cuptiEnableCallback");
}

}  // namespace ftprof::cupti
