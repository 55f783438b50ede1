// Windows of one group, one after the other, in one pass of the range profiler.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "counters/context_session.h"
#include "counters/interrupt.h"
#include "counters/window.h"
#include "cupti/range_profiler.h"

namespace ftprof::counters {

// A window whose counts were read. Where they are not exact it has none.
struct ClosedWindow {
  Window window;
  cupti::RangeCounts counted;
};

// Between two windows of a pass lie a pop and a push: a millisecond, in which nothing is lost. To
// begin a pass takes twenty times that, and the program goes on meanwhile, uncounted (both seen on
// an H200, docs/evidence). But no count of a pass can be read before its end.
class WindowPass {
 public:
  // What it is given must outlive it. From its first window on, whoever asks for a cut waits for
  // its end. Throws CuptiError, as all that follows.
  WindowPass(ContextSession* session, std::size_t group, Interrupt* interrupt);
  WindowPass(const WindowPass&) = delete;
  WindowPass& operator=(const WindowPass&) = delete;

  std::size_t group() const noexcept { return group_; }
  // Whether it may have one more window. A pass is short enough that a process which is killed
  // loses seconds.
  bool HasRoom() const;

  // Opens a window, for a slot or for more of it, and says since when.
  std::int64_t Begin(std::uint64_t stratum, bool continued);
  void End();
  // After the last window's end: all of them, each with its counts.
  std::vector<ClosedWindow> Close();

 private:
  ContextSession& session_;
  const std::size_t group_;
  Interrupt* interrupt_;
  const std::chrono::steady_clock::time_point began_;
  const cupti::RangeProfiler& profiler_;
  std::optional<OpenWindow> open_;
  std::deque<std::string> names_;  // of the ranges, for as long as the pass
  std::vector<Window> windows_;
  cupti::CountedPass pass_;
  std::optional<cupti::CountedRange> range_;  // the open window's
};

}  // namespace ftprof::counters
