// What this process's meters found, as lines of its counters journal.
#pragma once

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

  // cupti and driver say with what is counted; empty where nothing can be.
  void Begin(const cupti::LibraryInfo& cupti, const std::string& driver);

  // A number for a context, under which its windows and gaps are written.
  int AddContext();
  void Context(int number, const counters::CountedContext& context);
  void Window(int number, const counters::Window& window);
  void Gap(int number, const counters::Gap& gap);
  // Work of which nobody knows how much it was.
  void Uncounted(const std::string& device, const std::string& what);
  void Problem(const std::string& what);
  void End(const std::string& reason);

  void ForgetInChild() noexcept { writer_.ForgetInChild(); }

 private:
  struct PlacedWindow {
    int context;
    counters::Window window;
  };

  void Keep(const char* kind, journal::JsonObject content);
  void RollUp();
  journal::JsonObject RollUpLine(const std::vector<PlacedWindow>& finished);

  std::mutex mutex_;
  std::string run_id_;
  journal::ProcessIdentity identity_;
  std::size_t lines_before_rollup_;
  journal::JournalWriter writer_;
  int contexts_ = 0;
  std::vector<journal::JournalLine> kept_;  // every line but windows: a roll-up writes them again
  std::vector<PlacedWindow> windows_;       // those that are in the journal one by one
  std::map<int, std::vector<counters::Group>> groups_;  // by context
  std::map<int, counters::StratumSums> finished_;       // rolled up already, by context
};

// One context's share of it.
class ContextJournal final : public counters::MeterSink {
 public:
  explicit ContextJournal(ProcessJournal* journal)
      : journal_(journal), number_(journal->AddContext()) {}

  void OnContext(const counters::CountedContext& c) override { journal_->Context(number_, c); }
  void OnWindow(const counters::Window& window) override { journal_->Window(number_, window); }
  void OnGap(const counters::Gap& gap) override { journal_->Gap(number_, gap); }

 private:
  ProcessJournal* journal_;
  int number_;
};

}  // namespace ftprof::inject
