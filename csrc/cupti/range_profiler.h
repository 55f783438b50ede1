// CUPTI's range profiler on one CUDA context: user ranges, a single pass, so no replay and no
// serialisation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cupti/call_permit.h"
#include "cupti/counter_data.h"
#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "cupti/library.h"

namespace ftprof::cupti {

// What can be asked before a session. Each throws CuptiError.
void InitializeProfiler(const Library& library);
std::string ChipName(const Library& library, int device);
// Nothing where this device can be profiled as it is set up; else what forbids it.
std::optional<CuptiError> WhyUnsupported(const Library& library, CUdevice device);
// The raw counters that can be read in this context. May fail while another session is active.
std::vector<std::uint8_t> CounterAvailability(const Library& library, CUcontext context);

// The range profiler enabled on a context, disabled with this object. One at a time for a context.
class RangeProfiler {
 public:
  // permit may be null. It must outlive this object, and is asked before each call. Once it forbids
  // them everything that would call CUPTI throws, and nothing is ended.
  RangeProfiler(const Library& library, CUcontext context, CallPermit* permit = nullptr);
  ~RangeProfiler();
  RangeProfiler(RangeProfiler&& other) noexcept;
  RangeProfiler& operator=(RangeProfiler&& other) noexcept;
  RangeProfiler(const RangeProfiler&) = delete;
  RangeProfiler& operator=(const RangeProfiler&) = delete;

  // What the destructor does, too, but without a word. Throws CuptiError: what has become of the
  // session is then not known, and it is not tried again.
  void Disable();

  const Library& library() const noexcept { return *library_; }
  CUpti_RangeProfiler_Object* get() const noexcept { return object_; }
  // One of the range profiler's calls, named for who reads of its failure. Throws CuptiError where
  // it does not succeed, and where CUPTI may be called no more.
  template <typename Params>
  void Call(CUptiResult (*TargetApi::*function)(Params*), Params* params, const char* name) const {
    const PermittedCall permitted(permit_);
    Check((library_->target().*function)(params), name);
  }

 private:
  void Check(CUptiResult result, const char* call) const;

  const Library* library_;
  CallPermit* permit_;
  CUpti_RangeProfiler_Object* object_ = nullptr;
};

// The metrics of one group on one context, and the images that CUPTI reads and writes for them.
// CUPTI keeps pointers to both images until the profiler is disabled: this object must outlive it,
// and is never destroyed where the profiler was not disabled.
class GroupImages {
 public:
  // Throws CuptiError; also where the metrics do not fit one pass, as counts would then need
  // replay.
  GroupImages(const Library& library, const std::string& chip,
              const std::vector<std::uint8_t>& availability, std::vector<std::string> metrics);

  const std::vector<std::string>& metrics() const noexcept { return metrics_; }
  // Makes the session of this profiler collect these metrics next, into an empty image for at most
  // so many ranges.
  void Configure(const RangeProfiler& profiler, std::size_t most_ranges);
  // The counts of the ranges that were decoded into the image, in the order of metrics(). Throws
  // CuptiError, as CountsOf does.
  std::vector<RangeCounts> Counts(std::size_t ranges) const;
  // The bytes that CUPTI has pointers into, where they are; this object is of no more use.
  std::vector<std::vector<std::uint8_t>> TakeBytes();

 private:
  const Library* library_;
  std::vector<std::string> metrics_;
  HostProfiler host_;
  std::vector<std::uint8_t> config_;
  std::vector<std::uint8_t> data_;
};

// One pass over what is configured, from construction to End. Ranges are counted inside it. Where
// End was not called, the destructor ends it without counting.
class CountedPass {
 public:
  explicit CountedPass(const RangeProfiler& profiler);
  ~CountedPass();
  CountedPass(const CountedPass&) = delete;
  CountedPass& operator=(const CountedPass&) = delete;

  // Throws CuptiError, also where passes are missing.
  void End();
  // After End: puts the counts into the images. It synchronises the context. Throws CuptiError,
  // also where ranges were dropped.
  void Decode();

 private:
  const RangeProfiler* profiler_;
  bool started_ = false;
};

// One range of a pass, from construction to End or destruction. Its end waits for what the context
// was given to do before it, which counts (seen on an H200 with CUPTI 13.0).
class CountedRange {
 public:
  // The name must outlive the pass: whether CUPTI copies it is not documented.
  CountedRange(const RangeProfiler& profiler, const std::string& name);
  ~CountedRange();
  CountedRange(const CountedRange&) = delete;
  CountedRange& operator=(const CountedRange&) = delete;

  void End();

 private:
  const RangeProfiler* profiler_;
  bool pushed_ = false;
};

}  // namespace ftprof::cupti
