// A thread of ours inside somebody else's process.
#pragma once

#include <pthread.h>

#include <functional>

namespace ftprof::counters {

// With all signals blocked: they are the application's, and a thread of ours must never be the one
// that is picked to handle one. With a stack of its own size: the application may have chosen a
// default (ulimit -s, pthread_setattr_default_np) on which CUPTI does not fit.
class OwnThread {
 public:
  OwnThread() = default;
  // Throws std::system_error where no thread can be had. work may not throw.
  OwnThread(const char* name, std::function<void()> work);
  // It was joined or detached.
  ~OwnThread() = default;
  OwnThread(OwnThread&& other) noexcept;
  OwnThread& operator=(OwnThread&& other) noexcept;
  OwnThread(const OwnThread&) = delete;
  OwnThread& operator=(const OwnThread&) = delete;

  // Without effect where there is no thread.
  void Join() noexcept;
  void Detach() noexcept;

 private:
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace ftprof::counters
