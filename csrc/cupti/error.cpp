#include "cupti/error.h"

#include <utility>

namespace ftprof::cupti {
namespace {

std::string OneLine(const std::string& call, int code, const std::string& name,
                    const std::string& remedy) {
  std::string text = call + ": ";
  if (code != 0) text += "error " + std::to_string(code) + " ";
  text += name;
  if (!remedy.empty()) text += "; " + remedy;
  return text;
}

}  // namespace

CuptiError::CuptiError(std::string call, int code, std::string name, std::string remedy)
    : std::runtime_error(OneLine(call, code, name, remedy)),
      call_(std::move(call)),
      code_(code),
      name_(std::move(name)),
      remedy_(std::move(remedy)) {}

}  // namespace ftprof::cupti
