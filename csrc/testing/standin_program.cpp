// Test program for the stand-ins, never shipped: a CUDA program that launches the script's kernels
// from many threads and processes, and says what it did in lines that do not depend on timing.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "testing/program_cuda.h"
#include "testing/program_options.h"
#include "testing/program_worker.h"

using namespace ftprof::standin;

namespace {

using Clock = std::chrono::steady_clock;
using Workers = std::vector<std::unique_ptr<Worker>>;

struct Contexts {
  std::vector<CUcontext> primary;  // by place in the list of devices
  CUcontext created = nullptr;
};

bool Retain(const ProgramOptions& options, Contexts* contexts) {
  contexts->primary.assign(options.devices.size(), nullptr);
  for (std::size_t i = 0; i < options.devices.size(); ++i) {
    if (!Succeeded("cuDevicePrimaryCtxRetain",
                   TheCuda().retain(&contexts->primary[i], options.devices[i]))) {
      return false;
    }
  }
  return true;
}

void Release(const ProgramOptions& options) {
  for (const int device : options.devices) {
    (void)Succeeded("cuDevicePrimaryCtxRelease", TheCuda().release(device));
  }
}

// Everything that other threads' captures could forbid happens before the first launch and after
// the last one.
template <typename Body>
void InThreads(const Workers& workers, Body body) {
  std::vector<std::thread> threads;
  threads.reserve(workers.size());
  for (const std::unique_ptr<Worker>& worker : workers) {
    threads.emplace_back([&worker, &body] {
      TheCuda().program_thread(1);
      body(worker.get());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

bool Synchronize(const Contexts& contexts) {
  bool succeeded = true;
  std::vector<CUcontext> all = contexts.primary;
  if (contexts.created != nullptr) all.push_back(contexts.created);
  for (const CUcontext context : all) {
    succeeded = Succeeded("cuCtxSetCurrent", TheCuda().set_current(context)) &&
                Succeeded("cuCtxSynchronize", TheCuda().synchronize()) && succeeded;
  }
  return succeeded;
}

// One part of the run on one life of the contexts.
void RunPart(const ProgramOptions& options, const Contexts& contexts, std::uint64_t first,
             std::uint64_t last, Clock::time_point begin, Workers* workers) {
  InThreads(*workers, [](Worker* worker) { (void)worker->Prepare(); });
  if (AnyFailed()) return;
  InThreads(*workers, [&](Worker* worker) { (void)worker->Run(first, last, begin); });
  if (options.synchronize) (void)Synchronize(contexts);
  for (const auto& worker : *workers) worker->Finish();
}

Workers MakeWorkers(const ProgramOptions& options, const Contexts& contexts) {
  Workers workers;
  for (int i = 0; i < options.threads; ++i) {
    const auto place = static_cast<std::size_t>(i) % contexts.primary.size();
    workers.push_back(std::make_unique<Worker>(options, contexts.primary[place]));
  }
  if (contexts.created != nullptr) {
    workers.push_back(std::make_unique<Worker>(options, contexts.created));
  }
  return workers;
}

void Reset(const ProgramOptions& options, Contexts* contexts) {
  for (const int device : options.devices) {
    (void)Succeeded("cuDevicePrimaryCtxReset", TheCuda().reset(device));
  }
  Release(options);  // a reset does not
  (void)Retain(options, contexts);
}

void PrintLaunches(const ProgramOptions& options, const Workers& workers) {
  for (std::size_t i = 0; options.print && i < workers.size(); ++i) {
    std::printf("thread %zu:%s\n", i, workers[i]->Launched().c_str());
  }
}

void Launch(const ProgramOptions& options) {
  Contexts contexts;
  if (!Retain(options, &contexts)) return;
  if (options.create_context &&
      !Succeeded("cuCtxCreate", TheCuda().create(&contexts.created, 0, options.devices[0]))) {
    return;
  }
  Workers workers = MakeWorkers(options, contexts);
  const Clock::time_point begin = Clock::now();
  const std::uint64_t middle = options.reset ? options.rounds / 2 : options.rounds;
  RunPart(options, contexts, 0, middle, begin, &workers);
  if (options.reset) {
    // The primary contexts' handles stay, their lives do not.
    Reset(options, &contexts);
    RunPart(options, contexts, middle, options.rounds, begin, &workers);
  }
  PrintLaunches(options, workers);
  if (contexts.created != nullptr) {
    (void)Succeeded("cuCtxDestroy", TheCuda().destroy(contexts.created));
  }
  Release(options);
}

// What a forked child sees of a driver that its parent has initialised.
void ForkAfter() {
  (void)std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    std::printf("child: cuCtxSynchronize: %s\n", NameOf(TheCuda().synchronize()).c_str());
    std::exit(0);
  }
  int status = 0;
  (void)waitpid(child, &status, 0);
  std::printf("child ended with %d\n", WEXITSTATUS(status));
}

enum class Part { kWorks, kOnlyWaits };

pid_t Spawn(char** argv, bool execute) {
  (void)std::fflush(stdout);
  const pid_t child = fork();
  if (child != 0 || !execute) return child;
  (void)setenv("STANDIN_PROGRAM_CHILD", "1", 1);
  (void)execv("/proc/self/exe", argv);
  _exit(127);
}

void WaitFor(const std::vector<pid_t>& children) {
  for (const pid_t child : children) {
    int status = 0;
    (void)waitpid(child, &status, 0);
    std::printf("process ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
}

// --processes: that many children do the work at the same time, and this process none.
// --fork before, --fork exec: a child does the work first, then this process.
Part ForkBefore(const ProgramOptions& options, char** argv) {
  const bool several = options.processes > 1;
  const bool execute = options.fork == ForkMoment::kExec;
  if (std::getenv("STANDIN_PROGRAM_CHILD") != nullptr) return Part::kWorks;
  if (!several && !execute && options.fork != ForkMoment::kBefore) return Part::kWorks;
  std::vector<pid_t> children;
  for (int i = 0; i < options.processes; ++i) {
    const pid_t child = Spawn(argv, execute);
    if (child == 0) return Part::kWorks;
    children.push_back(child);
  }
  WaitFor(children);
  return several ? Part::kOnlyWaits : Part::kWorks;
}

// As torch.profiler would: takes the only subscription there is.
void Subscribe() {
  void* cupti = dlopen("libcupti.so.13", RTLD_NOW);
  using Function = int (*)(void**, void (*)(void*, int, unsigned, const void*), void*);
  auto* subscribe =
      cupti == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(cupti, "cuptiSubscribe"));
  void* handle = nullptr;
  const int result = subscribe == nullptr
                         ? -1
                         : subscribe(&handle, [](void*, int, unsigned, const void*) {}, nullptr);
  std::printf("cuptiSubscribe: %d\n", result);
}

int End(const ProgramOptions& options, int code) {
  std::printf("done\n");
  (void)std::fflush(stdout);
  if (options.end == "exit") std::exit(code);
  if (options.end == "_exit") _exit(code);
  if (options.end == "abort") std::abort();
  const int number = std::atoi(options.end.c_str());
  if (number > 0) (void)raise(number);
  return code;
}

void Work(const ProgramOptions& options) {
  TheCuda().program_thread(1);
  if (Succeeded("cuInit", TheCuda().init(0))) {
    if (options.subscribe) Subscribe();
    if (options.fork == ForkMoment::kAfter) ForkAfter();
    Launch(options);
  }
  // Exit handlers are not the program's own work.
  TheCuda().program_thread(0);
}

}  // namespace

int main(int argc, char** argv) {
  const ProgramOptions options = ParseOptions(argc, argv);
  if (ForkBefore(options, argv) == Part::kWorks) Work(options);
  return End(options, AnyFailed() ? 1 : options.exit_code);
}
