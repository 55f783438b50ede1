// Stand-in for tests, never shipped: one range-profiler session on one context, with the order of
// calls that CUPTI's documentation gives. What the documentation leaves open is judged strictly.
#pragma once

#include <cupti_range_profiler.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "testing/cupti_state.h"
#include "testing/images.h"

// The type behind CUPTI's handle.
struct CUpti_RangeProfiler_Object {
  CUpti_RangeProfiler_Object(CUcontext of, const ftprof::standin::ContextView& view)
      : context(of), context_id(view.id), device(view.device) {}

  const CUcontext context;
  const std::uint64_t context_id;
  const int device;

  std::atomic<bool> faulted{false};  // a call on it has failed
  std::mutex mutex;                  // held around each of these
  CUptiResult GetCounterDataSize(CUpti_RangeProfiler_GetCounterDataSize_Params* params);
  CUptiResult InitializeImage(CUpti_RangeProfiler_CounterDataImage_Initialize_Params* params);
  CUptiResult SetConfig(const CUpti_RangeProfiler_SetConfig_Params& params);
  CUptiResult Start();
  CUptiResult Push(const char* name);
  CUptiResult Pop();
  CUptiResult Stop(CUpti_RangeProfiler_Stop_Params* params);
  CUptiResult Decode(CUpti_RangeProfiler_DecodeData_Params* params);
  void Close();

 private:
  // Memory of the caller's that must stay as it is until the session is disabled.
  struct Held {
    const std::uint8_t* data;
    std::size_t size;
    std::uint64_t hash;
  };
  struct OpenRange {
    std::string name;
    std::vector<std::uint64_t> before;
  };

  bool Read(std::vector<std::uint64_t>* counts, std::uint64_t* at_ns) const;
  void CheckHeld(const char* when) const;
  CUptiResult Wrong(const std::string& sentence) const;
  bool CanHold(const CUpti_RangeProfiler_SetConfig_Params& params,
               const ftprof::standin::CounterImage& image) const;

  std::optional<ftprof::standin::CounterImage> layout_;  // of the latest GetCounterDataSize
  std::optional<ftprof::standin::ConfigImage> config_;
  std::vector<std::string> first_metrics_;  // of the first group it was configured for
  std::vector<Held> configs_;               // every one since the session was enabled
  std::uint8_t* image_ = nullptr;
  std::size_t image_size_ = 0;
  std::uint64_t image_hash_ = 0;
  std::size_t max_ranges_ = 0;
  std::size_t max_depth_ = 0;
  bool patched_ = false;

  bool started_ = false;
  bool undecoded_ = false;
  std::uint64_t passes_done_ = 0;
  std::size_t pushed_ = 0;
  std::vector<OpenRange> open_;
  std::vector<std::uint64_t> at_pop_;  // since this start, and when that was
  std::uint64_t popped_ns_ = 0;
  std::vector<ftprof::standin::CountedRange> counted_;
  std::size_t dropped_ = 0;
};
