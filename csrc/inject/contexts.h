// The contexts that are counted, for all threads that have to do with them.
#pragma once

#include <cuda.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "inject/metered_context.h"

namespace ftprof::inject {

class Contexts {
 public:
  using Shared = std::shared_ptr<MeteredContext>;

  // What the subscriber heard: a context has come, or is about to go.
  struct Event {
    bool created;
    CUcontext handle;
    std::int64_t time_us;
  };

  void Add(Shared context);
  // Waits for its meter's end, and lets go of it.
  void End(const Shared& context);
  std::vector<Shared> All() const;
  // Null where it is not counted.
  Shared Find(CUcontext handle) const;

  // Closes all open windows; each is asked before any is waited for.
  bool Cut(std::chrono::milliseconds patience) const;
  // Returns once a window is open on every context that is counted. False where one has none in
  // time.
  bool AwaitWindows(std::chrono::milliseconds patience) const;

  // On the thread that creates or destroys a context, which goes on when this returns. It may not
  // call the driver.
  void Created(CUcontext handle);
  void AboutToGo(CUcontext handle);
  std::vector<Event> TakeEvents();
  bool HasEvents() const;

  // Keeps a context from going while a meter is put on it.
  class Starting {
   public:
    Starting(Contexts* contexts, CUcontext handle);
    ~Starting();
    Starting(const Starting&) = delete;
    Starting& operator=(const Starting&) = delete;

    // False where the context is about to go, or has gone.
    bool may_start() const noexcept { return may_start_; }

   private:
    Contexts* contexts_;
    bool may_start_;
  };

 private:
  mutable std::mutex mutex_;
  std::condition_variable started_;
  std::vector<Shared> contexts_;
  std::vector<Event> events_;
  CUcontext starting_ = nullptr;
};

}  // namespace ftprof::inject
