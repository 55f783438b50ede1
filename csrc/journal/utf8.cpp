#include "journal/utf8.h"

namespace ftprof::journal {
namespace {

struct Range {
  unsigned char low, high;
};

// What may follow the first byte: no overlong forms, no surrogates, nothing above U+10FFFF.
Range SecondByte(unsigned char first) noexcept {
  switch (first) {
    case 0xe0:
      return {0xa0, 0xbf};
    case 0xed:
      return {0x80, 0x9f};
    case 0xf0:
      return {0x90, 0xbf};
    case 0xf4:
      return {0x80, 0x8f};
    default:
      return {0x80, 0xbf};
  }
}

std::size_t SequenceLength(unsigned char first) noexcept {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (first >= 0xe0 && first <= 0xef) return 3;
  if (first >= 0xf0 && first <= 0xf4) return 4;
  return 0;
}

}  // namespace

CodePoint FirstCodePoint(std::string_view text) noexcept {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = SequenceLength(first);
  if (length == 1) return {first, 1, true};
  if (length == 0) return {kReplacement, 1, false};
  char32_t value = first & (0xffU >> (length + 1));
  Range range = SecondByte(first);
  for (std::size_t i = 1; i < length; ++i) {
    const unsigned char byte = i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    if (byte < range.low || byte > range.high) return {kReplacement, i, false};
    value = value << 6 | (byte & 0x3fU);
    range = {0x80, 0xbf};
  }
  return {value, length, true};
}

}  // namespace ftprof::journal
