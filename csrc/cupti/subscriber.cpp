#include "cupti/subscriber.h"

#include <utility>

namespace ftprof::cupti {
namespace {

void CUPTIAPI Hear(void* user_data, CUpti_CallbackDomain domain, CUpti_CallbackId callback,
                   const void* data) {
  if (domain != CUPTI_CB_DOMAIN_RESOURCE) return;
  const auto* listener = static_cast<const Subscriber::Listener*>(user_data);
  CUcontext context = static_cast<const CUpti_ResourceData*>(data)->context;
  if (callback == CUPTI_CBID_RESOURCE_CONTEXT_CREATED) listener->created(context);
  if (callback == CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING) listener->about_to_go(context);
}

}  // namespace

Subscriber::Subscriber(const Library& library, Listener listener)
    : library_(&library), listener_(std::make_unique<Listener>(std::move(listener))) {
  library.Check(library.target().subscribe(&handle_, &Hear, listener_.get()), "cuptiSubscribe");
  try {
    Enable(CUPTI_CBID_RESOURCE_CONTEXT_CREATED);
    Enable(CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING);
  } catch (...) {
    (void)library.target().unsubscribe(handle_);
    throw;
  }
}

Subscriber::~Subscriber() {
  if (handle_ != nullptr) (void)library_->target().unsubscribe(handle_);
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

void Subscriber::Enable(CUpti_CallbackId callback) {
  library_->Check(
      library_->target().enable_callback(1, handle_, CUPTI_CB_DOMAIN_RESOURCE, callback),
      "cuptiEnableCallback");
}

}  // namespace ftprof::cupti
