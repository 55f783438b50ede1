// The file of a journal and the chain of hashes through it. No lock and no memory of what could not
// be written: that is JournalWriter's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "journal/json_line.h"
#include "journal/owned_file.h"
#include "journal/sha256.h"

namespace ftprof::journal {

struct JournalLine {
  std::string kind;
  JsonObject content;
};

// What the first line of a chain names as the hash before it.
constexpr Sha256Text FirstHash() noexcept {
  Sha256Text zeros = {};
  for (char& digit : zeros) digit = '0';
  return zeros;
}

// Where a chain stands. Copying it takes no memory, so that it cannot fail behind a write.
struct ChainEnd {
  Sha256Text hash = FirstHash();
  std::uint64_t bytes = 0;
  std::uint64_t lines = 0;
};

class ChainedFile {
 public:
  explicit ChainedFile(std::string path) : path_(std::move(path)) {}

  // Makes the file and writes its header. The same process may have begun it before it replaced its
  // program (exec): then the line's kind is "program", and the chain goes on. May be called again
  // where it failed.
  Trouble Begin(JsonObject header);

  // Adds a line with one write. Where that fails the file is as it was, or is made so before the
  // next line: half a line can stay only where the process is killed.
  Trouble Append(const std::string& kind, JsonObject content);

  // Writes a new file beside and renames it over this one, so that at any moment there is a whole
  // journal: what was there up to this program's header or program line, then the lines given with
  // the roll-up between them, which names the head and the number of lines of the old file.
  Trouble Replace(const std::vector<JournalLine>& before, JsonObject rollup,
                  const std::vector<JournalLine>& after);

  Trouble Sync() const noexcept { return file_.Sync(); }
  void CloseInChild() const noexcept { file_.CloseInChild(); }

  const std::string& path() const noexcept { return path_; }
  const ChainEnd& end() const noexcept { return end_; }
  bool continues() const noexcept { return continues_; }

 private:
  Trouble TakeUp();
  Trouble MakeReady();
  Trouble Restore();
  Trouble Install(std::string_view text, OwnedFile* made);

  std::string path_;
  OwnedFile file_;
  bool ready_ = false;  // open, and end_ is what is in it
  bool continues_ = false;
  bool torn_ = false;  // behind end_ there is half a line, which could not be taken back
  ChainEnd end_;
  ChainEnd begun_;  // after this program's first line
};

}  // namespace ftprof::journal
