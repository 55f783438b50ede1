// A program that calls all of the injection library at once, for the sanitizers, which see both: on
// the stand-ins its threads make and destroy contexts, reset a primary one, launch kernels, capture
// graphs and announce it, cut windows and fork; then one of them ends the process, in the midst.
//
//   inject_hammer SECONDS
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "testing/program_cuda.h"

namespace {

using ftprof::standin::TheCuda;
using std::chrono::milliseconds;

std::atomic<bool> stopping{false};

struct Injection {
  int (*cut)(int patience_ms);
  void (*captures_are_announced)();
  void (*capture_begins)();
  void (*capture_ends)();
};

template <typename Function>
void Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return;
  std::fprintf(stderr, "inject_hammer: no %s\n", name);
  std::_Exit(2);
}

// Before the driver does, as the hook does in a process with torch.
Injection LoadInjection() {
  void* library = dlopen(std::getenv("CUDA_INJECTION64_PATH"), RTLD_NOW);
  if (library == nullptr) std::_Exit(2);
  Injection injection{};
  Find(library, "ftprof_inject_cut", &injection.cut);
  Find(library, "ftprof_inject_captures_are_announced", &injection.captures_are_announced);
  Find(library, "ftprof_inject_capture_begins", &injection.capture_begins);
  Find(library, "ftprof_inject_capture_ends", &injection.capture_ends);
  return injection;
}

// What others do to a context may fail every call here: that is not what is tested.
template <typename Act>
std::thread Repeat(milliseconds pause, Act act) {
  return std::thread([pause, act] {
    TheCuda().program_thread(1);
    for (int round = 0; !stopping; ++round) {
      act(round);
      std::this_thread::sleep_for(pause);
    }
  });
}

void Launch(CUcontext context, int times) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  if (TheCuda().set_current(context) != CUDA_SUCCESS) return;
  if (TheCuda().load(&module, "the script's") != CUDA_SUCCESS) return;
  if (TheCuda().function(&function, module, "gemm") != CUDA_SUCCESS) return;
  for (int i = 0; i < times; ++i) {
    (void)TheCuda().launch(function, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr);
  }
}

void Capture(const Injection& injection, CUcontext context) {
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  (void)TheCuda().set_current(context);
  if (TheCuda().stream_create(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return;
  injection.capture_begins();
  if (TheCuda().begin_capture(stream, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS) {
    std::this_thread::sleep_for(milliseconds(1));
    if (TheCuda().end_capture(stream, &graph) == CUDA_SUCCESS) (void)TheCuda().graph_destroy(graph);
  }
  injection.capture_ends();
  (void)TheCuda().stream_destroy(stream);
}

void CreateAndDestroy(int device, int round) {
  CUcontext context = nullptr;
  if (TheCuda().create(&context, 0, device) != CUDA_SUCCESS) return;
  Launch(context, round % 5);
  std::this_thread::sleep_for(milliseconds(round * 7 % 30));
  (void)TheCuda().destroy(context);
}

void Fork() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  (void)waitpid(child, nullptr, 0);
}

void Reset() {
  CUcontext context = nullptr;
  (void)TheCuda().reset(1);
  (void)TheCuda().release(1);
  (void)TheCuda().retain(&context, 1);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  const Injection injection = LoadInjection();
  injection.captures_are_announced();
  if (TheCuda().init(0) != CUDA_SUCCESS) return 2;
  CUcontext first = nullptr;
  CUcontext second = nullptr;
  if (TheCuda().retain(&first, 0) != CUDA_SUCCESS) return 2;
  if (TheCuda().retain(&second, 1) != CUDA_SUCCESS) return 2;
  std::vector<std::thread> threads;
  for (const CUcontext context : {first, second}) {
    threads.push_back(Repeat(milliseconds(1), [=](int) { Launch(context, 3); }));
    threads.push_back(Repeat(milliseconds(3), [=](int) { Capture(injection, context); }));
  }
  for (const int device : {0, 1}) {
    threads.push_back(Repeat(milliseconds(1), [=](int round) { CreateAndDestroy(device, round); }));
  }
  threads.push_back(Repeat(milliseconds(7), [=](int) { (void)injection.cut(1000); }));
  threads.push_back(Repeat(milliseconds(11), [=](int round) { (void)injection.cut(round % 3); }));
  threads.push_back(Repeat(milliseconds(150), [](int) { Reset(); }));
  threads.push_back(Repeat(milliseconds(100), [](int) { Fork(); }));
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  std::thread ends([] { std::exit(0); });  // the others go on
  ends.join();
  return 1;
}
