// Reads UTF-8 that may be broken.
#pragma once

#include <cstddef>
#include <string_view>

namespace ftprof::journal {

constexpr char32_t kReplacement = 0xfffd;

struct CodePoint {
  char32_t value;      // kReplacement where the bytes are no UTF-8
  std::size_t length;  // bytes that it took, at least one
  bool valid;
};

// The first code point of a text that is not empty. Broken bytes are taken as Python's decoder
// takes them: the longest beginning of a sequence that could have become one is one replacement.
CodePoint FirstCodePoint(std::string_view text) noexcept;

}  // namespace ftprof::journal
