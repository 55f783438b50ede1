// Test program for the stand-ins, never shipped: libcuda.so.1, opened as any CUDA program has it.
#pragma once

#include <cuda.h>

#include <string>

namespace ftprof::standin {

struct Cuda {
  decltype(&cuInit) init;
  decltype(&cuGetErrorName) error_name;
  decltype(&cuDeviceGetCount) device_count;
  decltype(&cuDevicePrimaryCtxRetain) retain;
  decltype(&cuDevicePrimaryCtxRelease) release;
  decltype(&cuDevicePrimaryCtxReset) reset;
  CUresult (*create)(CUcontext*, unsigned, CUdevice);
  decltype(&cuCtxDestroy) destroy;
  decltype(&cuCtxSetCurrent) set_current;
  decltype(&cuCtxSynchronize) synchronize;
  decltype(&cuStreamCreate) stream_create;
  decltype(&cuStreamDestroy) stream_destroy;
  decltype(&cuStreamBeginCapture) begin_capture;
  decltype(&cuStreamEndCapture) end_capture;
  decltype(&cuGraphInstantiate) instantiate;
  decltype(&cuGraphLaunch) graph_launch;
  decltype(&cuGraphDestroy) graph_destroy;
  decltype(&cuGraphExecDestroy) exec_destroy;
  decltype(&cuModuleLoadData) load;
  decltype(&cuModuleGetFunction) function;
  decltype(&cuLaunchKernel) launch;
  void (*program_thread)(int own);
};

// Opens the driver at the first call; ends the process with its reason where there is none.
const Cuda& TheCuda();

// "CUDA_ERROR_UNKNOWN", or the number.
std::string NameOf(CUresult result);

// Says which call failed, on stdout and so that lines of threads stay whole. Returns whether it did
// not.
bool Succeeded(const char* call, CUresult result);
bool AnyFailed();

}  // namespace ftprof::standin
