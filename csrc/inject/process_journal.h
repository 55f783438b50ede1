// What this process's meters found, as lines of its counters journal.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "counters/meter.h"
#include "counters/stratum_sums.h"
#include "cupti/library.h"
#include "journal/journal_file.h"

namespace ftprof::inject {

// Begun when the first context is found. Any thread may call anything but ForgetInChild.
class ProcessJournal {
 public:
  ProcessJournal(const std::string& run_directory, const std::string& run_id,
                 const journal::ProcessIdentity& identity, std::size_t lines_before_rollup,
                 journal::FailureFile* failures);

  // cupti and driver say with what is counted; empty where nothing can be. contexts says which
  // contexts are looked for: "primary" ones, or "all".
  void Begin(const cupti::LibraryInfo& cupti, const std::string& driver,
             const std::string& contexts);

  // A number for a context, under which its windows and gaps are written.
  int AddContext();
  void Context(int number, const counters::CountedContext& context);
  void Window(int number, const counters::Window& window);
  void Gap(int number, const counters::Gap& gap);
  void ContextEnd(int number);
  // It was destroyed, with or without its device's other contexts: nothing is done on it any more.
  void ContextGone(int number, std::int64_t time_us);
  // Work of which nobody knows how much it was.
  void Uncounted(const std::string& device, const std::string& what);
  void Problem(const std::string& what);
  // Contexts whose meters never said that they ended have a gap up to now.
  void End(const std::string& reason) noexcept;
  bool HasWindows() const noexcept { return has_windows_; }
  // The same where the process ends before its meters did: what they come to say after it is not
  // written. why says what kept them; untold what nobody came to look at, or null. Without effect
  // where the journal itself is stuck for longer than this.
  void EndBefore(const std::string& reason, const char* why, const char* untold,
                 std::chrono::milliseconds patience) noexcept;

  void ForgetInChild() noexcept { writer_.ForgetInChild(); }

 private:
  struct PlacedWindow {
    int context;
    counters::Window window;
  };
  struct KnownContext {
    std::vector<counters::Group> groups;
    std::int64_t told_until_us = 0;  // by windows and gaps
    bool ended = false;
  };

  const journal::JsonObject& HeaderWith(const cupti::LibraryInfo& cupti, const std::string& driver,
                                        const std::string& contexts);
  void Keep(const char* kind, journal::JsonObject content);
  void WriteGap(int number, const counters::Gap& gap);
  void WriteUncounted(const std::string& device, const std::string& what);
  void WriteEnd(const std::string& reason, const char* why_unended);
  void TryToRollUp();
  void RollUp();
  // finished is added to all, which it then tells.
  journal::JsonObject RollUpLine(const std::vector<PlacedWindow>& finished,
                                 std::map<int, counters::StratumSums>* all) const;

  std::mutex mutex_;
  journal::JsonObject header_;
  std::size_t lines_before_rollup_;
  journal::JournalWriter writer_;
  int contexts_ = 0;
  std::vector<journal::JournalLine> kept_;  // every line but windows: a roll-up writes them again
  std::vector<PlacedWindow> windows_;       // those that are in the journal one by one
  std::map<int, KnownContext> known_;
  std::map<int, counters::StratumSums> finished_;  // rolled up already, by context
  bool begun_ = false, ended_ = false;
  std::atomic<bool> has_windows_{false};
};

// One context's share of it.
class ContextJournal final : public counters::MeterSink {
 public:
  explicit ContextJournal(ProcessJournal* journal)
      : journal_(journal), number_(journal->AddContext()) {}

  void OnContext(const counters::CountedContext& c) override { journal_->Context(number_, c); }
  void OnWindow(const counters::Window& window) override { journal_->Window(number_, window); }
  void OnGap(const counters::Gap& gap) override { journal_->Gap(number_, gap); }
  void OnEnd(std::int64_t /*time_us*/) override { journal_->ContextEnd(number_); }
  void OnGone(std::int64_t time_us) { journal_->ContextGone(number_, time_us); }

 private:
  ProcessJournal* journal_;
  int number_;
};

}  // namespace ftprof::inject
