// The last resort where there is no journal: failures.txt, which all processes of a run share.
#pragma once

#include <string>
#include <string_view>

#include "journal/owned_file.h"

namespace ftprof::journal {

class FailureFile {
 public:
  // Opened before it is needed, since a fork may have given up the right to open files; a forked
  // child goes on with its parent's.
  explicit FailureFile(const std::string& folder) noexcept;

  // Adds one line in ASCII; false where the file cannot be had. One thread at a time.
  bool Say(std::string_view why) noexcept;

 private:
  Trouble Open();

  std::string path_;
  OwnedFile file_;
};

// White space as single blanks, what is not ASCII as question marks.
std::string AsciiLine(std::string_view text);

}  // namespace ftprof::journal
