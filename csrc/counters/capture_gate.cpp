#include "counters/capture_gate.h"

#include <algorithm>
#include <chrono>

namespace ftprof::counters {
namespace {

constexpr std::chrono::seconds kPatience{2};
constexpr std::chrono::milliseconds kPortion{20};

}  // namespace

void CaptureGate::CapturesAreAnnounced() {
  const std::lock_guard<std::mutex> lock(mutex_);
  announced_ = true;
}

bool CaptureGate::announced() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return announced_;
}

bool CaptureGate::capturing() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return captures_ > 0;
}

// All are asked before any is waited for: each may have to wait for its GPU.
void CaptureGate::CaptureBegins() {
  std::unique_lock<std::mutex> lock(mutex_);
  ++captures_;
  for (Interrupt* meter : inside_) meter->Hurry();
  left_.wait_for(lock, kPatience, [&] { return inside_.empty() && edges_ == 0; });
}

void CaptureGate::CaptureEnds() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (captures_ > 0) --captures_;
  left_.notify_all();
}

// In portions: nobody tells the gate that a meter is abandoned, as at the process's end, which does
// not wait for a capture for long. One whose window a capture waits for closes it at once.
void CaptureGate::EnterEdge(const Interrupt& meter) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool is_awaited = std::find(inside_.begin(), inside_.end(), &meter) != inside_.end();
  while (captures_ > 0 && !is_awaited && !meter.abandoned()) {
    left_.wait_for(lock, kPortion);
  }
  ++edges_;
}

void CaptureGate::LeaveEdge() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --edges_;
  left_.notify_all();
}

bool CaptureGate::TryEnter(Interrupt* meter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!announced_ || captures_ > 0) return false;
  inside_.push_back(meter);
  return true;
}

void CaptureGate::Leave(Interrupt* meter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  inside_.erase(std::remove(inside_.begin(), inside_.end(), meter), inside_.end());
  left_.notify_all();
}

WindowEdge::WindowEdge(CaptureGate* gate, const Interrupt& interrupt) : gate_(gate) {
  if (gate_ != nullptr) gate_->EnterEdge(interrupt);
}

WindowEdge::~WindowEdge() {
  if (gate_ != nullptr) gate_->LeaveEdge();
}

PatchedWindow::PatchedWindow(CaptureGate* gate, Interrupt* interrupt)
    : gate_(gate), interrupt_(interrupt) {
  if (gate_ != nullptr && !gate_->TryEnter(interrupt_)) gate_ = nullptr;
}

PatchedWindow::~PatchedWindow() {
  if (gate_ != nullptr) gate_->Leave(interrupt_);
}

}  // namespace ftprof::counters
