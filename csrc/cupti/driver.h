// The CUDA driver's functions that ftprof needs, from the libcuda that the process has mapped
// already, but for one.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace ftprof::cupti {

struct DeviceInfo {
  int ordinal = 0;  // as the process numbers its visible devices
  std::string name;
  std::string uuid;        // "GPU-...", as NVML writes it
  std::string capability;  // "9.0"
  int multiprocessors = 0;
  int clock_khz = 0;  // the highest that the driver gives
};

// Every call throws CuptiError with the driver's own name for what went wrong, and where calls are
// forbidden (cupti/process_calls.h).
class Driver {
 public:
  // Throws where no libcuda is mapped: a process without one has no GPU work to count.
  static Driver FromMapped();
  // Maps libcuda and starts it in this process, which makes no context.
  static Driver Start();

  int Version() const;
  int DeviceCount() const;
  DeviceInfo Describe(int ordinal) const;
  bool PrimaryContextIsActive(int ordinal) const;
  CUcontext RetainPrimaryContext(int ordinal) const;
  void ReleasePrimaryContext(int ordinal) const noexcept;
  void MakeCurrent(CUcontext context) const;
  CUdevice CurrentDevice() const;
  // A synchronising call of a thread in any other mode invalidates a capture that another thread
  // has under way (CUDA driver API, cuThreadExchangeStreamCaptureMode).
  void RelaxCaptureMode() const;
  // Gives this thread another capture mode, and the one that it had.
  CUstreamCaptureMode ExchangeCaptureMode(CUstreamCaptureMode mode) const;

 private:
  Driver() = default;
  template <typename... Parameters, typename... Arguments>
  void Call(const char* name, CUresult (*function)(Parameters...), Arguments... arguments) const;
  void Check(CUresult result, const char* call) const;

  decltype(&cuInit) init_ = nullptr;
  decltype(&cuDriverGetVersion) driver_get_version_ = nullptr;
  decltype(&cuDeviceGet) device_get_ = nullptr;
  decltype(&cuDeviceGetCount) device_get_count_ = nullptr;
  decltype(&cuDeviceGetName) device_get_name_ = nullptr;
  decltype(&cuDeviceGetUuid) device_get_uuid_ = nullptr;
  decltype(&cuDeviceGetAttribute) device_get_attribute_ = nullptr;
  decltype(&cuDevicePrimaryCtxGetState) primary_get_state_ = nullptr;
  decltype(&cuDevicePrimaryCtxRetain) primary_retain_ = nullptr;
  decltype(&cuDevicePrimaryCtxRelease) primary_release_ = nullptr;
  decltype(&cuCtxSetCurrent) set_current_ = nullptr;
  decltype(&cuCtxGetDevice) context_get_device_ = nullptr;
  decltype(&cuThreadExchangeStreamCaptureMode) exchange_capture_mode_ = nullptr;
  decltype(&cuGetErrorName) get_error_name_ = nullptr;
};

// A thread of the application's may retain and release primary contexts meanwhile without spoiling
// a capture that another one has under way; afterwards it has its own mode again.
class RelaxedCaptureMode {
 public:
  explicit RelaxedCaptureMode(const Driver& driver)
      : driver_(driver), before_(driver.ExchangeCaptureMode(CU_STREAM_CAPTURE_MODE_RELAXED)) {}
  ~RelaxedCaptureMode() {
    try {
      (void)driver_.ExchangeCaptureMode(before_);
    } catch (const std::exception&) {  // the driver has ended
    }
  }
  RelaxedCaptureMode(const RelaxedCaptureMode&) = delete;
  RelaxedCaptureMode& operator=(const RelaxedCaptureMode&) = delete;

 private:
  const Driver& driver_;
  const CUstreamCaptureMode before_;
};

// A primary context that the application keeps alive, retained for the life of this object.
class PrimaryContext {
 public:
  PrimaryContext(const Driver& driver, int ordinal);
  ~PrimaryContext();
  PrimaryContext(PrimaryContext&& other) noexcept;
  PrimaryContext& operator=(PrimaryContext&& other) noexcept;
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;

  CUcontext get() const noexcept { return context_; }

 private:
  const Driver* driver_;
  int ordinal_;
  CUcontext context_ = nullptr;
};

}  // namespace ftprof::cupti
