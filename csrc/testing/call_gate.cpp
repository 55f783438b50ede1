// Stand-in for tests, never shipped: failures, delays, overwritten results and the trace.
#include "testing/call_gate.h"

#include <cstdlib>

#include "testing/evidence.h"

namespace ftprof::standin {
namespace {

// Of this thread's latest call: a pointer into the script, which lives as long as the process.
thread_local const Json* overwritten = nullptr;

bool HoldsHere(const CallRule& rule) {
  if (rule.variable.empty()) return true;
  const char* value = std::getenv(rule.variable.c_str());
  return value != nullptr && rule.value == value;
}

}  // namespace

CallGate::CallGate(const Script& script, Clock clock, bool traced, bool (*in_program)())
    : clock_(clock),
      traced_(traced),
      in_program_(in_program),
      began_ns_(clock.now_ns()),
      num_rules_(0),
      rules_(new RuleState[script.rules.size()]) {
  for (const CallRule& rule : script.rules) {
    if (HoldsHere(rule)) rules_[num_rules_++].rule = &rule;
  }
}

bool CallGate::Applies(RuleState* state, int device) const {
  const CallRule& rule = *state->rule;
  if (rule.device >= 0 && rule.device != device) return false;
  if (rule.in_program && *rule.in_program != in_program_()) return false;
  if (clock_.now_ns() - began_ns_ < rule.after_us * 1000) return false;
  const std::uint64_t call = state->calls.fetch_add(1) + 1;
  if (rule.nth && (rule.every ? call < *rule.nth : call != *rule.nth)) return false;
  return rule.times == 0 || state->applied.fetch_add(1) < rule.times;
}

std::optional<int> CallGate::Enter(const char* function, int device) {
  overwritten = nullptr;
  if (num_rules_ == 0) return std::nullopt;
  const std::string name = WithoutVersion(function);
  std::optional<int> failure;
  for (std::size_t i = 0; i < num_rules_; ++i) {
    const CallRule& rule = *rules_[i].rule;
    if (rule.call != name || !Applies(&rules_[i], device)) continue;
    if (rule.delay_us) clock_.sleep_ns(*rule.delay_us * 1000);
    if (rule.set) overwritten = &*rule.set;
    if (rule.code && !failure) failure = rule.code;
  }
  return failure;
}

const Json* CallGate::Overwritten(const char* result) {
  return overwritten == nullptr ? nullptr : overwritten->Find(result);
}

void CallGate::Leave(const char* function, int device, int code, std::uint64_t begin_ns) const {
  if (traced_) TraceCall(function, device, code, begin_ns, clock_.now_ns());
}

}  // namespace ftprof::standin
