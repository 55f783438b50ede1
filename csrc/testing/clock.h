// Stand-in for tests, never shipped: the time that the stand-ins live in.
#pragma once

#include <cstdint>

namespace ftprof::standin {

// In nanoseconds since the epoch. Never goes back. In virtual time ("time": "virtual" in the
// script) it stands still, but for sleeps and AdvanceVirtual.
struct Clock {
  std::uint64_t (*now_ns)();
  void (*sleep_ns)(std::uint64_t duration_ns);
};

// The clock that the script asks for.
Clock TheClock();
void AdvanceVirtual(std::uint64_t duration_ns);

}  // namespace ftprof::standin
