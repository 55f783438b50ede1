#include "cupti/library.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "cupti/error.h"
#include "cupti/perfworks.h"
#include "cupti/process_calls.h"
#include "cupti/shared_object.h"
#include "cupti/version.h"

namespace ftprof::cupti {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileNames[] = {"libcupti.so.13", "libcupti.so.12", "libcupti.so"};
constexpr char kInstallRemedy[] = "install one with: pip install 'ftprof[cupti]'";
constexpr char kDriverlessRemedy[] =
    "to plan without a GPU, install one that can: pip install 'nvidia-cuda-cupti==13.0.*'";

// The folders below a search root where wheels and toolkits keep libcupti, in order of preference.
std::vector<fs::path> LibraryFolders(const fs::path& root) {
  std::vector<fs::path> folders = {
      root,
      root / "nvidia/cu13/lib",
      root / "nvidia/cuda_cupti/lib",
      root / "extras/CUPTI/lib64",
      root / "lib64",
      root / "lib",
  };
  std::vector<fs::path> targets;
  std::error_code ignored;
  for (fs::directory_iterator it(root / "targets", ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    targets.push_back(it->path() / "lib");
  }
  std::sort(targets.begin(), targets.end());
  folders.insert(folders.end(), targets.begin(), targets.end());
  return folders;
}

std::optional<fs::path> FindLibrary(const fs::path& folder) {
  std::error_code ignored;
  for (const char* name : kFileNames) {
    if (fs::exists(folder / name, ignored)) return fs::absolute(folder / name, ignored);
  }
  return std::nullopt;
}

template <typename Function>
void Resolve(const SharedObject& cupti, const char* symbol, Function* function) {
  if (cupti.Find(symbol, function)) return;
  throw CuptiError(
      "load " + cupti.Path(), 0, std::string("it has no ") + symbol,
      "ftprof needs CUPTI of CUDA 12.6 Update 2 or newer; " + std::string(kInstallRemedy));
}

Api ResolveAll(const SharedObject& cupti) {
  Api api;
  Resolve(cupti, "cuptiGetVersion", &api.get_version);
  Resolve(cupti, "cuptiGetResultString", &api.get_result_string);
  Resolve(cupti, "cuptiProfilerHostInitialize", &api.host_initialize);
  Resolve(cupti, "cuptiProfilerHostDeinitialize", &api.host_deinitialize);
  Resolve(cupti, "cuptiProfilerHostGetSupportedChips", &api.host_get_supported_chips);
  Resolve(cupti, "cuptiProfilerHostGetBaseMetrics", &api.host_get_base_metrics);
  Resolve(cupti, "cuptiProfilerHostGetSubMetrics", &api.host_get_sub_metrics);
  Resolve(cupti, "cuptiProfilerHostGetMetricProperties", &api.host_get_metric_properties);
  Resolve(cupti, "cuptiProfilerHostConfigAddMetrics", &api.host_config_add_metrics);
  Resolve(cupti, "cuptiProfilerHostGetConfigImageSize", &api.host_get_config_image_size);
  Resolve(cupti, "cuptiProfilerHostGetConfigImage", &api.host_get_config_image);
  Resolve(cupti, "cuptiProfilerHostGetNumOfPasses", &api.host_get_num_of_passes);
  return api;
}

// Resolves what it can: a CUPTI that lacks some of it can still plan.
class TargetResolver {
 public:
  explicit TargetResolver(const SharedObject& cupti) : cupti_(cupti) {}

  template <typename Function>
  void operator()(const char* symbol, Function* function) {
    if (!cupti_.Find(symbol, function) && api.missing == nullptr) api.missing = symbol;
  }

  TargetApi api;

 private:
  const SharedObject& cupti_;
};

TargetApi ResolveTarget(const SharedObject& cupti) {
  TargetResolver resolve(cupti);
  TargetApi& api = resolve.api;
  resolve("cuptiProfilerInitialize", &api.initialize);
  resolve("cuptiDeviceGetChipName", &api.get_chip_name);
  resolve("cuptiProfilerDeviceSupported", &api.device_supported);
  resolve("cuptiProfilerGetCounterAvailability", &api.get_counter_availability);
  resolve("cuptiProfilerHostEvaluateToGpuValues", &api.host_evaluate);
  resolve("cuptiRangeProfilerEnable", &api.range_enable);
  resolve("cuptiRangeProfilerDisable", &api.range_disable);
  resolve("cuptiRangeProfilerGetCounterDataSize", &api.range_get_counter_data_size);
  resolve("cuptiRangeProfilerCounterDataImageInitialize", &api.range_initialize_image);
  resolve("cuptiRangeProfilerSetConfig", &api.range_set_config);
  resolve("cuptiRangeProfilerStart", &api.range_start);
  resolve("cuptiRangeProfilerStop", &api.range_stop);
  resolve("cuptiRangeProfilerPushRange", &api.range_push);
  resolve("cuptiRangeProfilerPopRange", &api.range_pop);
  resolve("cuptiRangeProfilerDecodeData", &api.range_decode);
  resolve("cuptiRangeProfilerGetCounterDataInfo", &api.range_get_info);
  resolve("cuptiSubscribe", &api.subscribe);
  resolve("cuptiUnsubscribe", &api.unsubscribe);
  resolve("cuptiEnableCallback", &api.enable_callback);
  return api;
}

std::uint32_t QueryApiVersion(const SharedObject& cupti) {
  decltype(&cuptiGetVersion) get_version = nullptr;
  Resolve(cupti, "cuptiGetVersion", &get_version);
  CheckCallsAllowed();
  std::uint32_t api_version = 0;
  const CUptiResult result = get_version(&api_version);
  if (result != CUPTI_SUCCESS) {
    throw CuptiError("cuptiGetVersion of " + cupti.Path(), result, "", kDriverlessRemedy);
  }
  return api_version;
}

// From 13.2 on CUPTI needs the driver for its host API too. Without one, cuptiGetVersion of 13.2.23
// and 13.2.86 crashes, and that of 13.3.75 and 13.4.92 answers 999: no call may be made.
void CheckDriver(const Version& perfworks, const std::string& path) {
  if (perfworks < kFirstPerfworksWithDriver) return;
  SharedObject driver = SharedObject::Open("libcuda.so.1", nullptr);
  if (!driver) {
    throw CuptiError("load " + path, 0, "CUPTI 13.2 and newer need an NVIDIA driver, here is none",
                     kDriverlessRemedy);
  }
  driver.KeepMapped();  // CUPTI opens it next
}

void CheckRelease(const Version& release, const Version& perfworks, const std::string& path) {
  if (release < kOldestSupported || release.major > kNewestMajor) {
    throw CuptiError("load " + path, 0, "it is CUPTI " + release.Text(),
                     "ftprof needs 12.6 to 13.x; " + std::string(kInstallRemedy));
  }
  const Version expected = PerfworksOf(release);
  if (expected.major != 0 && !(expected == perfworks)) {
    throw CuptiError("load " + path, 0,
                     "CUPTI " + release.Text() + " belongs to libnvperf " + expected.Text() +
                         ", but beside it lies " + perfworks.Text(),
                     "reinstall this CUPTI so that its libraries are of one release");
  }
}

std::string WarningFor(const Version& release) {
  if (!(kNewestTested < release)) return {};
  return "CUPTI " + release.Text() + " is newer than the newest that ftprof was tested with (" +
         kNewestTested.Text() + ")";
}

}  // namespace

Library::Library(Api api, TargetApi target, LibraryInfo info)
    : api_(api), target_(target), info_(std::move(info)) {}

const Api& Library::api() const {
  CheckCallsAllowed();
  return api_;
}

const TargetApi& Library::target() const {
  CheckCallsAllowed();
  if (target_.missing != nullptr) {
    throw CuptiError(
        "load " + info_.path, 0, std::string("it has no ") + target_.missing,
        "counting needs CUPTI of CUDA 12.6 Update 2 or newer; " + std::string(kInstallRemedy));
  }
  return target_;
}

Library Library::LoadFile(const std::string& path, const std::string& origin) {
  CheckCallsAllowed();
  Perfworks perfworks = LoadPerfworks(fs::path(path).parent_path().string());
  CheckDriver(perfworks.version, path);
  std::string error;
  SharedObject cupti = SharedObject::Open(path, &error);
  if (!cupti) throw CuptiError("load " + path, 0, error, kInstallRemedy);

  LibraryInfo info;
  info.path = path;
  info.origin = origin;
  info.api_version = QueryApiVersion(cupti);
  const Version release = ReleaseOf(info.api_version);
  CheckRelease(release, perfworks.version, path);
  info.version = release.Text();
  info.warning = WarningFor(release);
  const Api api = ResolveAll(cupti);
  const TargetApi target = ResolveTarget(cupti);

  cupti.KeepMapped();
  perfworks.host.KeepMapped();
  perfworks.target.KeepMapped();
  return Library(api, target, std::move(info));
}

Library Library::Load(const std::vector<SearchRoot>& roots) {
  for (const char* name : kFileNames) {
    const SharedObject mapped = SharedObject::FindMapped(name);
    if (mapped) return LoadFile(mapped.Path(), "already mapped");
  }
  std::optional<CuptiError> first_failure;
  for (const SearchRoot& root : roots) {
    for (const fs::path& folder : LibraryFolders(root.path)) {
      const std::optional<fs::path> file = FindLibrary(folder);
      if (!file) continue;
      try {
        Library library = LoadFile(file->string(), root.origin);
        // The user may have installed the one that was passed over for just this.
        if (first_failure) {
          std::string* warning = &library.info_.warning;
          *warning += (warning->empty() ? "" : "; ") +
                      ("passed over: " + std::string(first_failure->what()));
        }
        return library;
      } catch (const CuptiError& error) {
        if (!first_failure) first_failure = error;
      }
    }
  }
  if (first_failure) throw CuptiError(*first_failure);
  std::string searched;
  for (const SearchRoot& root : roots) searched += (searched.empty() ? "" : ", ") + root.path;
  throw CuptiError("find CUPTI", 0,
                   "no libcupti under " + (searched.empty() ? "any search root" : searched),
                   kInstallRemedy);
}

void Library::Check(CUptiResult result, const char* call, const std::string& about) const {
  if (result == CUPTI_SUCCESS) return;
  const char* text = nullptr;
  std::string name = "CUPTI_ERROR";
  const bool may_ask = !CallsAreForbidden();
  if (may_ask && api_.get_result_string(result, &text) == CUPTI_SUCCESS && text != nullptr)
    name = text;
  if (!about.empty()) name += " (" + about + ")";
  throw CuptiError(call, result, name, {});
}

}  // namespace ftprof::cupti
