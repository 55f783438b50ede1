// Test client for the stand-ins, never shipped: commands that call the driver.
#include "testing/client_driver.h"

#include <unistd.h>

#include <cstdlib>

extern "C" void ftprofStandinAdvance(unsigned long long us);

namespace ftprof::standin {

int Number(const Words& words, std::size_t index) {
  return index < words.size() ? std::atoi(words[index].c_str()) : 0;
}

bool DriverCommands::Run(const Words& words, int* code, std::string* extra) {
  return RunContext(words, code, extra) || RunWork(words, code, extra);
}

bool DriverCommands::RunContext(const Words& words, int* code, std::string* extra) {
  const std::string& name = words[0];
  const int device = Number(words, 1);
  if (name == "init") {
    *code = cuInit(0);
  } else if (name == "retain") {
    *code = cuDevicePrimaryCtxRetain(&context, device);
  } else if (name == "release") {
    *code = cuDevicePrimaryCtxRelease(device);
  } else if (name == "reset") {
    *code = cuDevicePrimaryCtxReset(device);
  } else if (name == "create") {
    *code = cuCtxCreate(&context, nullptr, 0, device);
  } else if (name == "destroy") {
    *code = cuCtxDestroy(context);
  } else if (name == "current") {
    *code = cuCtxSetCurrent(context);
  } else if (name == "uncurrent") {
    *code = cuCtxSetCurrent(nullptr);
  } else if (name == "state") {
    unsigned flags = 0;
    int active = 0;
    *code = cuDevicePrimaryCtxGetState(device, &flags, &active);
    *extra = active != 0 ? "active" : "inactive";
  } else if (name == "id") {
    unsigned long long id = 0;
    *code = cuCtxGetId(context, &id);
    *extra = std::to_string(id);
  } else if (name == "count") {
    int count = 0;
    *code = cuDeviceGetCount(&count);
    *extra = std::to_string(count);
  } else if (name == "name") {
    char text[128] = "";
    *code = cuDeviceGetName(text, sizeof text, device);
    *extra = text;
  } else if (name == "find") {
    void* function = nullptr;
    *code = cuGetProcAddress(words[1].c_str(), &function, 13000, 0, nullptr);
  } else {
    return false;
  }
  return true;
}

int DriverCommands::Launch(const std::string& kernel, int times, CUstream on) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  if (const int code = cuModuleLoadData(&module, "image")) return code;
  int code = cuModuleGetFunction(&function, module, kernel.c_str());
  for (int i = 0; i < times && code == 0; ++i) {
    code = cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, on, nullptr, nullptr);
  }
  (void)cuModuleUnload(module);
  return code;
}

bool DriverCommands::RunWork(const Words& words, int* code, std::string* extra) {
  const std::string& name = words[0];
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (name == "launch") {
    *code = Launch(words[1], Number(words, 2), nullptr);
  } else if (name == "enqueue") {
    *code = Launch(words[1], Number(words, 2), stream);
  } else if (name == "sync") {
    *code = cuCtxSynchronize();
  } else if (name == "relax") {
    *code = cuThreadExchangeStreamCaptureMode(&mode);
  } else if (name == "stream") {
    *code = cuStreamCreate(&stream, words.size() > 1 ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING);
  } else if (name == "capture") {
    mode = static_cast<CUstreamCaptureMode>(Number(words, 1));
    *code = cuStreamBeginCapture(stream, mode);
  } else if (name == "capturing") {
    *code = cuStreamIsCapturing(stream, &status);
    *extra = std::to_string(static_cast<int>(status));
  } else if (name == "endcapture") {
    *code = cuStreamEndCapture(stream, &graph);
  } else if (name == "instantiate") {
    *code = cuGraphInstantiate(&executable, graph, 0);
  } else if (name == "graph") {
    *code = cuGraphLaunch(executable, stream);
  } else if (name == "alloc") {
    CUdeviceptr address = 0;
    *code = cuMemAlloc(&address, 4096);
  } else if (name == "advance") {
    ftprofStandinAdvance(static_cast<unsigned long long>(Number(words, 1)));
  } else if (name == "sleep") {
    *code = usleep(static_cast<useconds_t>(Number(words, 1)));
  } else {
    return false;
  }
  return true;
}

}  // namespace ftprof::standin
