// Stand-in for tests, never shipped: reads the JSON of the script.
#include "testing/json.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <utility>

namespace ftprof::standin {
namespace {

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error("script: " + what); }

void Require(bool holds, const char* what) {
  if (!holds) Fail(std::string("a value is no ") + what);
}

bool AllDigits(const std::string& text) {
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) return false;
  }
  return !text.empty();
}

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(const std::string& text) : text_(text) {}

  Json Whole() {
    Json value = Value(0);
    SkipSpace();
    if (position_ != text_.size()) Bad("text after its end");
    return value;
  }

 private:
  [[noreturn]] void Bad(const std::string& what) const {
    Fail(what + " at byte " + std::to_string(position_));
  }

  void SkipSpace() {
    while (position_ < text_.size() && std::string(" \t\r\n").find(text_[position_]) != kNone) {
      ++position_;
    }
  }

  char Peek() {
    SkipSpace();
    if (position_ >= text_.size()) Bad("it ends too early");
    return text_[position_];
  }

  bool Take(char expected) {
    if (Peek() != expected) return false;
    ++position_;
    return true;
  }

  void Expect(char expected) {
    if (!Take(expected)) Bad(std::string("no '") + expected + "'");
  }

  bool TakeWord(const std::string& word) {
    if (text_.compare(position_, word.size(), word) != 0) return false;
    position_ += word.size();
    return true;
  }

  Json Value(int depth) {
    if (depth > kDeepest) Bad("too deep");
    Json value;
    const char next = Peek();
    if (next == '{') {
      ParseObject(depth, &value);
    } else if (next == '[') {
      ParseArray(depth, &value);
    } else if (next == '"') {
      value.type_ = Json::Type::kString;
      value.text_ = Text();
    } else if (TakeWord("true") || TakeWord("false")) {
      value.type_ = Json::Type::kBool;
      value.bool_ = text_[position_ - 2] == 'u';
    } else if (!TakeWord("null")) {
      value.type_ = Json::Type::kNumber;
      value.text_ = Digits();
    }
    return value;
  }

  void ParseObject(int depth, Json* value) {
    value->type_ = Json::Type::kObject;
    Expect('{');
    if (Take('}')) return;
    do {
      if (Peek() != '"') Bad("no key");
      std::string key = Text();
      Expect(':');
      if (!value->object_.emplace(std::move(key), Value(depth + 1)).second) Bad("a key twice");
    } while (Take(','));
    Expect('}');
  }

  void ParseArray(int depth, Json* value) {
    value->type_ = Json::Type::kArray;
    Expect('[');
    if (Take(']')) return;
    do {
      value->array_.push_back(Value(depth + 1));
    } while (Take(','));
    Expect(']');
  }

  std::string Text() {
    Expect('"');
    std::string result;
    while (position_ < text_.size() && text_[position_] != '"') {
      char c = text_[position_++];
      if (c == '\\') c = Escaped();
      result += c;
    }
    if (position_ >= text_.size()) Bad("a string without end");
    ++position_;
    return result;
  }

  char Escaped() {
    if (position_ >= text_.size()) Bad("a string without end");
    const char c = text_[position_++];
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case '"':
      case '\\':
      case '/':
        return c;
      default:
        Bad("an escape that the stand-ins do not know");
    }
  }

  std::string Digits() {
    const std::size_t begin = position_;
    while (position_ < text_.size() &&
           std::string("+-.0123456789eE").find(text_[position_]) != kNone) {
      ++position_;
    }
    if (position_ == begin) Bad("no value");
    return text_.substr(begin, position_ - begin);
  }

  static constexpr std::size_t kNone = std::string::npos;
  static constexpr int kDeepest = 32;
  const std::string& text_;
  std::size_t position_ = 0;
};

Json Json::Parse(const std::string& text) { return JsonParser(text).Whole(); }

bool Json::Bool() const {
  Require(type_ == Type::kBool, "true or false");
  return bool_;
}

double Json::Number() const {
  if (type_ == Type::kString && text_ == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (type_ == Type::kString && text_ == "inf") return std::numeric_limits<double>::infinity();
  Require(type_ == Type::kNumber, "number");
  return std::strtod(text_.c_str(), nullptr);
}

std::uint64_t Json::Count() const {
  Require(type_ == Type::kNumber || type_ == Type::kString, "count");
  if (AllDigits(text_)) return std::strtoull(text_.c_str(), nullptr, 10);
  const double value = type_ == Type::kNumber ? Number() : -1;
  Require(value >= 0 && value < 0x1p63 && value == std::floor(value), "count");
  return static_cast<std::uint64_t>(value);
}

std::int64_t Json::Integer() const {
  Require(type_ == Type::kNumber, "number");
  if (text_[0] == '-') return -static_cast<std::int64_t>(Parse(text_.substr(1)).Count());
  return static_cast<std::int64_t>(Count());
}

const std::string& Json::String() const {
  Require(type_ == Type::kString, "string");
  return text_;
}

const std::vector<Json>& Json::Array() const {
  Require(type_ == Type::kArray, "array");
  return array_;
}

const std::map<std::string, Json>& Json::Object() const {
  Require(type_ == Type::kObject, "object");
  return object_;
}

const Json* Json::Find(const std::string& key) const {
  const auto found = Object().find(key);
  return found == object_.end() ? nullptr : &found->second;
}

}  // namespace ftprof::standin
