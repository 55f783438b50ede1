#include "cupti/subscriber.h"

#include <cupti_driver_cbid.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <set>
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

constexpr CUpti_CallbackId kStreamGoes[] = {
    CUPTI_DRIVER_TRACE_CBID_cuStreamDestroy,
    CUPTI_DRIVER_TRACE_CBID_cuStreamDestroy_v2,
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

// The stream is the first parameter of every call that is heard of (generated_cuda_meta.h).
CUstream StreamOf(const CUpti_CallbackData& call) {
  return call.functionParams == nullptr ? nullptr
                                        : *static_cast<const CUstream*>(call.functionParams);
}

// The streams on which a capture is about to begin or has begun. Each thread has a default stream
// by one and the same name.
class Capturing {
 public:
  void Add(CUstream stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    streams_.insert(stream);
  }
  bool Has(CUstream stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return streams_.count(stream) != 0;
  }
  bool Remove(CUstream stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return false;
    streams_.erase(found);
    return true;
  }

 private:
  std::mutex mutex_;
  std::multiset<CUstream> streams_;
};

void HearOfBeginning(const Subscriber::Listener& listener, Capturing* capturing, CUstream stream,
                     bool enters, CUresult result) {
  const bool was_missed = !enters && result == CUDA_SUCCESS && !capturing->Has(stream);
  if (enters || was_missed) {
    capturing->Add(stream);
    listener.capture_begins();
  } else if (result != CUDA_SUCCESS && capturing->Remove(stream)) {
    listener.capture_ends();
  }
}

// A capture is announced before it begins, and is over once its end has returned, or when its
// stream has gone: nobody can end it after that. Of one that was under way when we began to listen
// the end says nothing.
void HearOfCapture(const Subscriber::Listener& listener, Capturing* capturing,
                   CUpti_CallbackId callback, const CUpti_CallbackData& call) {
  const bool enters = call.callbackSite == CUPTI_API_ENTER;
  const auto* answer = static_cast<const CUresult*>(call.functionReturnValue);
  const CUresult result = enters || answer == nullptr ? CUDA_SUCCESS : *answer;
  const bool ends = Holds(kCaptureEnds, callback) && !Holds(kNotEnded, result);
  const bool goes = Holds(kStreamGoes, callback) && result == CUDA_SUCCESS;
  if (Holds(kCaptureBegins, callback)) {
    HearOfBeginning(listener, capturing, StreamOf(call), enters, result);
  } else if (!enters && (ends || goes) && capturing->Remove(StreamOf(call))) {
    listener.capture_ends();
  }
}

}  // namespace

struct Subscriber::Hearing {
  Listener listener;
  Capturing capturing;
};

void CUPTIAPI Subscriber::Hear(void* user_data, CUpti_CallbackDomain domain,
                               CUpti_CallbackId callback, const void* data) {
  auto& hearing = *static_cast<Hearing*>(user_data);
  try {
    if (domain == CUPTI_CB_DOMAIN_RESOURCE) {
      HearOfContext(hearing.listener, callback,
                    static_cast<const CUpti_ResourceData*>(data)->context);
    } else if (domain == CUPTI_CB_DOMAIN_DRIVER_API) {
      HearOfCapture(hearing.listener, &hearing.capturing, callback,
                    *static_cast<const CUpti_CallbackData*>(data));
    }
  } catch (const std::exception&) {
    // No memory, in the midst of the application's call: what was to be heard is missed.
  }
}

Subscriber::Subscriber(const Library& library, Listener listener)
    : library_(&library), hearing_(new Hearing{std::move(listener), {}}) {
  library.Check(library.target().subscribe(&handle_, &Hear, hearing_.get()), "cuptiSubscribe");
  try {
    if (hearing_->listener.created) {
      Enable(CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_CONTEXT_CREATED);
      Enable(CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING);
    }
    // The ends first: whatever begins from then on may also end before the next call.
    for (const CUpti_CallbackId call : kCaptureEnds) Enable(CUPTI_CB_DOMAIN_DRIVER_API, call);
    for (const CUpti_CallbackId call : kStreamGoes) Enable(CUPTI_CB_DOMAIN_DRIVER_API, call);
    for (const CUpti_CallbackId call : kCaptureBegins) Enable(CUPTI_CB_DOMAIN_DRIVER_API, call);
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
      hearing_(std::move(other.hearing_)),
      handle_(std::exchange(other.handle_, nullptr)) {}

Subscriber& Subscriber::operator=(Subscriber&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(hearing_, other.hearing_);
  std::swap(handle_, other.handle_);
  return *this;
}

void Subscriber::Enable(CUpti_CallbackDomain domain, CUpti_CallbackId callback) {
  library_->Check(library_->target().enable_callback(1, handle_, domain, callback),
                  "cuptiEnableCallback");
}

}  // namespace ftprof::cupti
