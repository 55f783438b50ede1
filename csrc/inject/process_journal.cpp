#include "inject/process_journal.h"

#include <algorithm>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "counters/metric_catalogue.h"
#include "journal/clock.h"

namespace ftprof::inject {
namespace {

using counters::CountedContext;
using journal::JsonArray;
using journal::JsonObject;

std::string DeviceName(const cupti::DeviceInfo& device) {
  return "cuda:" + std::to_string(device.ordinal);
}

template <typename Counts>
JsonArray Decimals(const Counts& counts) {
  JsonArray array;
  for (const auto count : counts) array.Add(journal::Decimal(count));
  return array;
}

template <typename Texts>
JsonArray TextArray(const Texts& texts) {
  JsonArray array;
  for (const auto& text : texts) array.Add(text);
  return array;
}

JsonObject DeviceLine(const CountedContext& context) {
  const cupti::DeviceInfo& device = context.device;
  JsonObject line;
  line.Set("device", DeviceName(device)).Set("name", device.name).Set("uuid", device.uuid);
  line.Set("capability", device.capability).Set("chip", context.plan.chip);
  line.Set("multiprocessors", device.multiprocessors).Set("clock_khz", device.clock_khz);
  return line;
}

// What a count of it is worth is written too: the journal must be readable without this program.
JsonObject MetricLine(const std::string& name) {
  JsonObject line;
  line.Set("name", name);
  const counters::Metric* metric = counters::FindMetric(name);
  if (metric == nullptr) return line;
  line.Set("precision", metric->precision).Set("kind", counters::KindName(metric->kind));
  line.Set("weight", metric->weight);
  return line;
}

JsonArray GroupLines(const counters::Plan& plan) {
  JsonArray groups;
  for (const counters::Group& group : plan.groups) {
    JsonArray metrics;
    for (const std::string& name : group.metrics) metrics.Add(MetricLine(name));
    JsonObject line;
    line.Set("role", counters::RoleName(group.role)).Set("metrics", metrics);
    groups.Add(line);
  }
  return groups;
}

JsonObject StratumLine(int context, std::uint64_t number, const counters::Stratum& stratum) {
  JsonArray groups;
  for (const auto& [group, sums] : stratum.groups) {
    JsonObject line;
    line.Set("group", group).Set("windows", sums.windows).Set("time_us", sums.time_us);
    line.Set("sums", Decimals(sums.sums)).Set("squares", Decimals(sums.squares));
    line.Set("products", Decimals(sums.products));
    if (sums.continued != 0) {
      line.Set("continued", sums.continued).Set("slot_squares", Decimals(sums.slot_squares));
      line.Set("slot_products", Decimals(sums.slot_products));
    }
    groups.Add(line);
  }
  JsonObject line;
  line.Set("context", context).Set("stratum", number);
  line.Set("begin_us", stratum.begin_us).Set("end_us", stratum.end_us).Set("groups", groups);
  return line;
}

JsonObject WindowLine(int context, const counters::Window& window) {
  JsonObject line;
  line.Set("context", context).Set("group", window.group).Set("stratum", window.stratum);
  line.Set("begin_us", window.begin_us).Set("end_us", window.end_us);
  line.Set("counts", Decimals(window.counts));
  if (window.continued) line.Set("continued", true);
  return line;
}

}  // namespace

// The environment is read here, on a thread of the application's: it may change it at any time.
ProcessJournal::ProcessJournal(const std::string& run_directory, const std::string& run_id,
                               const journal::ProcessIdentity& identity,
                               std::size_t lines_before_rollup, journal::FailureFile* failures)
    : lines_before_rollup_(lines_before_rollup), writer_([&] {
        journal::JournalSettings settings;
        settings.folder = run_directory;
        settings.identity = identity;
        settings.failures = failures;
        return settings;
      }()) {
  header_.Set("schema", "ftprof.journal/1").Set("run", run_id).Set("role", "process");
  header_.Set("method", "counters");
  header_.Set("devices", JsonArray()).Set("unwatched", JsonArray());
  journal::DescribeProcess(identity, &header_);
}

// Under the lock.
const JsonObject& ProcessJournal::HeaderWith(const cupti::LibraryInfo& cupti,
                                             const std::string& driver,
                                             const std::string& contexts) {
  JsonObject software;
  software.Set("system", journal::SystemText()).Set("driver", driver);
  software.Set("cupti", cupti.version).Set("cupti_path", cupti.path);
  software.Set("cupti_origin", cupti.origin).Set("cupti_warning", cupti.warning);
  software.Set("contexts", contexts);
  header_.Set("time_us", journal::NowUs()).Set("software", software);
  return header_;
}

void ProcessJournal::Begin(const cupti::LibraryInfo& cupti, const std::string& driver,
                           const std::string& contexts) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!ended_ && !std::exchange(begun_, true)) {
    (void)writer_.Begin(HeaderWith(cupti, driver, contexts));
  }
}

int ProcessJournal::AddContext() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return contexts_++;
}

void ProcessJournal::Context(int number, const CountedContext& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  known_[number].groups = context.plan.groups;
  std::int64_t& told_until_us = known_[number].told_until_us;
  told_until_us = std::max(told_until_us, context.begin_us);
  std::vector<std::string> unsupported;
  for (const counters::Unsupported& metric : context.plan.unsupported) {
    unsupported.push_back(metric.metric);
  }
  JsonObject line;
  line.Set("context", number).Set("device", DeviceLine(context));
  line.Set("groups", GroupLines(context.plan)).Set("unsupported", TextArray(unsupported));
  line.Set("seed", std::to_string(context.seed)).Set("begin_us", context.begin_us);
  Keep("context", std::move(line));
}

