// Test program for the stand-ins, never shipped: libcuda.so.1, opened as any CUDA program has it.
#include "testing/program_cuda.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ftprof::standin {
namespace {

std::atomic<bool> failed{false};

template <typename Function>
void Find(void* library, const char* name, Function* function) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) {
    std::fprintf(stderr, "standin_program: libcuda.so.1 has no %s\n", name);
    std::exit(2);
  }
  std::memcpy(function, &symbol, sizeof symbol);
}

void FindContextCalls(void* library, Cuda* cuda) {
  Find(library, "cuDevicePrimaryCtxRetain", &cuda->retain);
  Find(library, "cuDevicePrimaryCtxRelease_v2", &cuda->release);
  Find(library, "cuDevicePrimaryCtxReset_v2", &cuda->reset);
  Find(library, "cuCtxCreate_v2", &cuda->create);
  Find(library, "cuCtxDestroy_v2", &cuda->destroy);
  Find(library, "cuCtxSetCurrent", &cuda->set_current);
  Find(library, "cuCtxSynchronize", &cuda->synchronize);
}

void FindWorkCalls(void* library, Cuda* cuda) {
  Find(library, "cuStreamCreate", &cuda->stream_create);
  Find(library, "cuStreamDestroy_v2", &cuda->stream_destroy);
  Find(library, "cuStreamBeginCapture_v2", &cuda->begin_capture);
  Find(library, "cuStreamEndCapture", &cuda->end_capture);
  Find(library, "cuGraphInstantiateWithFlags", &cuda->instantiate);
  Find(library, "cuGraphLaunch", &cuda->graph_launch);
  Find(library, "cuGraphDestroy", &cuda->graph_destroy);
  Find(library, "cuGraphExecDestroy", &cuda->exec_destroy);
  Find(library, "cuModuleLoadData", &cuda->load);
  Find(library, "cuModuleGetFunction", &cuda->function);
  Find(library, "cuLaunchKernel", &cuda->launch);
}

Cuda Open() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "standin_program: %s\n", dlerror());
    std::exit(2);
  }
  Cuda cuda{};
  Find(library, "cuInit", &cuda.init);
  Find(library, "cuGetErrorName", &cuda.error_name);
  Find(library, "cuDeviceGetCount", &cuda.device_count);
  FindContextCalls(library, &cuda);
  FindWorkCalls(library, &cuda);
  Find(library, "ftprofStandinProgramThread", &cuda.program_thread);
  return cuda;
}

}  // namespace

const Cuda& TheCuda() {
  static const Cuda cuda = Open();
  return cuda;
}

std::string NameOf(CUresult result) {
  const char* name = nullptr;
  (void)TheCuda().error_name(result, &name);
  return name == nullptr ? std::to_string(static_cast<int>(result)) : name;
}

bool Succeeded(const char* call, CUresult result) {
  if (result == CUDA_SUCCESS) return true;
  failed = true;
  std::printf("%s: %s\n", call, NameOf(result).c_str());
  return false;
}

bool AnyFailed() { return failed; }

}  // namespace ftprof::standin
