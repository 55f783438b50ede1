// A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for tests without a GPU: the real pynvml
// loads it. It is never shipped, and no figure that comes out of it says anything about hardware.
//
// The file named in FTPROF_NVML_SCRIPT holds what it answers, a `key=value` a line, read anew at
// every call so that a test can change it while a program runs. What has no line is answered as an
// old driver or a small GPU would: NVML_ERROR_NOT_SUPPORTED. The keys:
//
// - driver, cuda (13000), confidential, devtools;
// - of each GPU, gpu0.uuid, gpu1.uuid, ...: uuid, name, capability (9.0), cores, minor, max_sm_mhz,
//   sm_mhz, virtualization, gpm, mig; and watts, the power that its energy counter grows with;
// - gpu0.processes and gpu0.mps_processes (10,11, on a divided GPU 10@1 for GPU instance 1), and
//   gpu0.processes_file, a file with more ids, one a line;
// - gpu0.gpm.7: GPM metric 7 in percent, and gpu0.gi1.gpm.7 in GPU instance 1;
// - of each MIG device, gpu0.mig0.uuid, ...: uuid, gi, ci, sms;
// - fail.CALL, delay_ms.CALL: the code with which that call fails, and how long it takes.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
  kOk = 0,
  kInvalid = 2,
  kNotSupported = 3,
  kNotFound = 6,
  kTooSmall = 7,
  kDriverNotLoaded = 9
};
enum { kNotDivided = -1, kMostGpus = 16, kMostInstances = 7 };

typedef struct {
  int gpu;
  int instance;  // kNotDivided, or the number of a MIG device
} Device;

static Device devices[kMostGpus][kMostInstances + 1];

// Copies the value of a key; 0 where the script has none.
static int Look(const char* key, char* value, size_t size) {
  const char* path = getenv("FTPROF_NVML_SCRIPT");
  FILE* file = path ? fopen(path, "re") : NULL;
  if (!file) return 0;
  char line[512];
  const size_t length = strlen(key);
  int found = 0;
  while (!found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, key, length) == 0 && line[length] == '=') {
      snprintf(value, size, "%s", line + length + 1);
      found = 1;
    }
  }
  fclose(file);
  return found;
}

static int LookOf(const Device* device, const char* name, char* value, size_t size) {
  char key[128];
  if (device->instance == kNotDivided) {
    snprintf(key, sizeof key, "gpu%d.%s", device->gpu, name);
  } else {
    snprintf(key, sizeof key, "gpu%d.mig%d.%s", device->gpu, device->instance, name);
  }
  return Look(key, value, size);
}

// Waits as the script says, and gives the code that it says the call fails with.
static int Begin(const char* call) {
  char key[128];
  char value[32];
  snprintf(key, sizeof key, "delay_ms.%s", call);
  if (Look(key, value, sizeof value)) usleep(1000u * (useconds_t)atoi(value));
  snprintf(key, sizeof key, "fail.%s", call);
  return Look(key, value, sizeof value) ? atoi(value) : kOk;
}

#define BEGIN                         \
  do {                                \
    const int code = Begin(__func__); \
    if (code != kOk) return code;     \
  } while (0)

static int Number(const Device* device, const char* name, unsigned* number) {
  char value[64];
  if (!LookOf(device, name, value, sizeof value)) return kNotSupported;
  *number = (unsigned)strtoul(value, NULL, 10);
  return kOk;
}

static int Text(const Device* device, const char* name, char* text, unsigned size) {
  return LookOf(device, name, text, size) ? kOk : kNotSupported;
}

EXPORT int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  BEGIN;
  for (int gpu = 0; gpu < kMostGpus; ++gpu) {
    for (int place = 0; place <= kMostInstances; ++place) {
      devices[gpu][place] = (Device){gpu, place - 1};
    }
  }
  return getenv("FTPROF_NVML_SCRIPT") ? kOk : kDriverNotLoaded;
}

EXPORT int nvmlShutdown(void) { return kOk; }

