// Whether this process still calls CUPTI and the driver.
#pragma once

namespace ftprof::cupti {

// No call begins after this, on any thread: every one that would throws CuptiError, and what ends
// with an object is left as it is. For a process that ends before a thread of ours has answered:
// both libraries are being taken down around that thread. For good.
void ForbidCalls() noexcept;

bool CallsAreForbidden() noexcept;
// Throws CuptiError where they are.
void CheckCallsAllowed();

}  // namespace ftprof::cupti
