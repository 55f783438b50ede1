// Stand-in for tests, never shipped: libcuda's entry points for initialisation and devices.
#include <cstdio>
#include <cstring>

#include "testing/context_life.h"
#include "testing/driver_lifecycle.h"

namespace ftprof::standin {
namespace {

// body(device) for a device that exists.
template <typename Body>
CUresult DeviceCall(const char* function, CUdevice device, Body body) {
  return LockedCall(function, device, [&](DriverState* state, Lock*) {
    if (!IsDevice(*state, device)) return CUDA_ERROR_INVALID_DEVICE;
    return body(state->devices[static_cast<std::size_t>(device)]);
  });
}

int Attribute(const Device& device, CUdevice_attribute attribute) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return device.script->multiprocessors;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      return device.script->clock_khz;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return device.script->capability_major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return device.script->capability_minor;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      return device.place + 1;
    default:
      return 0;
  }
}

CUresult Uuid(const Device& device, CUuuid* uuid) {
  unsigned bytes[16] = {};
  std::string digits;
  for (const char c : device.script->uuid.substr(4)) {
    if (c != '-') digits += c;
  }
  for (std::size_t i = 0; i < 16 && 2 * i + 1 < digits.size(); ++i) {
    (void)std::sscanf(digits.c_str() + 2 * i, "%2x", &bytes[i]);
    uuid->bytes[i] = static_cast<char>(bytes[i]);
  }
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace ftprof::standin

using namespace ftprof::standin;

CUresult cuInit(unsigned int flags) {
  CheckCallback(__func__);
  return ThroughGate<CUresult>(&Gate(), __func__, -1, [flags] {
    return flags == 0 ? Initialize() : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuDriverGetVersion(int* version) {
  return ThroughGate<CUresult>(&Gate(), __func__, -1, [version] {
    if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *version = TheScript().driver_version;
    Overwrite("version", version);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetCount(int* count) {
  return LockedCall(__func__, -1, [count](DriverState* state, Lock*) {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<int>(state->devices.size());
    Overwrite("count", count);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return DeviceCall(__func__, ordinal, [=](const Device&) {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) {
    if (name == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
    (void)std::snprintf(name, static_cast<std::size_t>(length), "%s", found.script->name.c_str());
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) { return Uuid(found, uuid); });
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) { return Uuid(found, uuid); });
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) {
    *bytes = found.script->memory_mib << 20;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *value = Attribute(found, attribute);
    const Json* which = CallGate::Overwritten("attribute");
    if (which == nullptr || which->Integer() == attribute) Overwrite("value", value);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  return DeviceCall(__func__, device, [=](const Device& found) {
    (void)std::snprintf(text, static_cast<std::size_t>(length), "0000:%02X:00.0", found.place + 1);
    return CUDA_SUCCESS;
  });
}
