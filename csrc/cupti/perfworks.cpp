#include "cupti/perfworks.h"

#include <nvperf_target.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "cupti/error.h"
#include "cupti/process_calls.h"
#include "cupti/zero_pages.h"

namespace ftprof::cupti {
namespace {

namespace fs = std::filesystem;

constexpr char kRemedy[] =
    "reinstall this CUPTI so that libcupti, libnvperf_host and libnvperf_target are of one release";

SharedObject LoadOne(const std::string& folder, const char* name) {
  const std::string path = (fs::path(folder) / name).string();
  std::error_code problem;
  if (!fs::exists(path, problem)) {
    const std::string why = problem ? " (" + problem.message() + ")" : "";
    throw CuptiError("load " + path, 0, "the file is missing beside libcupti" + why, kRemedy);
  }
  SharedObject mapped = SharedObject::FindMapped(name);
  std::error_code ignored;
  if (mapped && !fs::equivalent(mapped.Path(), path, ignored)) {
    throw CuptiError("load " + path, 0, "the process has mapped " + mapped.Path() + " already",
                     "use one CUPTI release in a process");
  }
  std::string error;
  SharedObject loaded = SharedObject::Open(path, &error);
  if (!loaded) throw CuptiError("load " + path, 0, error, kRemedy);
  // Had another thread opened it in the milliseconds since FindMapped, a write of that one could be
  // lost; only CUPTI's profiler opens these libraries, at its first call.
  if (!mapped) (void)GiveBackZeroPages(loaded);
  return loaded;
}

Version QueryVersion(const SharedObject& library) {
  CheckCallsAllowed();
  decltype(&NVPW_QueryVersionNumber) query = nullptr;
  NVPW_QueryVersionNumber_Params params{};
  params.structSize = NVPW_QueryVersionNumber_Params_STRUCT_SIZE;
  params.apiSet = NVPW_SDK_VERSION;
  if (!library.Find("NVPW_QueryVersionNumber", &query) || query(&params) != NVPA_STATUS_SUCCESS) {
    throw CuptiError("NVPW_QueryVersionNumber", 0, library.Path() + " gives no version", kRemedy);
  }
  return {params.major, params.minor};
}

}  // namespace

Perfworks LoadPerfworks(const std::string& folder) {
  Perfworks loaded;
  loaded.host = LoadOne(folder, "libnvperf_host.so");
  loaded.target = LoadOne(folder, "libnvperf_target.so");
  loaded.version = QueryVersion(loaded.host);
  const Version target = QueryVersion(loaded.target);
  if (!(loaded.version == target)) {
    throw CuptiError("load " + folder, 0,
                     "libnvperf_host is release " + loaded.version.Text() +
                         " and libnvperf_target is release " + target.Text(),
                     kRemedy);
  }
  return loaded;
}

}  // namespace ftprof::cupti
