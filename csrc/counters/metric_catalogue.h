// Which metrics ftprof counts with, and what one count of each is worth.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ftprof::counters {

enum class Kind {
  kFloating,      // dense and sparse floating-point operations of the tensor cores
  kInteger,       // integer operations of the tensor cores
  kSparse,        // the structured-sparse part of a floating-point metric
  kCudaCore,      // floating-point instructions of the CUDA cores
  kCycles,        // the denominator of hardware windows
  kInstructions,  // the denominators of windows of patched code
};

enum class Unit { kOperation, kInstruction, kCycle };

struct Metric {
  const char* name;  // without rollup: "sm__cycles_active", not "sm__cycles_active.sum"
  const char*
      precision;  // of the sources: "bf16", or "fp4_fp6_fp8" where one counter holds several
  Kind kind;
  Unit unit;
  int weight;          // operations for each count; 0 for denominators
  const char* parent;  // a metric that contains this one, or ""
};

const char* KindName(Kind kind) noexcept;
const char* UnitName(Unit unit) noexcept;

// In order of priority: what LLM training uses most comes first.
const std::vector<Metric>& Catalogue();

// Takes "name", "name.sum" and the "_realtime" twin of either. Null where there is no such row.
const Metric* FindMetric(std::string_view name);

// Blackwell offers many metrics a second time under this suffix, from counters of another kind.
inline constexpr std::string_view kTwinSuffix = "_realtime";
// The rollup that a count is read with.
inline constexpr std::string_view kSum = ".sum";
std::string WithSum(std::string_view name);

inline constexpr std::string_view kCyclesMetric = "sm__cycles_active";
inline constexpr std::string_view kPatchedInstructionsMetric = "smsp__sass_thread_inst_executed";
inline constexpr std::string_view kInstructionsMetric = "smsp__thread_inst_executed";

}  // namespace ftprof::counters