void ProcessJournal::Window(int number, const counters::Window& window) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;
  known_[number].told_until_us = window.end_us;
  // Known before it is written: a roll-up keeps what is known.
  windows_.push_back({number, window});
  (void)writer_.Append("counts", WindowLine(number, window));
  has_windows_ = true;
  if (windows_.size() >= lines_before_rollup_) TryToRollUp();
}

// Without memory for it the windows stay in the journal one by one.
void ProcessJournal::TryToRollUp() {
  try {
    RollUp();
  } catch (const std::bad_alloc&) {
    lines_before_rollup_ *= 2;
  }
}

void ProcessJournal::Gap(int number, const counters::Gap& gap) {
  const std::lock_guard<std::mutex> lock(mutex_);
  WriteGap(number, gap);
}

void ProcessJournal::WriteGap(int number, const counters::Gap& gap) {
  std::int64_t& told_until_us = known_[number].told_until_us;
  told_until_us = std::max(told_until_us, gap.end_us);
  JsonObject line;
  line.Set("context", number).Set("begin_us", gap.begin_us).Set("end_us", gap.end_us);
  line.Set("reason", gap.error.name()).Set("call", gap.error.call());
  line.Set("code", gap.error.code()).Set("remedy", gap.error.remedy());
  Keep("gap", std::move(line));
}

void ProcessJournal::ContextEnd(int number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  known_[number].ended = true;
}

void ProcessJournal::ContextGone(int number, std::int64_t time_us) {
  const std::lock_guard<std::mutex> lock(mutex_);
  JsonObject line;
  line.Set("context", number).Set("time_us", time_us);
  Keep("context-end", std::move(line));
}

void ProcessJournal::Uncounted(const std::string& device, const std::string& what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  WriteUncounted(device, what);
}

void ProcessJournal::WriteUncounted(const std::string& device, const std::string& what) {
  JsonObject line;
  line.Set("context", nullptr).Set("device", device).Set("what", what);
  Keep("uncounted", std::move(line));
}

void ProcessJournal::Problem(const std::string& what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  JsonObject line;
  line.Set("what", what).Set("time_us", journal::NowUs());
  Keep("problem", std::move(line));
}

void ProcessJournal::End(const std::string& reason) noexcept {
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    WriteEnd(reason, "the meter ran out of memory");
  } catch (const std::exception&) {  // no memory
  }
}

void ProcessJournal::EndBefore(const std::string& reason, const char* why, const char* untold,
                               std::chrono::milliseconds patience) noexcept {
  try {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    for (; !lock && patience.count() > 0; --patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      (void)lock.try_lock();
    }
    if (!lock) return;
    if (untold != nullptr && !ended_) {
      if (!std::exchange(begun_, true)) (void)writer_.Begin(HeaderWith({}, "", "primary"));
      WriteUncounted("", untold);
    }
    if (begun_) WriteEnd(reason, why);
  } catch (const std::exception&) {  // no memory
  }
}

void ProcessJournal::WriteEnd(const std::string& reason, const char* why_unended) {
  if (ended_) return;
  for (const auto& [number, context] : known_) {
    if (context.ended) continue;
    WriteGap(number, {context.told_until_us, journal::NowUs(),
                      cupti::CuptiError("count", 0, why_unended, {})});
  }
  ended_ = true;
  JsonObject line;
  line.Set("reason", reason).Set("time_us", journal::NowUs());
  (void)writer_.Append("end", std::move(line), journal::Need::kMuch);
}

void ProcessJournal::Keep(const char* kind, JsonObject content) {
  if (ended_) return;
  kept_.push_back({kind, content});
  (void)writer_.Append(kind, std::move(content), journal::Need::kMuch);
}

// All windows but those of each context's last stratum, which goes on, are replaced by their sums.
void ProcessJournal::RollUp() {
  std::map<int, std::uint64_t> last;
  for (const PlacedWindow& placed : windows_) {
    last[placed.context] = std::max(last[placed.context], placed.window.stratum);
  }
  std::vector<PlacedWindow> finished;
  std::vector<PlacedWindow> open;
  for (const PlacedWindow& placed : windows_) {
    (placed.window.stratum < last[placed.context] ? finished : open).push_back(placed);
  }
  if (finished.empty()) {
    lines_before_rollup_ *= 2;  // one stratum has all of them: wait for its end
    return;
  }
  std::map<int, counters::StratumSums> sums = finished_;
  JsonObject rollup = RollUpLine(finished, &sums);
  std::vector<journal::JournalLine> after;
  after.reserve(open.size());
  for (const PlacedWindow& placed : open) {
    after.push_back({"counts", WindowLine(placed.context, placed.window)});
  }
  if (writer_.ReplaceFinished(kept_, std::move(rollup), after)) {
    finished_.swap(sums);
    windows_.swap(open);
  } else {
    lines_before_rollup_ *= 2;  // a full disk: the old journal stands. Not again with every window
  }
}

JsonObject ProcessJournal::RollUpLine(const std::vector<PlacedWindow>& finished,
                                      std::map<int, counters::StratumSums>* all) const {
  for (const PlacedWindow& placed : finished) {
    const counters::Group& group = known_.at(placed.context).groups.at(placed.window.group);
    (*all)[placed.context].Add(placed.window, counters::DenominatorOf(group));
  }
  JsonArray strata;
  std::int64_t first_us = finished.front().window.begin_us;
  for (const auto& [context, sums] : *all) {
    for (const auto& [number, stratum] : sums.strata()) {
      strata.Add(StratumLine(context, number, stratum));
      first_us = std::min(first_us, stratum.begin_us);
    }
  }
  JsonObject line;
  line.Set("strata", strata).Set("first_us", first_us);
  line.Set("last_us", finished.back().window.end_us);
  return line;
}

}  // namespace ftprof::inject
