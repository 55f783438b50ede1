// Stand-in for tests, never shipped: libnvperf_host.so and libnvperf_target.so, which CUPTI 13.0
// brings along. They only tell their version.
#include <nvperf_target.h>

extern "C" __attribute__((visibility("default"))) NVPA_Status
NVPW_QueryVersionNumber(NVPW_QueryVersionNumber_Params* params) {
  params->major = 2025;
  params->minor = 4;
  return NVPA_STATUS_SUCCESS;
}
