// Stand-ins for libcupti, libnvperf_host and libnvperf_target with a version of choice. They answer
// what ftprof asks before it uses a library, and nothing else; no test gets a count or a plan out
// of them.
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

#ifdef PERFWORKS_YEAR
struct query_version_params {
  size_t struct_size;
  void* private_data;
  uint64_t api_set;
  uint32_t major, minor, patch, release_major, release_minor, release_patch;
};

EXPORT int NVPW_QueryVersionNumber(struct query_version_params* params) {
  params->major = PERFWORKS_YEAR;
  params->minor = PERFWORKS_NUMBER;
  return 0;
}
#endif

#ifdef CUPTI_API_VERSION
EXPORT int cuptiGetVersion(uint32_t* version) {
  *version = CUPTI_API_VERSION;
  return CUPTI_RESULT;
}

EXPORT int cuptiGetResultString(int result, const char** text) {
  (void)result;
  *text = "CUPTI_STUB";
  return 0;
}

#ifdef HOST_API
#define STUB(name) \
  EXPORT int name(void* params) { return params == NULL; }
STUB(cuptiProfilerHostInitialize)
STUB(cuptiProfilerHostDeinitialize)
STUB(cuptiProfilerHostGetSupportedChips)
STUB(cuptiProfilerHostGetBaseMetrics)
STUB(cuptiProfilerHostGetSubMetrics)
STUB(cuptiProfilerHostGetMetricProperties)
STUB(cuptiProfilerHostConfigAddMetrics)
STUB(cuptiProfilerHostGetConfigImageSize)
STUB(cuptiProfilerHostGetConfigImage)
STUB(cuptiProfilerHostGetNumOfPasses)
#endif
#endif
