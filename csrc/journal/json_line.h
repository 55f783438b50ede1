// Builds canonical JSON: keys sorted, no spaces, ASCII only. Byte for byte what
// ftprof/record/canonical.py makes of the same content, since both are hashed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>

namespace ftprof::journal {

__extension__ typedef unsigned __int128 Uint128;

// Counts are written as decimal strings: exact in every reader of JSON.
std::string Decimal(Uint128 count);

class JsonArray;
class JsonObject;

// One value in its canonical form. Texts are UTF-8; what is none becomes U+FFFD.
class JsonValue {
 public:
  JsonValue(std::nullptr_t) : text_("null") {}
  JsonValue(std::string_view text);
  JsonValue(const std::string& text) : JsonValue(std::string_view(text)) {}
  JsonValue(const char* text) : JsonValue(std::string_view(text)) {}
  JsonValue(const JsonArray& array);
  JsonValue(const JsonObject& object);
  // A template, so that no other kind of pointer becomes a boolean.
  template <typename Bool, std::enable_if_t<std::is_same_v<Bool, bool>, int> = 0>
  JsonValue(Bool flag) : text_(flag ? "true" : "false") {}
  template <typename Whole,
            std::enable_if_t<
                std::is_integral_v<Whole> && (sizeof(Whole) > 1) && (sizeof(Whole) <= 8), int> = 0>
  JsonValue(Whole whole) : text_(std::to_string(whole)) {}

  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

class JsonArray {
 public:
  JsonArray& Add(const JsonValue& value);

  std::string Text() const { return "[" + elements_ + "]"; }

 private:
  std::string elements_;  // with their commas
};

class JsonObject {
 public:
  // A second value of a key replaces the first.
  JsonObject& Set(std::string_view key, const JsonValue& value);
  void Remove(std::string_view key);

  std::string Text() const;

  // Roughly what it takes in memory, in bytes.
  std::size_t Footprint() const noexcept;

 private:
  // UTF-8, whose bytes sort as its code points do, which is how Python sorts.
  std::map<std::string, std::string> members_;
};

}  // namespace ftprof::journal
