#include "journal/clock.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <string_view>

#include "journal/process_identity.h"
#include "journal/undisturbed.h"

namespace ftprof::journal {
namespace {

constexpr int kReadings = 5;

std::atomic<std::int64_t> g_zero_us{0};  // 0: not yet known

bool Read(clockid_t clock, std::int64_t* us) noexcept {
  timespec now;
  if (clock_gettime(clock, &now) != 0) return false;
  *us = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
  return true;
}

// Time in which the machine sleeps belongs to it.
std::int64_t SinceBootUs() noexcept {
  std::int64_t us = 0;
  if (!Read(CLOCK_BOOTTIME, &us)) (void)Read(CLOCK_MONOTONIC, &us);
  return us;
}

// Of several readings the one in which the least time passed between the two clocks.
std::int64_t MeasuredZeroUs() noexcept {
  std::int64_t zero_us = 0;
  std::int64_t least_us = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < kReadings; ++i) {
    std::int64_t wall_us = 0;
    const std::int64_t before_us = SinceBootUs();
    (void)Read(CLOCK_REALTIME, &wall_us);
    const std::int64_t took_us = SinceBootUs() - before_us;
    if (took_us >= least_us) continue;
    least_us = took_us;
    zero_us = wall_us - before_us - took_us / 2;
  }
  return zero_us;
}

// Whose time since boot it is, as the hook writes it (ftprof/measure/analytic/hook.py). Empty where
// the system does not say it.
std::string ClockName() {
  char space[64];
  const ssize_t length = readlink("/proc/self/ns/time", space, sizeof space);
  const std::string boot = BootId();
  if (boot.empty() || length <= 0) return {};
  return boot + " " + std::string(space, static_cast<std::size_t>(length)) + " ";
}

}  // namespace

std::int64_t NowUs() noexcept {
  std::int64_t zero_us = g_zero_us;
  if (zero_us == 0) {
    SetClockZero(MeasuredZeroUs());
    zero_us = g_zero_us;
  }
  return zero_us + SinceBootUs();
}

void TakeOverClock() {
  const Undisturbed undisturbed;
  const char* told = std::getenv("FTPROF_CLOCK");
  const std::string name = ClockName();
  if (told == nullptr || name.empty() || std::string_view(told).substr(0, name.size()) != name) {
    return;
  }
  char* end = nullptr;
  errno = 0;
  const long long zero_us = std::strtoll(told + name.size(), &end, 10);
  if (errno == 0 && end != told + name.size() && *end == '\0') SetClockZero(zero_us);
}

void SetClockZero(std::int64_t zero_us) noexcept {
  std::int64_t unknown = 0;
  (void)g_zero_us.compare_exchange_strong(unknown, zero_us);
}

}  // namespace ftprof::journal
