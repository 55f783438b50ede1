// What a forked child must not touch.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <utility>

namespace ftprof {

// Something that this process's threads share. A forked child has none of them, and may find a lock
// held for ever: there it is left as it is, also by its destructor.
template <typename Shared>
class ProcessBound {
 public:
  explicit ProcessBound(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~ProcessBound() {
    if (get() == nullptr) new std::shared_ptr<Shared>(std::move(shared_));
  }
  ProcessBound(const ProcessBound&) = delete;
  ProcessBound& operator=(const ProcessBound&) = delete;

  // Null in a forked child.
  Shared* get() const noexcept { return process_ == getpid() ? shared_.get() : nullptr; }
  const std::shared_ptr<Shared>& shared() const noexcept { return shared_; }

 private:
  pid_t process_ = getpid();
  std::shared_ptr<Shared> shared_;
};

}  // namespace ftprof