EXPORT const char* nvmlErrorString(int code) {
  (void)code;
  return "a code of the stand-in's script";
}

EXPORT int nvmlSystemGetDriverVersion(char* version, unsigned size) {
  BEGIN;
  return Look("driver", version, size) ? kOk : kNotSupported;
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  BEGIN;
  char value[32];
  if (!Look("cuda", value, sizeof value)) return kNotSupported;
  *version = atoi(value);
  return kOk;
}

EXPORT int nvmlSystemGetCudaDriverVersion(int* version) {
  return nvmlSystemGetCudaDriverVersion_v2(version);
}

EXPORT int nvmlSystemGetConfComputeState(unsigned* state) {
  BEGIN;
  char value[32];
  if (!Look("confidential", value, sizeof value)) return kNotSupported;
  state[1] = (unsigned)atoi(value);
  state[2] = Look("devtools", value, sizeof value) ? (unsigned)atoi(value) : 0;
  return kOk;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  BEGIN;
  char value[128];
  *count = 0;
  while (*count < kMostGpus && LookOf(&devices[*count][0], "uuid", value, sizeof value)) ++*count;
  return kOk;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device** device) {
  BEGIN;
  *device = &devices[index][0];
  return kOk;
}

EXPORT int nvmlDeviceGetUUID(const Device* device, char* uuid, unsigned size) {
  BEGIN;
  return Text(device, "uuid", uuid, size);
}

EXPORT int nvmlDeviceGetName(const Device* device, char* name, unsigned size) {
  BEGIN;
  return Text(device, "name", name, size);
}

EXPORT int nvmlDeviceGetMinorNumber(const Device* device, unsigned* number) {
  BEGIN;
  return Number(device, "minor", number);
}

EXPORT int nvmlDeviceGetNumGpuCores(const Device* device, unsigned* cores) {
  BEGIN;
  return Number(device, "cores", cores);
}

