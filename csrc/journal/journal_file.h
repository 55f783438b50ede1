// One process's journal: append-only JSON lines, each with the hash of the one before it, which
// ftprof/record/journal.py reads. It is written inside other people's training, so that nothing it
// does may end, stop or disturb that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "journal/chained_file.h"
#include "journal/failure_file.h"
#include "journal/json_line.h"
#include "journal/process_identity.h"

namespace ftprof::journal {

struct JournalSettings {
  std::string folder;
  ProcessIdentity identity;
  std::string suffix = "-counters";
  FailureFile* failures = nullptr;  // outlives the writer; may be null
  std::size_t held_bytes = std::size_t{4} << 20;
  // Without it a line is in the kernel's page cache once it is written: that outlives the process,
  // also its SIGKILL, but not the machine. A network file system may report a full disk only here.
  bool sync_each_line = false;
};

enum class Kept {
  kOnDisk,
  kInMemory,  // not yet written, tried again with each further line: do not append it again
  kLost,
};

// A line whose loss makes the others worthless (a context, the end) may use memory that the usual
// ones (a window) leave to it.
enum class Need { kUsual, kMuch };

struct JournalState {
  std::string path;
  bool continues = false;  // the process began this journal with an earlier program
  std::uint64_t bytes = 0, lines = 0, held_lines = 0, lost_lines = 0;
  std::string trouble;  // the latest, empty after a success
};

// Lines that cannot be written (full disk, folder gone, no descriptor left) wait in memory up to a
// bound. failures.txt is told once. Lines that were lost beyond the bound become a
// "problem" line once there is space again. Any thread may call anything but ForgetInChild.
class JournalWriter {
 public:
  explicit JournalWriter(JournalSettings settings);
  ~JournalWriter();
  JournalWriter(const JournalWriter&) = delete;
  JournalWriter& operator=(const JournalWriter&) = delete;

  // The header of schemas/journal-1.json, without kind, previous and hash. Once, and first.
  Kept Begin(JsonObject header) noexcept;
  Kept Append(const char* kind, JsonObject content, Need need = Need::kUsual) noexcept;

  // Tries to write what waits in memory; true where nothing does any more.
  bool Flush() noexcept;

  // The roll-up: see ChainedFile::Replace. False, and the journal as it was, where that failed or
  // lines still wait in memory. It waits for the disk, with other callers waiting.
  bool ReplaceFinished(const std::vector<JournalLine>& before, JsonObject rollup,
                       const std::vector<JournalLine>& after) noexcept;

  // In a forked child, before anything else: closes the parent's journal there. Takes no lock and
  // no memory. Whatever is called afterwards has no effect; the child makes a writer of its own.
  void ForgetInChild() noexcept;

  JournalState State() const;

 private:
  struct Inside;

  Inside* inside_;
  Inside* forgotten_ = nullptr;  // the parent's threads may have been in the midst of changing it
};

}  // namespace ftprof::journal
