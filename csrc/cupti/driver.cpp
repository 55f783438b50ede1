#include "cupti/driver.h"

#include <cstdio>
#include <utility>

#include "cupti/error.h"
#include "cupti/process_calls.h"
#include "cupti/shared_object.h"

namespace ftprof::cupti {
namespace {

// cuda.h maps some names to newer versions of a function; the text of the macro is what the library
// exports.
#define FTPROF_TEXT_OF(symbol) #symbol
#define FTPROF_EXPORTED(symbol) FTPROF_TEXT_OF(symbol)

template <typename Function>
void Resolve(const SharedObject& driver, const char* symbol, Function* function) {
  if (driver.Find(symbol, function)) return;
  throw CuptiError("load " + driver.Path(), 0, std::string("it has no ") + symbol,
                   "ftprof needs a driver of CUDA 12.6 or newer");
}

std::string UuidText(const CUuuid& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += pair;
  }
  return text;
}

}  // namespace

template <typename... Parameters, typename... Arguments>
void Driver::Call(const char* name, CUresult (*function)(Parameters...),
                  Arguments... arguments) const {
  CheckCallsAllowed();
  Check(function(arguments...), name);
}

Driver Driver::FromMapped() {
  SharedObject library = SharedObject::FindMapped("libcuda.so.1");
  if (!library) throw CuptiError("find libcuda.so.1", 0, "this process has not mapped it", {});
  Driver driver;
  Resolve(library, FTPROF_EXPORTED(cuInit), &driver.init_);
  Resolve(library, FTPROF_EXPORTED(cuDriverGetVersion), &driver.driver_get_version_);
  Resolve(library, FTPROF_EXPORTED(cuDeviceGet), &driver.device_get_);
  Resolve(library, FTPROF_EXPORTED(cuDeviceGetCount), &driver.device_get_count_);
  Resolve(library, FTPROF_EXPORTED(cuDeviceGetName), &driver.device_get_name_);
  Resolve(library, FTPROF_EXPORTED(cuDeviceGetUuid), &driver.device_get_uuid_);
  Resolve(library, FTPROF_EXPORTED(cuDeviceGetAttribute), &driver.device_get_attribute_);
  Resolve(library, FTPROF_EXPORTED(cuDevicePrimaryCtxGetState), &driver.primary_get_state_);
  Resolve(library, FTPROF_EXPORTED(cuDevicePrimaryCtxRetain), &driver.primary_retain_);
  Resolve(library, FTPROF_EXPORTED(cuDevicePrimaryCtxRelease), &driver.primary_release_);
  Resolve(library, FTPROF_EXPORTED(cuCtxSetCurrent), &driver.set_current_);
  Resolve(library, FTPROF_EXPORTED(cuCtxGetDevice), &driver.context_get_device_);
  Resolve(library, FTPROF_EXPORTED(cuThreadExchangeStreamCaptureMode),
          &driver.exchange_capture_mode_);
  Resolve(library, FTPROF_EXPORTED(cuGetErrorName), &driver.get_error_name_);
  library.KeepMapped();
  return driver;
}

Driver Driver::Start() {
  std::string reason;
  SharedObject library = SharedObject::Open("libcuda.so.1", &reason);
  if (!library) throw CuptiError("load libcuda.so.1", 0, reason, {});
  library.KeepMapped();
  Driver driver = FromMapped();
  driver.Call("cuInit", driver.init_, 0);
  return driver;
}

int Driver::Version() const {
  int version = 0;
  Call("cuDriverGetVersion", driver_get_version_, &version);
  return version;
}

int Driver::DeviceCount() const {
  int count = 0;
  Call("cuDeviceGetCount", device_get_count_, &count);
  return count;
}

DeviceInfo Driver::Describe(int ordinal) const {
  CUdevice device = 0;
  Call("cuDeviceGet", device_get_, &device, ordinal);
  char name[256] = "";
  Call("cuDeviceGetName", device_get_name_, name, static_cast<int>(sizeof name), device);
  CUuuid uuid{};
  Call("cuDeviceGetUuid", device_get_uuid_, &uuid, device);
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    Call("cuDeviceGetAttribute", device_get_attribute_, &value, which, device);
    return value;
  };
  DeviceInfo info;
  info.ordinal = ordinal;
  info.name = name;
  info.uuid = UuidText(uuid);
  info.capability = std::to_string(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)) + "." +
                    std::to_string(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  info.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.clock_khz = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  return info;
}

bool Driver::PrimaryContextIsActive(int ordinal) const {
  CUdevice device = 0;
  Call("cuDeviceGet", device_get_, &device, ordinal);
  unsigned int flags = 0;
  int active = 0;
  Call("cuDevicePrimaryCtxGetState", primary_get_state_, device, &flags, &active);
  return active != 0;
}

CUcontext Driver::RetainPrimaryContext(int ordinal) const {
  CUdevice device = 0;
  Call("cuDeviceGet", device_get_, &device, ordinal);
  CUcontext context = nullptr;
  Call("cuDevicePrimaryCtxRetain", primary_retain_, &context, device);
  return context;
}

void Driver::ReleasePrimaryContext(int ordinal) const noexcept {
  CUdevice device = 0;
  if (CallsAreForbidden()) return;
  if (device_get_(&device, ordinal) == CUDA_SUCCESS) (void)primary_release_(device);
}

void Driver::MakeCurrent(CUcontext context) const {
  Call("cuCtxSetCurrent", set_current_, context);
}

CUdevice Driver::CurrentDevice() const {
  CUdevice device = 0;
  Call("cuCtxGetDevice", context_get_device_, &device);
  return device;
}

void Driver::RelaxCaptureMode() const { (void)ExchangeCaptureMode(CU_STREAM_CAPTURE_MODE_RELAXED); }

CUstreamCaptureMode Driver::ExchangeCaptureMode(CUstreamCaptureMode mode) const {
  Call("cuThreadExchangeStreamCaptureMode", exchange_capture_mode_, &mode);
  return mode;
}

void Driver::Check(CUresult result, const char* call) const {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  const bool named =
      !CallsAreForbidden() && get_error_name_(result, &name) == CUDA_SUCCESS && name != nullptr;
  throw CuptiError(call, static_cast<int>(result), named ? name : "CUDA_ERROR", {});
}

PrimaryContext::PrimaryContext(const Driver& driver, int ordinal)
    : driver_(&driver), ordinal_(ordinal), context_(driver.RetainPrimaryContext(ordinal)) {}

PrimaryContext::~PrimaryContext() {
  if (context_ != nullptr) driver_->ReleasePrimaryContext(ordinal_);
}

PrimaryContext::PrimaryContext(PrimaryContext&& other) noexcept
    : driver_(other.driver_),
      ordinal_(other.ordinal_),
      context_(std::exchange(other.context_, nullptr)) {}

PrimaryContext& PrimaryContext::operator=(PrimaryContext&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(ordinal_, other.ordinal_);
  std::swap(context_, other.context_);
  return *this;
}

}  // namespace ftprof::cupti