EXPORT int nvmlDeviceGetMaxClockInfo(const Device* device, unsigned type, unsigned* mhz) {
  BEGIN;
  return type == 1 ? Number(device, "max_sm_mhz", mhz) : kNotSupported;
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(const Device* device, unsigned long long* mj) {
  BEGIN;
  char value[32];
  if (!LookOf(device, "watts", value, sizeof value)) return kNotSupported;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const unsigned long long ms = (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
  *mj = ms * strtoull(value, NULL, 10);
  return kOk;
}

EXPORT int nvmlDeviceGetClockInfo(const Device* device, unsigned type, unsigned* mhz) {
  BEGIN;
  return type == 1 ? Number(device, "sm_mhz", mhz) : kNotSupported;
}

EXPORT int nvmlDeviceGetCudaComputeCapability(const Device* device, int* major, int* minor) {
  BEGIN;
  char value[32];
  if (!LookOf(device, "capability", value, sizeof value)) return kNotSupported;
  return sscanf(value, "%d.%d", major, minor) == 2 ? kOk : kInvalid;
}

EXPORT int nvmlDeviceGetVirtualizationMode(const Device* device, uint64_t* mode) {
  BEGIN;
  unsigned number = 0;
  const int code = Number(device, "virtualization", &number);
  *mode = number;
  return code;
}

EXPORT int nvmlDeviceGetMigMode(const Device* device, unsigned* current, unsigned* pending) {
  BEGIN;
  const int code = Number(device, "mig", current);
  *pending = *current;
  return code;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(const Device* device, unsigned* count) {
  (void)device;
  BEGIN;
  *count = kMostInstances;
  return kOk;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(const Device* device, unsigned index,
                                               const Device** instance) {
  BEGIN;
  char value[128];
  *instance = &devices[device->gpu][index + 1];
  return LookOf(*instance, "uuid", value, sizeof value) ? kOk : kNotFound;
}

EXPORT int nvmlDeviceGetGpuInstanceId(const Device* device, unsigned* number) {
  BEGIN;
  return Number(device, "gi", number);
}

EXPORT int nvmlDeviceGetComputeInstanceId(const Device* device, unsigned* number) {
  BEGIN;
  return Number(device, "ci", number);
}

EXPORT int nvmlDeviceGetAttributes_v2(const Device* device, unsigned* attributes) {
  BEGIN;
  return Number(device, "sms", attributes);
}

typedef struct {
  unsigned pid;
  uint64_t memory;
  unsigned gpu_instance;
  unsigned compute_instance;
} Process;

// Ids are written `pid`, or `pid@instance` on a divided GPU.
static void Add(const char* text, Process* processes, unsigned room, unsigned* count) {
  if (*text < '0' || *text > '9') return;
  const char* at = strchr(text, '@');
  if (processes && *count < room) {
    const unsigned instance = at ? (unsigned)atoi(at + 1) : UINT32_MAX;
    processes[*count] = (Process){(unsigned)atoi(text), 1 << 20, instance, at ? 0 : UINT32_MAX};
  }
  ++*count;
}

static int Processes(const Device* device, const char* name, unsigned* count, Process* processes) {
  const unsigned room = *count;
  char value[512];
  *count = 0;
  if (LookOf(device, name, value, sizeof value)) {
    char* rest = value;
    for (char* one; (one = strsep(&rest, ",")) != NULL;) Add(one, processes, room, count);
  }
  if (strcmp(name, "processes") == 0 && LookOf(device, "processes_file", value, sizeof value)) {
    FILE* file = fopen(value, "re");
    char line[64];
    while (file && fgets(line, sizeof line, file)) Add(line, processes, room, count);
    if (file) fclose(file);
  }
  return *count > room || (*count > 0 && !processes) ? kTooSmall : kOk;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(const Device* device, unsigned* count,
                                                   Process* processes) {
  BEGIN;
  return Processes(device, "processes", count, processes);
}

EXPORT int nvmlDeviceGetMPSComputeRunningProcesses_v3(const Device* device, unsigned* count,
                                                      Process* processes) {
  BEGIN;
  return Processes(device, "mps_processes", count, processes);
}

typedef struct {
  int gpu;
  int gpu_instance;
} Sample;

typedef struct {
  unsigned id;
  int result;
  double value;
  const char* names[3];
} Metric;

typedef struct {
  unsigned version;
  unsigned count;
  Sample* first;
  Sample* second;
  Metric metrics[];
} Request;

EXPORT int nvmlGpmQueryDeviceSupport(const Device* device, unsigned* support) {
  BEGIN;
  return Number(device, "gpm", &support[1]);
}

EXPORT int nvmlGpmSampleAlloc(Sample** sample) {
  BEGIN;
  *sample = calloc(1, sizeof **sample);
  return kOk;
}

EXPORT int nvmlGpmSampleFree(Sample* sample) {
  free(sample);
  return kOk;
}

EXPORT int nvmlGpmSampleGet(const Device* device, Sample* sample) {
  BEGIN;
  *sample = (Sample){device->gpu, kNotDivided};
  return kOk;
}

EXPORT int nvmlGpmMigSampleGet(const Device* device, unsigned gpu_instance, Sample* sample) {
  BEGIN;
  *sample = (Sample){device->gpu, (int)gpu_instance};
  return kOk;
}

EXPORT int nvmlGpmMetricsGet(Request* request) {
  BEGIN;
  const Sample* sample = request->second;
  for (unsigned i = 0; i < request->count; ++i) {
    Metric* metric = &request->metrics[i];
    char key[128];
    char value[64];
    if (sample->gpu_instance == kNotDivided) {
      snprintf(key, sizeof key, "gpu%d.gpm.%u", sample->gpu, metric->id);
    } else {
      snprintf(key, sizeof key, "gpu%d.gi%d.gpm.%u", sample->gpu, sample->gpu_instance, metric->id);
    }
    metric->result = Look(key, value, sizeof value) ? kOk : kNotSupported;
    metric->value = metric->result == kOk ? strtod(value, NULL) : 0;
  }
  return kOk;
}
