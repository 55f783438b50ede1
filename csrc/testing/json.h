// Stand-in for tests, never shipped: reads the JSON of the script.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ftprof::standin {

// A parsed JSON value. Every accessor throws std::runtime_error where the value is of another type.
class Json {
 public:
  enum class Type { kNull, kBool, kNumber, kString, kArray, kObject };

  static Json Parse(const std::string& text);

  Type type() const noexcept { return type_; }
  bool Bool() const;
  double Number() const;         // also the strings "nan" and "inf"
  std::uint64_t Count() const;   // a whole number, or a string of decimal digits
  std::int64_t Integer() const;  // may be negative
  const std::string& String() const;
  const std::vector<Json>& Array() const;
  const std::map<std::string, Json>& Object() const;

  // The member of an object, or null.
  const Json* Find(const std::string& key) const;

 private:
  friend class JsonParser;

  Type type_ = Type::kNull;
  bool bool_ = false;
  std::string text_;  // a string's value, a number's digits
  std::vector<Json> array_;
  std::map<std::string, Json> object_;
};

}  // namespace ftprof::standin
