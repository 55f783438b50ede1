#include "journal/chained_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "journal/sha256.h"

namespace ftprof::journal {
namespace {

constexpr mode_t kMode = 0644;
constexpr int kAttempts = 8;

// The line with its newline; end becomes the chain's end behind it.
std::string Chained(const std::string& kind, JsonObject content, ChainEnd* end) {
  content.Remove("hash");
  content.Set("kind", kind).Set("previous", View(end->hash));
  const Sha256Text hash = Sha256Hex(content.Text());
  std::string text = content.Set("hash", View(hash)).Text() + "\n";
  *end = {hash, end->bytes + text.size(), end->lines + 1};
  return text;
}

// The hash of a whole line; false where it is not that of its content. Without a parser: wherever a
// hash may stand, the line without it must have it.
bool VerifiedHash(std::string_view line, Sha256Text* hash) {
  constexpr std::string_view kMember = "\"hash\":\"";
  for (std::size_t at = line.find(kMember); at != std::string_view::npos;
       at = line.find(kMember, at + 1)) {
    const std::string_view digits = line.substr(at + kMember.size(), hash->size());
    const std::size_t end = at + kMember.size() + hash->size() + 1;  // behind the closing quote
    if (end >= line.size()) break;
    const bool comma_follows = line[end] == ',';
    std::string rest(line.substr(0, comma_follows ? at : at - 1));
    rest += line.substr(comma_follows ? end + 1 : end);
    *hash = Sha256Hex(rest);
    if (View(*hash) == digits) return true;
  }
  return false;
}

}  // namespace

Trouble ChainedFile::Begin(JsonObject header) {
  if (!ready_) {
    Trouble trouble = file_.Open(path_, O_CREAT | O_EXCL, kMode);
    if (trouble && trouble.error == EEXIST) {
      trouble = file_.Open(path_, 0, 0);
      if (!trouble) trouble = TakeUp();
    }
    if (trouble) return trouble;
    ready_ = true;
  }
  const Trouble trouble = Append(continues_ ? "program" : "header", std::move(header));
  if (!trouble) begun_ = end_;
  return trouble;
}

Trouble ChainedFile::TakeUp() {
  FileState state;
  std::string text;
  if (const Trouble trouble = file_.State(&state)) return trouble;
  if (const Trouble trouble = file_.Read(0, state.size, &text)) return trouble;
  const std::size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
  ChainEnd end;
  if (whole != 0) {
    std::string_view last = std::string_view(text).substr(0, whole - 1);
    last.remove_prefix(last.rfind('\n') + 1);
    end.bytes = whole;
    end.lines = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
    if (!VerifiedHash(last, &end.hash)) {
      return {"it has been there before, and its last line does not verify", 0};
    }
  }
  if (whole != text.size()) {
    if (const Trouble trouble = file_.CutTo(whole)) return trouble;
  }
  end_ = end;
  continues_ = whole != 0;
  return {};
}

Trouble ChainedFile::Append(const std::string& kind, JsonObject content) {
  ChainEnd next = end_;
  const std::string text = Chained(kind, std::move(content), &next);
  Trouble trouble;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    trouble = MakeReady();
    if (!trouble) {
      trouble = file_.WriteOnce(text);
      if (!trouble) {
        end_ = next;
        return {};
      }
      if (trouble.error != EBADF) {
        FileState state;
        torn_ = file_.State(&state) || (state.size != end_.bytes && file_.CutTo(end_.bytes));
      }
    }
    // Closed by the program in this very moment: nothing was written anywhere.
    if (trouble.error != EBADF) return trouble;
  }
  return trouble;
}

// Makes sure that the next line goes to our file, behind our last line.
Trouble ChainedFile::MakeReady() {
  if (const Trouble trouble = file_.TakeBack()) return trouble;
  FileState state;
  if (const Trouble trouble = file_.State(&state)) return trouble;
  if (state.deleted) return Restore();
  if (state.size == end_.bytes) {
    torn_ = false;
    return {};
  }
  if (!torn_ || state.size < end_.bytes) return {"somebody else has changed it", 0};
  const Trouble trouble = file_.CutTo(end_.bytes);
  torn_ = bool(trouble);
  return trouble;
}

// A deleted file can be read as long as it is open, so that it can come back once its folder has.
Trouble ChainedFile::Restore() {
  std::string text;
  if (const Trouble trouble = file_.Read(0, end_.bytes, &text)) return trouble;
  struct stat status;
  if (lstat(path_.c_str(), &status) == 0) {
    return {"it was deleted, and another file has its name", 0};
  }
  OwnedFile made;
  if (Trouble trouble = Install(text, &made)) {
    trouble.what = "it was deleted, and cannot be made again";
    return trouble;
  }
  file_ = std::move(made);
  torn_ = false;
  return {};
}

// The name is none that the journals' pattern (*.journal) takes in.
Trouble ChainedFile::Install(std::string_view text, OwnedFile* made) {
  const std::string beside = path_ + ".new";
  std::string final_path = path_;  // now: nothing may fail behind the renaming
  (void)unlink(beside.c_str());    // of a program that was replaced in the midst of this
  if (const Trouble trouble = made->Open(beside, O_CREAT | O_EXCL, kMode)) return trouble;
  Trouble trouble = made->WriteAll(text);
  if (!trouble) trouble = made->Sync();  // else a power failure may leave the new name, but empty
  if (!trouble && std::rename(beside.c_str(), path_.c_str()) != 0) {
    trouble = {"the new one cannot take its place", errno};
  }
  if (trouble) {
    (void)unlink(beside.c_str());
  } else {
    made->Renamed(std::move(final_path));
  }
  return trouble;
}

Trouble ChainedFile::Replace(const std::vector<JournalLine>& before, JsonObject rollup,
                             const std::vector<JournalLine>& after) {
  if (const Trouble trouble = MakeReady()) return trouble;
  if (!file_.IsAt(path_)) return {"it was moved", 0};
  std::string text;
  if (const Trouble trouble = file_.Read(0, begun_.bytes, &text)) return trouble;
  ChainEnd next = begun_;
  rollup.Set("replaces_head", View(end_.hash)).Set("replaced_lines", end_.lines);
  for (const JournalLine& line : before) text += Chained(line.kind, line.content, &next);
  text += Chained("rollup", std::move(rollup), &next);
  for (const JournalLine& line : after) text += Chained(line.kind, line.content, &next);
  OwnedFile made;
  if (const Trouble trouble = Install(text, &made)) return trouble;
  file_ = std::move(made);
  end_ = next;
  return {};
}

}  // namespace ftprof::journal
