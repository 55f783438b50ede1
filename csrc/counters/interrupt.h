// Ends a meter's waiting before its time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

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
  using Ticket = std::uint64_t;

  // Waits at most so long. Where it was stopped or abandoned it does not wait.
  Wake WaitFor(std::chrono::microseconds time);

  // The same of a meter that has failed and opens no window meanwhile: nobody waits for one.
  Wake Pause(std::chrono::microseconds time);

  // The state without waiting: kTimeout where nothing is asked for. A cut stays asked for.
  Wake Pending() const;
  // True once it was abandoned; for those that look at every step and may not wait for a lock.
  const std::atomic<bool>& abandoned() const noexcept { return abandoned_; }

  void Stop();
  void Abandon();

  // Asks for the open window to be closed; nothing where none is open.
  std::optional<Ticket> AskCut();
  // Returns once the window that was open at AskCut has been closed; false where the time is over.
  bool AwaitCut(Ticket ticket, std::chrono::steady_clock::time_point until);
  // Both. True also where no window is open.
  bool Cut(std::chrono::microseconds patience);
  // The open window is closed, or the next one as soon as it is open.
  void Hurry();
  // Returns once a window is open; false where the time is over, or where there will be none or
  // none soon.
  bool AwaitWindow(std::chrono::microseconds patience);

  // The meter says when a window is open.
  void WindowOpened();
  void WindowClosed();
  // The meter has ended and touches its context no more.
  void Finished();
  bool WaitFinished(std::chrono::microseconds patience);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> abandoned_{false};
  Wake state_ = Wake::kTimeout;
  bool cut_ = false;
  bool open_ = false;
  bool pausing_ = false;
  bool finished_ = false;
  Ticket closed_ = 0;  // how many windows were
};

// Says to whoever waits for a cut when a window is open.
class OpenWindow {
 public:
  explicit OpenWindow(Interrupt* interrupt);
  ~OpenWindow();
  OpenWindow(const OpenWindow&) = delete;
  OpenWindow& operator=(const OpenWindow&) = delete;

 private:
  Interrupt* interrupt_;
};

}  // namespace ftprof::counters
