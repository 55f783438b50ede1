// Ends a meter's waiting before its time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace ftprof::counters {

enum class Wake {
  kTimeout,
  kCut,      // close the window now, go on with the next
  kStop,     // close the window, and count no more
  kAbandon,  // the context is gone: touch nothing of it
};

// One meter waits on it; any thread may interrupt.
class Interrupt {
 public:
  // Waits at most so long. Where it was stopped or abandoned it does not wait.
  Wake WaitFor(std::chrono::microseconds time);

  // The state without waiting: kTimeout where nothing is asked for. A cut stays asked for.
  Wake Pending() const;

  void Stop();
  void Abandon();
  // Closes the window that is open now. Returns once a window has been closed that was open when it
  // was called, or no window is open, or the time is over: then false.
  bool Cut(std::chrono::microseconds patience);

  // The meter says when a window is open.
  void WindowOpened();
  void WindowClosed();
  // The meter has ended and touches its context no more.
  void Finished();
  bool WaitFinished(std::chrono::microseconds patience);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Wake state_ = Wake::kTimeout;
  bool cut_ = false;
  bool open_ = false;
  bool finished_ = false;
  std::uint64_t closed_ = 0;
};

}  // namespace ftprof::counters
