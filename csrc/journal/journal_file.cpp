#include "journal/journal_file.h"

#include <unistd.h>

#include <climits>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "journal/clock.h"
#include "journal/undisturbed.h"

namespace ftprof::journal {
namespace {

// A run directory that is relative is meant from where the program began, not from where it goes.
std::string Absolute(const std::string& folder) {
  char current[PATH_MAX];
  if (!folder.empty() && folder[0] == '/') return folder;
  if (getcwd(current, sizeof(current)) == nullptr) return folder;
  return std::string(current) + "/" + folder;
}

}  // namespace

struct JournalWriter::Inside {
  explicit Inside(const JournalSettings& settings)
      : file(Absolute(settings.folder) + "/" + JournalName(settings.identity, settings.suffix)),
        failures(settings.failures),
        held_bytes(settings.held_bytes),
        sync_each_line(settings.sync_each_line) {}

  Kept Hold(const char* kind, JsonObject content, Need need) noexcept;
  bool WriteHeld() noexcept;
  Trouble WriteNext();
  void Tell(const Trouble& failed);

  struct HeldLine {
    JournalLine line;
    std::size_t bytes;
  };

  std::mutex lock;
  const pid_t pid = getpid();
  ChainedFile file;
  FailureFile* const failures;
  const std::size_t held_bytes;
  const bool sync_each_line;
  std::optional<JsonObject> header;  // not yet on disk
  std::deque<HeldLine> held;
  std::size_t holding = 0;  // bytes
  std::uint64_t lost = 0, lost_unsaid = 0;
  std::string latest_trouble;
  bool told = false;
};

Kept JournalWriter::Inside::Hold(const char* kind, JsonObject content, Need need) noexcept {
  const std::size_t bytes = content.Footprint() + sizeof(HeldLine);
  const std::size_t bound = need == Need::kMuch ? held_bytes : held_bytes / 2;
  // The line that is written at once needs no room.
  if (held.empty() || holding + bytes <= bound) {
    try {
      held.push_back({{kind, std::move(content)}, bytes});
      holding += bytes;
      return Kept::kInMemory;
    } catch (...) {  // no memory
    }
  }
  ++lost, ++lost_unsaid;
  return Kept::kLost;
}

// Writes the line that is the next to be, in the order in which they were given.
Trouble JournalWriter::Inside::WriteNext() {
  if (header) {
    const Trouble trouble = file.Begin(*header);
    if (!trouble) header.reset();
    return trouble;
  }
  if (!held.empty()) {
    const HeldLine& first = held.front();
    if (const Trouble trouble = file.Append(first.line.kind, first.line.content)) return trouble;
    holding -= first.bytes;
    held.pop_front();
    return {};
  }
  JsonObject problem;
  problem.Set("time_us", NowUs())
      .Set("what", "the journal could not be written for a while; " + std::to_string(lost_unsaid) +
                       " of its lines did not fit into memory and are lost");
  const Trouble trouble = file.Append("problem", problem);
  if (!trouble) lost_unsaid = 0;
  return trouble;
}

bool JournalWriter::Inside::WriteHeld() noexcept {
  try {
    while (header || !held.empty() || lost_unsaid != 0) {
      Trouble failed = WriteNext();
      if (!failed && sync_each_line) failed = file.Sync();
      if (failed) {
        Tell(failed);
        return false;
      }
    }
    latest_trouble.clear();
    return true;
  } catch (...) {  // no memory: what was not written still waits
    return false;
  }
}

void JournalWriter::Inside::Tell(const Trouble& failed) {
  latest_trouble = failed.Text();
  if (told || failures == nullptr) return;
  told = failures->Say("process " + std::to_string(pid) +
                       ": the counters meter cannot write its journal: " + latest_trouble);
}

JournalWriter::JournalWriter(JournalSettings settings) : inside_(new Inside(settings)) {}

JournalWriter::~JournalWriter() {
  const Undisturbed undisturbed;
  delete inside_;
}

Kept JournalWriter::Begin(JsonObject header) noexcept {
  if (inside_ == nullptr || inside_->pid != getpid()) return Kept::kLost;
  const Undisturbed undisturbed;
  const std::lock_guard<std::mutex> guard(inside_->lock);
  inside_->header = std::move(header);
  return inside_->WriteHeld() ? Kept::kOnDisk : Kept::kInMemory;
}

Kept JournalWriter::Append(const char* kind, JsonObject content, Need need) noexcept {
  if (inside_ == nullptr || inside_->pid != getpid()) return Kept::kLost;
  const Undisturbed undisturbed;
  const std::lock_guard<std::mutex> guard(inside_->lock);
  const bool writable = inside_->WriteHeld();
  const Kept kept = inside_->Hold(kind, std::move(content), need);
  if (!writable || !inside_->WriteHeld()) return kept;
  return kept == Kept::kInMemory ? Kept::kOnDisk : kept;
}

bool JournalWriter::Flush() noexcept {
  if (inside_ == nullptr || inside_->pid != getpid()) return false;
  const Undisturbed undisturbed;
  const std::lock_guard<std::mutex> guard(inside_->lock);
  return inside_->WriteHeld();
}

bool JournalWriter::ReplaceFinished(const std::vector<JournalLine>& before, JsonObject rollup,
                                    const std::vector<JournalLine>& after) noexcept {
  if (inside_ == nullptr || inside_->pid != getpid()) return false;
  const Undisturbed undisturbed;
  const std::lock_guard<std::mutex> guard(inside_->lock);
  if (!inside_->WriteHeld()) return false;
  try {
    const Trouble failed = inside_->file.Replace(before, std::move(rollup), after);
    if (failed) inside_->latest_trouble = failed.Text();
    return !failed;
  } catch (...) {  // no memory
    return false;
  }
}

void JournalWriter::ForgetInChild() noexcept {
  const Undisturbed undisturbed;
  if (inside_ == nullptr) return;
  inside_->file.CloseInChild();
  forgotten_ = std::exchange(inside_, nullptr);
}

JournalState JournalWriter::State() const {
  JournalState state;
  if (inside_ == nullptr || inside_->pid != getpid()) return state;
  const std::lock_guard<std::mutex> guard(inside_->lock);
  const ChainEnd& end = inside_->file.end();
  state.path = inside_->file.path();
  state.continues = inside_->file.continues();
  state.bytes = end.bytes;
  state.lines = end.lines;
  state.held_lines = inside_->held.size() + (inside_->header ? 1 : 0);
  state.lost_lines = inside_->lost;
  state.trouble = inside_->latest_trouble;
  return state;
}

}  // namespace ftprof::journal
