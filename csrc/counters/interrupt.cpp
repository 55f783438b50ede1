#include "counters/interrupt.h"

namespace ftprof::counters {

Wake Interrupt::WaitFor(std::chrono::microseconds time) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + time;
  changed_.wait_until(lock, until, [&] { return state_ != Wake::kTimeout || cut_; });
  if (state_ != Wake::kTimeout) return state_;
  return cut_ ? Wake::kCut : Wake::kTimeout;
}

Wake Interrupt::Pending() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return state_;
}

void Interrupt::Stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == Wake::kTimeout) state_ = Wake::kStop;
  changed_.notify_all();
}

void Interrupt::Abandon() {
  const std::lock_guard<std::mutex> lock(mutex_);
  state_ = Wake::kAbandon;
  changed_.notify_all();
}

bool Interrupt::Cut(std::chrono::microseconds patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!open_) return true;
  cut_ = true;
  changed_.notify_all();
  const std::uint64_t before = closed_;
  return changed_.wait_for(lock, patience, [&] { return closed_ != before; });
}

void Interrupt::WindowOpened() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = true;
  cut_ = false;  // asked for in the gap before: the edge is there already
}

void Interrupt::Finished() {
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

bool Interrupt::WaitFinished(std::chrono::microseconds patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return finished_; });
}

void Interrupt::WindowClosed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = cut_ = false;
  ++closed_;
  changed_.notify_all();
}

}  // namespace ftprof::counters
