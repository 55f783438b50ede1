// The one clock of a run.
#pragma once

#include <cstdint>

namespace ftprof::journal {

// Microseconds since the epoch, as the system's clock had it when the run began, and going on
// evenly from there: somebody may set that clock at any time, and neither a window's length nor the
// order of two moments may hang on it.
std::int64_t NowUs() noexcept;

// Takes the beginning over from the process that began the run, which tells it in FTPROF_CLOCK. For
// a thread of the application's, which may change its environment at any time. Without effect where
// nothing is told, or of another machine, and once NowUs has been asked.
void TakeOverClock();

// The same, from who knows the beginning: what NowUs was when the machine's time since boot was 0.
void SetClockZero(std::int64_t zero_us) noexcept;

}  // namespace ftprof::journal
