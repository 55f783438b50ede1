#include "cupti/process_calls.h"

#include <atomic>

#include "cupti/error.h"

namespace ftprof::cupti {
namespace {

std::atomic<bool> g_forbidden{false};

}  // namespace

void ForbidCalls() noexcept { g_forbidden = true; }

bool CallsAreForbidden() noexcept { return g_forbidden; }

void CheckCallsAllowed() {
  if (CallsAreForbidden()) throw CuptiError("count", 0, "the process is ending", {});
}

}  // namespace ftprof::cupti
