// Keeps stream captures apart from windows of patched code, and from the edges of all windows.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "counters/interrupt.h"
#include "cupti/call_permit.h"

namespace ftprof::counters {

// A capture during such a window would record patched kernels into a graph that is launched long
// after it. The gate opens only once somebody has said that captures will be announced; until then
// no such window may begin.
class CaptureGate {
 public:
  // How long a capture waits. for_edges: for the edges under way to end as a whole. An edge may be
  // long, with its waits for the GPU and for other meters: then it is held up before its next call,
  // until the capture's end. for_calls: for the call that is under way, which cannot be held up,
  // and spoils a capture (so may what it does last). It is over once the GPU has done what it was
  // given, unless that waits for the very thread which captures: so the wait ends, before the
  // limits of the libraries with which a program's processes wait for each other (NCCL, gloo, a
  // TCP store: five minutes and more).
  struct Patience {
    std::chrono::milliseconds for_edges{2'000};
    std::chrono::milliseconds for_calls{120'000};
  };

  CaptureGate() = default;
  explicit CaptureGate(Patience patience) : patience_(patience) {}

  void CapturesAreAnnounced();
  bool announced() const;
  // Whether one is under way: until its end no window is opened or closed.
  bool capturing() const;
  // Whether any has ever begun.
  bool has_captured() const;
  // Returns when no window of patched code is open, and no edge is under way or each is held up
  // before its next call.
  void CaptureBegins();
  void CaptureEnds();
  // How many captures have begun since the last time it was asked though CUPTI was being called,
  // for want of patience. They may be spoilt.
  int TakeCapturesAtRisk();

  // Waits while a capture is under way, or until the meter is abandoned. CaptureBegins waits for
  // LeaveEdge.
  void EnterEdge(const Interrupt& meter);
  void LeaveEdge(const Interrupt& meter);
  // The same for one call inside an edge: it waits only for captures that no longer wait for the
  // edge.
  void EnterCall(const Interrupt& meter);
  void LeaveCall(const Interrupt& meter);

  // False where a capture is under way or captures are not announced. When one begins, the meter is
  // hurried to leave.
  bool TryEnter(Interrupt* meter);
  void Leave(Interrupt* meter);

 private:
  using Meters = std::vector<const Interrupt*>;

  void GiveUp() noexcept;
  bool IsInside(const Interrupt& meter) const;
  // Whether one of these, or one inside, is to be waited for: not where a capture has lost its
  // patience with the call that it is in.
  bool AnyAwaited(const Meters& meters) const;

  const Patience patience_;
  mutable std::mutex mutex_;
  std::condition_variable left_;
  bool announced_ = false;
  bool has_captured_ = false;
  int captures_ = 0;
  int captures_past_edges_ = 0;  // those that wait for no edge any more
  int captures_at_risk_ = 0;
  Meters edges_, calls_;  // the meters that are in one
  Meters given_up_;       // those whose call did not end in time; until it does
  std::vector<Interrupt*> inside_;
};

// A meter's calls on its context: none while a capture is under way, and none once it is abandoned.
class MeterCalls final : public cupti::CallPermit {
 public:
  // The gate may be null: then nothing is waited for.
  MeterCalls(CaptureGate* gate, const Interrupt& interrupt) : gate_(gate), interrupt_(interrupt) {}

  void Acquire() override;
  void Release() noexcept override;
  bool IsForbidden() const noexcept override { return interrupt_.abandoned(); }

 private:
  CaptureGate* gate_;
  const Interrupt& interrupt_;
};

// Calls of CUPTI at a window's edge: one of them spoils a capture that another thread has under way
// (seen on an H200 with CUPTI 13.0, though the calling thread's capture mode was relaxed).
class WindowEdge {
 public:
  // The gate may be null: then nothing is waited for.
  WindowEdge(CaptureGate* gate, const Interrupt& interrupt);
  ~WindowEdge();
  WindowEdge(const WindowEdge&) = delete;
  WindowEdge& operator=(const WindowEdge&) = delete;

 private:
  CaptureGate* gate_;
  const Interrupt& interrupt_;
};

// The time inside the gate, so that a capture waits for the window of patched code to end.
class PatchedWindow {
 public:
  // The gate may be null: then it is not entered.
  PatchedWindow(CaptureGate* gate, Interrupt* interrupt);
  ~PatchedWindow();
  PatchedWindow(const PatchedWindow&) = delete;
  PatchedWindow& operator=(const PatchedWindow&) = delete;

  bool entered() const noexcept { return gate_ != nullptr; }
  // Before its end: no code is patched any more.
  void Leave();

 private:
  CaptureGate* gate_;
  Interrupt* interrupt_;
};

}  // namespace ftprof::counters
