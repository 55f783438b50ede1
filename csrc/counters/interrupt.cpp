#include "counters/interrupt.h"

namespace ftprof::counters {

Wake Interrupt::WaitFor(std::chrono::microseconds time) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + time;
  changed_.wait_until(lock, until, [&] { return state_ != Wake::kTimeout || cut_; });
  if (state_ != Wake::kTimeout) return state_;
  return cut_ ? Wake::kCut : Wake::kTimeout;
}

Wake Interrupt::Pause(std::chrono::microseconds time) {
  const auto say = [this](bool pausing) {
    const std::lock_guard<std::mutex> lock(mutex_);
    pausing_ = pausing;
    changed_.notify_all();
  };
  say(true);
  const Wake wake = WaitFor(time);
  say(false);
  return wake;
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
  abandoned_ = true;
  changed_.notify_all();
}

std::optional<Interrupt::Ticket> Interrupt::AskCut() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!open_) return std::nullopt;
  cut_ = true;
  changed_.notify_all();
  return closed_;
}

bool Interrupt::AwaitCut(Ticket ticket, std::chrono::steady_clock::time_point until) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_until(lock, until, [&] { return closed_ != ticket; });
}

bool Interrupt::Cut(std::chrono::microseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  const std::optional<Ticket> ticket = AskCut();
  return !ticket || AwaitCut(*ticket, until);
}

void Interrupt::Hurry() {
  const std::lock_guard<std::mutex> lock(mutex_);
  cut_ = true;
  changed_.notify_all();
}

bool Interrupt::AwaitWindow(std::chrono::microseconds patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto decided = [&] { return open_ || pausing_ || finished_ || state_ != Wake::kTimeout; };
  return changed_.wait_for(lock, patience, decided) && open_;
}

void Interrupt::WindowOpened() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = true;
  changed_.notify_all();
}

void Interrupt::WindowClosed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = cut_ = false;
  ++closed_;
  changed_.notify_all();
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

OpenWindow::OpenWindow(Interrupt* interrupt) : interrupt_(interrupt) { interrupt_->WindowOpened(); }

OpenWindow::~OpenWindow() { interrupt_->WindowClosed(); }

}  // namespace ftprof::counters
