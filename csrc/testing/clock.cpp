// Stand-in for tests, never shipped: the time that the stand-ins live in.
#include "testing/clock.h"

#include <time.h>

#include <atomic>
#include <cerrno>

#include "testing/script.h"

namespace ftprof::standin {
namespace {

constexpr std::uint64_t kSecond = 1000000000;

std::uint64_t Read(clockid_t id) {
  timespec time{};
  (void)clock_gettime(id, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond +
         static_cast<std::uint64_t>(time.tv_nsec);
}

// Monotonic, but comparable with the times of other processes and of journals.
std::uint64_t RealNow() {
  static const std::uint64_t offset = Read(CLOCK_REALTIME) - Read(CLOCK_MONOTONIC);
  return Read(CLOCK_MONOTONIC) + offset;
}

void RealSleep(std::uint64_t duration_ns) {
  timespec left{static_cast<time_t>(duration_ns / kSecond),
                static_cast<long>(duration_ns % kSecond)};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

std::atomic<std::uint64_t> virtual_ns{kSecond};

std::uint64_t VirtualNow() { return virtual_ns.load(); }

}  // namespace

void AdvanceVirtual(std::uint64_t duration_ns) { virtual_ns.fetch_add(duration_ns); }

Clock TheClock() {
  if (TheScript().virtual_time) return {&VirtualNow, &AdvanceVirtual};
  return {&RealNow, &RealSleep};
}

}  // namespace ftprof::standin
