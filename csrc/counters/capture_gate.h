// Keeps stream captures apart from windows of patched code, and from the edges of all windows.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "counters/interrupt.h"

namespace ftprof::counters {

// A capture during such a window would record patched kernels into a graph that is launched long
// after it. The gate opens only once somebody has said that captures will be announced; until then
// no such window may begin.
class CaptureGate {
 public:
  void CapturesAreAnnounced();
  bool announced() const;
  // Whether one is under way: until its end no window is opened or closed.
  bool capturing() const;
  // Returns when no window of patched code is open and no edge under way, at the latest after two
  // seconds.
  void CaptureBegins();
  void CaptureEnds();

  // Waits while a capture is under way, or until the meter is abandoned. CaptureBegins waits for
  // LeaveEdge.
  void EnterEdge(const Interrupt& meter);
  void LeaveEdge();

  // False where a capture is under way or captures are not announced. When one begins, the meter is
  // hurried to leave.
  bool TryEnter(Interrupt* meter);
  void Leave(Interrupt* meter);

 private:
  mutable std::mutex mutex_;
  std::condition_variable left_;
  bool announced_ = false;
  int captures_ = 0;
  int edges_ = 0;
  std::vector<Interrupt*> inside_;
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

 private:
  CaptureGate* gate_;
  Interrupt* interrupt_;
};

}  // namespace ftprof::counters
