#include "python/recorded_image.h"

#include <string_view>

#include "cupti/counter_data.h"
#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "journal/sha256.h"
#include "python/loaded_cupti.h"

namespace ftprof {
namespace {

// How an image begins that Perfworks makes (of CUPTI 12.6, 13.0 and 13.4); it is not documented.
constexpr std::string_view kMagic("LOPDATA\0", 8);

void CheckIsRecorded(std::string_view image, std::string_view sha256) {
  const auto refuse = [](const char* why) {
    throw cupti::CuptiError("read a counter-data image", 0, why, "record it again");
  };
  if (image.empty()) refuse("it is empty");
  if (image.substr(0, kMagic.size()) != kMagic) refuse("these bytes are none");
  const journal::Sha256Text digest = journal::Sha256Hex(image);
  if (journal::View(digest) != sha256) refuse("its bytes are not those that were recorded");
}

}  // namespace

std::vector<std::uint64_t> CountsOfRecorded(const std::string& chip,
                                            const std::vector<std::string>& metrics,
                                            const std::string& image, const std::string& sha256,
                                            const std::string& availability) {
  CheckIsRecorded(image, sha256);
  const std::vector<std::uint8_t> bytes(image.begin(), image.end());
  return LoadedCupti::Get().With([&](const cupti::Library& library) {
    const cupti::HostProfiler host(library, chip, {availability.begin(), availability.end()});
    return cupti::CountsOf(library, host, bytes, metrics, 1).front().Exact();
  });
}

}  // namespace ftprof
