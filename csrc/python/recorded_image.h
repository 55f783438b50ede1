// Counter-data images that were recorded on a GPU, decoded where there is none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftprof {

// The counts of one recorded image, decoded by the loaded CUPTI with the code of the meter itself.
// sha256 is the image's, in hexadecimal digits, as it was recorded; availability is that of the GPU
// (empty: all counters).
//
// CUPTI follows the offsets that an image holds and does not look where they lead: damaged bytes
// crash it. So this throws CuptiError where the bytes are not the recorded ones, or no image.
std::vector<std::uint64_t> CountsOfRecorded(const std::string& chip,
                                            const std::vector<std::string>& metrics,
                                            const std::string& image, const std::string& sha256,
                                            const std::string& availability);

}  // namespace ftprof
