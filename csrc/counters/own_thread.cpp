#include "counters/own_thread.h"

#include <signal.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

namespace ftprof::counters {
namespace {

// What Linux gives a program's first thread by default, or less where address space is short.
constexpr std::size_t kStackSizes[] = {std::size_t{8} << 20, std::size_t{1} << 20};

struct Task {
  const char* name;
  std::function<void()> work;
};

void* Execute(void* argument) {
  const std::unique_ptr<Task> task(static_cast<Task*>(argument));
  pthread_setname_np(pthread_self(), task->name);
  task->work();
  return nullptr;
}

class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// errno's kind of number.
int Create(pthread_t* thread, std::size_t stack_size, Task* task) {
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes)) return error;
  int error = pthread_attr_setstacksize(&attributes, stack_size);
  if (error == 0) error = pthread_create(thread, &attributes, &Execute, task);
  pthread_attr_destroy(&attributes);
  return error;
}

}  // namespace

OwnThread::OwnThread(const char* name, std::function<void()> work) {
  auto task = std::make_unique<Task>(Task{name, std::move(work)});
  const AllSignalsBlocked blocked;  // a new thread inherits the mask
  int error = EAGAIN;
  for (const std::size_t size : kStackSizes) {
    error = Create(&thread_, size, task.get());
    if (error != EAGAIN) break;
  }
  if (error != 0) throw std::system_error(error, std::generic_category(), "pthread_create");
  (void)task.release();  // the thread's own now
  started_ = true;
}

OwnThread::OwnThread(OwnThread&& other) noexcept
    : thread_(other.thread_), started_(std::exchange(other.started_, false)) {}

OwnThread& OwnThread::operator=(OwnThread&& other) noexcept {
  std::swap(thread_, other.thread_);
  std::swap(started_, other.started_);
  return *this;
}

void OwnThread::Join() noexcept {
  if (std::exchange(started_, false)) (void)pthread_join(thread_, nullptr);
}

void OwnThread::Detach() noexcept {
  if (std::exchange(started_, false)) (void)pthread_detach(thread_);
}

}  // namespace ftprof::counters
