// The one place of a CUPTI subscriber in this process, to hear of contexts as they come and go, and
// of stream captures.
#pragma once

#include <cuda.h>

#include <functional>
#include <memory>

#include "cupti/library.h"

namespace ftprof::cupti {

// torch.profiler and every other user of CUPTI's callbacks wants the same place: it is taken only
// where the user asks.
class Subscriber {
 public:
  // Called on the application's threads, in the midst of their calls: it may not call the driver.
  // Without the first two, contexts are not heard of.
  struct Listener {
    std::function<void(CUcontext)> created;
    std::function<void(CUcontext)> about_to_go;
    std::function<void()> capture_begins;
    std::function<void()> capture_ends;
  };

  // library must outlive this object. Throws CuptiError, also where another has the place.
  Subscriber(const Library& library, Listener listener);
  ~Subscriber();
  Subscriber(Subscriber&& other) noexcept;
  Subscriber& operator=(Subscriber&& other) noexcept;
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

 private:
  struct Hearing;
  static void CUPTIAPI Hear(void* user_data, CUpti_CallbackDomain domain, CUpti_CallbackId callback,
                            const void* data);
  void Enable(CUpti_CallbackDomain domain, CUpti_CallbackId callback);

  const Library* library_;
  std::unique_ptr<Hearing> hearing_;  // where it is must not change: CUPTI has the address
  CUpti_SubscriberHandle handle_ = nullptr;
};

}  // namespace ftprof::cupti
