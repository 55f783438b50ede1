// Plans the single-pass groups of a chip.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "counters/pass_oracle.h"

namespace ftprof::counters {

enum class Role {
  kBase,      // on nearly always
  kRotating,  // the rest of the tensor cores' floating-point operations, in turn
  kCudaCore,  // patched machine code, in rare windows; never beside a hardware metric
  kLink,      // instructions a cycle: extends the CUDA-core windows to all cycles
  kInteger,   // reported apart
  kSparse,    // reported apart
};

const char* RoleName(Role role) noexcept;

struct Group {
  Role role;
  std::vector<std::string> metrics;  // with rollup, as CUPTI takes them
  std::size_t passes;
};

struct Unsupported {
  std::string metric;
  std::string reason;
};

struct Plan {
  std::string chip;
  std::vector<Group> groups;             // in the order of Role
  std::vector<Unsupported> unsupported;  // metrics of the chip that no single pass can count
  std::size_t questions = 0;             // pass counts that were asked for, a measure of the cost
};

// Every floating-point operation of the tensor cores is counted by exactly one metric of the base
// and rotating groups. The base group takes metrics in the catalogue's order as long as they fit;
// the rotating groups are the fewest that count the rest.
Plan MakePlan(const Chip& chip);

}  // namespace ftprof::counters
