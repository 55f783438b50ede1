#include "journal/json_line.h"

#include <algorithm>

#include "journal/utf8.h"

namespace ftprof::journal {
namespace {

void AppendUnit(char32_t unit, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  *out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) *out += kDigits[unit >> shift & 15];
}

void AppendEscaped(char32_t code, std::string* out) {
  constexpr std::string_view kNamed = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
  const std::size_t named =
      code < 0x80 ? kNamed.find(static_cast<char>(code)) : std::string_view::npos;
  if (named != std::string_view::npos) {
    *out += '\\';
    *out += kLetters[named];
  } else if (code >= ' ' && code <= '~') {
    *out += static_cast<char>(code);
  } else if (code < 0x10000) {
    AppendUnit(code, out);
  } else {
    AppendUnit(0xd800 + ((code - 0x10000) >> 10), out);
    AppendUnit(0xdc00 + ((code - 0x10000) & 0x3ff), out);
  }
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const CodePoint first = FirstCodePoint(text);
    AppendEscaped(first.value, &out);
    text.remove_prefix(first.length);
  }
  out += '"';
  return out;
}

std::string ValidUtf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const CodePoint first = FirstCodePoint(text);
    out += first.valid ? text.substr(0, first.length) : std::string_view("\xef\xbf\xbd");
    text.remove_prefix(first.length);
  }
  return out;
}

}  // namespace

std::string Decimal(Uint128 count) {
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(count % 10));
    count /= 10;
  } while (count != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

JsonValue::JsonValue(std::string_view text) : text_(Quoted(text)) {}
JsonValue::JsonValue(const JsonArray& array) : text_(array.Text()) {}
JsonValue::JsonValue(const JsonObject& object) : text_(object.Text()) {}

JsonArray& JsonArray::Add(const JsonValue& value) {
  if (!elements_.empty()) elements_ += ',';
  elements_ += value.text();
  return *this;
}

JsonObject& JsonObject::Set(std::string_view key, const JsonValue& value) {
  members_[ValidUtf8(key)] = value.text();
  return *this;
}

void JsonObject::Remove(std::string_view key) { members_.erase(ValidUtf8(key)); }

std::string JsonObject::Text() const {
  std::string text = "{";
  for (const auto& [key, value] : members_) {
    if (text.size() > 1) text += ',';
    text += Quoted(key);
    text += ':';
    text += value;
  }
  text += '}';
  return text;
}

std::size_t JsonObject::Footprint() const noexcept {
  constexpr std::size_t kNode = 112;  // two strings, the tree's links, the allocator's own
  std::size_t bytes = sizeof(*this);
  for (const auto& [key, value] : members_) bytes += kNode + key.size() + value.size();
  return bytes;
}

}  // namespace ftprof::journal
