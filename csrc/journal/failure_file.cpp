#include "journal/failure_file.h"

#include <fcntl.h>

#include <cerrno>

#include "journal/undisturbed.h"
#include "journal/utf8.h"

namespace ftprof::journal {

FailureFile::FailureFile(const std::string& folder) noexcept {
  const Undisturbed undisturbed;
  try {
    path_ = folder + "/failures.txt";
    (void)Open();
  } catch (...) {  // no memory
  }
}

// The mode is for runs whose processes belong to several users. Where all may write, the kernel
// lets nobody "create" a file that is there and another's (protected_regular).
Trouble FailureFile::Open() {
  const Trouble trouble = file_.Open(path_, 0, 0);
  return trouble.error == ENOENT ? file_.Open(path_, O_CREAT, 0666) : trouble;
}

bool FailureFile::Say(std::string_view why) noexcept {
  const Undisturbed undisturbed;
  try {
    if (file_.opened() ? file_.TakeBack() : Open()) return false;
    return !file_.WriteOnce(AsciiLine(why) + "\n");
  } catch (...) {  // no memory
    return false;
  }
}

std::string AsciiLine(std::string_view text) {
  std::string line;
  bool gap = false;
  while (!text.empty()) {
    const CodePoint first = FirstCodePoint(text);
    text.remove_prefix(first.length);
    const bool blank = first.value == ' ' || (first.value >= '\t' && first.value <= '\r') ||
                       (first.value >= 0x1c && first.value <= 0x1f);
    if (!blank) {
      if (gap && !line.empty()) line += ' ';
      line += first.value < 0x80 ? static_cast<char>(first.value) : '?';
    }
    gap = blank;
  }
  return line;
}

}  // namespace ftprof::journal
