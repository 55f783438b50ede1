// The one error type of the CUPTI layer.
#pragma once

#include <stdexcept>
#include <string>

namespace ftprof::cupti {

// A failed call, or a CUPTI that cannot be used. what() is one line: call, code, name, remedy.
class CuptiError : public std::runtime_error {
 public:
  // code is the CUptiResult, or 0 where no CUPTI function was reached; remedy may be empty.
  CuptiError(std::string call, int code, std::string name, std::string remedy);

  const std::string& call() const noexcept { return call_; }
  int code() const noexcept { return code_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& remedy() const noexcept { return remedy_; }

 private:
  std::string call_;
  int code_;
  std::string name_;
  std::string remedy_;
};

}  // namespace ftprof::cupti
