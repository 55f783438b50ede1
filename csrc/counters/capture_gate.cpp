#include "counters/capture_gate.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "cupti/error.h"

namespace ftprof::counters {
namespace {

constexpr std::chrono::milliseconds kPortion{20};

template <typename Meters>
void Remove(Meters* meters, const Interrupt* meter) {
  const auto found = std::find(meters->begin(), meters->end(), meter);
  if (found != meters->end()) meters->erase(found);
}

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

bool CaptureGate::has_captured() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return has_captured_;
}

// All are asked before any is waited for: each may have to wait for its GPU.
void CaptureGate::CaptureBegins() {
  std::unique_lock<std::mutex> lock(mutex_);
  ++captures_;
  has_captured_ = true;
  for (Interrupt* meter : inside_) meter->Hurry();
  left_.wait_for(lock, patience_.for_edges, [&] { return !AnyAwaited(edges_); });
  ++captures_past_edges_;
  // The next capture does not wait once more for a call that has not ended by then.
  if (!left_.wait_for(lock, patience_.for_calls, [&] { return !AnyAwaited(calls_); })) {
    GiveUp();
  }
  if (!calls_.empty() || !inside_.empty()) ++captures_at_risk_;
}

void CaptureGate::CaptureEnds() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (captures_ > 0) --captures_;
  if (captures_past_edges_ > 0) --captures_past_edges_;
  left_.notify_all();
}

int CaptureGate::TakeCapturesAtRisk() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(captures_at_risk_, 0);
}

void CaptureGate::GiveUp() noexcept {
  try {
    given_up_ = calls_;
    given_up_.insert(given_up_.end(), inside_.begin(), inside_.end());
  } catch (const std::exception&) {  // no memory: the next capture waits as well
  }
}

bool CaptureGate::AnyAwaited(const Meters& meters) const {
  const auto awaited = [&](const Interrupt* meter) {
    return std::find(given_up_.begin(), given_up_.end(), meter) == given_up_.end();
  };
  return std::any_of(meters.begin(), meters.end(), awaited) ||
         std::any_of(inside_.begin(), inside_.end(), awaited);
}

bool CaptureGate::IsInside(const Interrupt& meter) const {
  return std::find(inside_.begin(), inside_.end(), &meter) != inside_.end();
}

// In portions: nobody tells the gate that a meter is abandoned, as at the process's end, which does
// not wait for a capture for long. One whose window a capture waits for closes it at once.
void CaptureGate::EnterEdge(const Interrupt& meter) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool is_awaited = IsInside(meter);
  while (captures_ > 0 && !is_awaited && !meter.abandoned()) {
    left_.wait_for(lock, kPortion);
  }
  edges_.push_back(&meter);
}

void CaptureGate::LeaveEdge(const Interrupt& meter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Remove(&edges_, &meter);
  left_.notify_all();
}

void CaptureGate::EnterCall(const Interrupt& meter) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool is_awaited = IsInside(meter);
  while (captures_past_edges_ > 0 && !is_awaited && !meter.abandoned()) {
    left_.wait_for(lock, kPortion);
  }
  calls_.push_back(&meter);
}

void CaptureGate::LeaveCall(const Interrupt& meter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Remove(&calls_, &meter);
  Remove(&given_up_, &meter);
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
  Remove(&inside_, meter);
  Remove(&given_up_, meter);
  left_.notify_all();
}

void MeterCalls::Acquire() {
  if (gate_ != nullptr) gate_->EnterCall(interrupt_);
  if (!IsForbidden()) return;
  Release();
  throw cupti::CuptiError("count", 0, cupti::kForbidden, {});
}

void MeterCalls::Release() noexcept {
  if (gate_ != nullptr) gate_->LeaveCall(interrupt_);
}

WindowEdge::WindowEdge(CaptureGate* gate, const Interrupt& interrupt)
    : gate_(gate), interrupt_(interrupt) {
  if (gate_ != nullptr) gate_->EnterEdge(interrupt_);
}

WindowEdge::~WindowEdge() {
  if (gate_ != nullptr) gate_->LeaveEdge(interrupt_);
}

PatchedWindow::PatchedWindow(CaptureGate* gate, Interrupt* interrupt)
    : gate_(gate), interrupt_(interrupt) {
  if (gate_ != nullptr && !gate_->TryEnter(interrupt_)) gate_ = nullptr;
}

PatchedWindow::~PatchedWindow() { Leave(); }

void PatchedWindow::Leave() {
  if (CaptureGate* gate = std::exchange(gate_, nullptr)) gate->Leave(interrupt_);
}

}  // namespace ftprof::counters
