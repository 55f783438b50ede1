#include "counters/window_pass.h"

#include <algorithm>
#include <utility>

#include "journal/clock.h"

namespace ftprof::counters {
namespace {

constexpr std::size_t kMostWindows = 16;
constexpr std::chrono::seconds kLongest{10};

}  // namespace

WindowPass::WindowPass(ContextSession* session, std::size_t group, Interrupt* interrupt)
    : session_(*session),
      group_(group),
      interrupt_(interrupt),
      began_(std::chrono::steady_clock::now()),
      profiler_(session_.Configure(group, kMostWindows)),
      pass_(profiler_) {}

bool WindowPass::HasRoom() const {
  return windows_.size() < kMostWindows && std::chrono::steady_clock::now() - began_ < kLongest;
}

std::int64_t WindowPass::Begin(std::uint64_t stratum, bool continued) {
  Window window;
  window.group = group_;
  window.stratum = stratum;
  window.continued = continued;
  range_.emplace(profiler_, names_.emplace_back("window " + std::to_string(names_.size())));
  // Before anybody hears of it who has waited for it; between two windows of a pass nothing is
  // lost.
  window.begin_us = windows_.empty() ? journal::NowUs() : windows_.back().end_us;
  windows_.push_back(std::move(window));
  if (!open_) open_.emplace(interrupt_);
  return windows_.back().begin_us;
}

// The time up to the range's end is the window's: what the context was given before is in it.
void WindowPass::End() {
  range_->End();
  range_.reset();
  windows_.back().end_us = std::max(windows_.back().begin_us, journal::NowUs());
}

std::vector<ClosedWindow> WindowPass::Close() {
  pass_.End();
  pass_.Decode();
  std::vector<cupti::RangeCounts> counted = session_.CountsOf(group_, windows_.size());
  std::vector<ClosedWindow> closed;
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    windows_[i].counts = counted[i].counts;
    closed.push_back({std::move(windows_[i]), std::move(counted[i])});
  }
  windows_.clear();
  return closed;
}

}  // namespace ftprof::counters
