// Stand-in for tests, never shipped: the truth about what was executed, safe against SIGKILL.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace ftprof::standin {

// One 48-byte record, little-endian. kind is written last: a record without it does not exist.
struct LedgerRecord {
  enum Kind : std::uint32_t {
    kNone = 0,
    kWork = 1,            // count launches of a kernel, one after the other from start_ns on
    kContextCreated = 2,  // start_ns: when; count: 1 for a primary context
    kContextEnded = 3,    // start_ns: when; what had not run by then never ran
    kDeviceLost = 4,      // start_ns: when it is or will be lost; nothing runs after it
    kProcessEnded = 5,    // start_ns: when exit handlers ran; what had not run by then never ran
    kGraphWork = 6,       // as kWork, of a graph
  };

  std::uint32_t kind;
  std::uint32_t device;  // its place in the script
  std::uint64_t context;
  std::uint64_t kernel;  // its place among the script's kernels, sorted by name
  std::uint64_t start_ns;
  std::uint64_t duration_ns;  // of one launch
  std::uint64_t count;
};

// A file truth-PID-NUMBER.ledger in truth_dir, mapped into memory: what a killed process wrote
// stays. Without a truth_dir it keeps nothing. The caller holds a lock around every call.
class Ledger {
 public:
  Ledger(const std::string& truth_dir, std::uint64_t mib);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Returns the record, or null where nothing is kept.
  LedgerRecord* Add(const LedgerRecord& record);
  // One launch more in a work record.
  static void AddLaunch(LedgerRecord* record);

 private:
  LedgerRecord* records_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace ftprof::standin
