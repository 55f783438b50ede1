// Stand-in for tests, never shipped: what every entry point of the stand-ins passes first, so that
// the script can fail, delay, overwrite and record each of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "testing/clock.h"
#include "testing/script.h"

namespace ftprof::standin {

// One for each library. Thread-safe.
class CallGate {
 public:
  // traced: whether the script wants this library's calls in the trace. in_program: whether the
  // calling thread is one of the test program's own.
  CallGate(const Script& script, Clock clock, bool traced, bool (*in_program)());

  // Waits as the script says, and gives the code to answer without doing anything, if any. device
  // is the ordinal that the call is about, or -1.
  std::optional<int> Enter(const char* function, int device);

  // The results to overwrite in this thread's latest call, or null.
  static const Json* Overwritten(const char* result);

  void Leave(const char* function, int device, int code, std::uint64_t begin_ns) const;
  std::uint64_t Now() const { return clock_.now_ns(); }

 private:
  struct RuleState {
    const CallRule* rule;
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> applied{0};
  };

  bool Applies(RuleState* state, int device) const;

  Clock clock_;
  bool traced_;
  bool (*in_program_)();
  std::uint64_t began_ns_;
  std::size_t num_rules_;
  std::unique_ptr<RuleState[]> rules_;
};

// Runs body() unless the script fails the call; body gives the code to return.
template <typename Code, typename Body>
Code ThroughGate(CallGate* gate, const char* function, int device, Body body) {
  const std::uint64_t begin_ns = gate->Now();
  const std::optional<int> failure = gate->Enter(function, device);
  const Code code = failure ? static_cast<Code>(*failure) : body();
  gate->Leave(function, device, static_cast<int>(code), begin_ns);
  return code;
}

// Overwrites *result where the script says so.
template <typename Value>
void Overwrite(const char* name, Value* result) {
  if (const Json* json = CallGate::Overwritten(name)) *result = static_cast<Value>(json->Number());
}

}  // namespace ftprof::standin
