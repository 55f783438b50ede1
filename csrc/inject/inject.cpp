// libftprof_inject.so: the CUDA driver loads it at cuInit, as CUDA_INJECTION64_PATH says, and calls
// InitializeInjection. It counts in any process, and may disturb none.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

#include "inject/settings.h"
#include "inject/watcher.h"
#include "journal/clock.h"
#include "journal/failure_file.h"
#include "journal/process_identity.h"

namespace ftprof::inject {
namespace {

constexpr std::chrono::milliseconds kPatienceAtExit{1800};  // and 200 for the journal: 2 s in all

// Never destroyed: threads may use it until the process's very end.
std::atomic<Watcher*> g_watcher{nullptr};
std::atomic<pid_t> g_process{0};
// In this memory and not in the environment, so that it holds for the program that said it: one
// that replaces it (exec) has the same environment and process number, but not its hook. A forked
// child has both.
std::atomic<bool> g_captures_announced{false};
std::atomic<bool> g_begun{false};  // the driver has called us

// Null in a child that was made behind pthread_atfork's back (clone), too: its parent's threads may
// have held the locks.
Watcher* TheWatcher() noexcept { return g_process == getpid() ? g_watcher.load() : nullptr; }

void Stop(const char* reason) noexcept {
  if (Watcher* watcher = TheWatcher()) watcher->Stop(reason, kPatienceAtExit);
}

// Exit handlers run in the reverse order of their registration, and libraries register theirs when
// they are loaded and first used. Ours calls CUPTI: it is registered again after each such moment,
// so that it runs before theirs. Only its first run does anything.
void StopAtExit() {
  (void)std::atexit([] { Stop("exit"); });
}

void ForgetInChild() {
  Watcher* watcher = g_watcher.exchange(nullptr);
  if (watcher != nullptr) watcher->ForgetInChild();
}

void OpenGate(Watcher* watcher) {
  if (g_captures_announced) watcher->capture_gate().CapturesAreAnnounced();
}

void Begin() {
  const std::optional<Settings> settings = SettingsFromEnvironment();
  if (!settings) return;
  journal::TakeOverClock();
  journal::ProcessIdentity identity;
  std::string why;
  if (!journal::ReadProcessIdentity(&identity, &why)) {
    journal::FailureFile(settings->run_directory)
        .Say("process " + std::to_string(getpid()) + ": the counters cannot start: " + why);
    return;
  }
  auto* watcher = new Watcher(*settings, identity, &StopAtExit);
  OpenGate(watcher);
  if (settings->subscribe) watcher->Subscribe();
  if (!watcher->Start()) {
    journal::FailureFile(settings->run_directory)
        .Say("process " + std::to_string(getpid()) + ": the counters cannot start: no thread");
    return;
  }
  g_process = getpid();
  g_watcher = watcher;
  OpenGate(watcher);  // another thread may just have said it
  StopAtExit();
  pthread_atfork(nullptr, nullptr, ForgetInChild);
}

}  // namespace
}  // namespace ftprof::inject

extern "C" {

// Always 1, which is success: whatever goes wrong here is no reason to trouble the application.
__attribute__((visibility("default"))) int InitializeInjection() {
  if (ftprof::inject::g_begun.exchange(true)) return 1;
  try {
    ftprof::inject::Begin();
  } catch (const std::exception&) {
    // Out of memory in somebody else's process: the parent sees that there is no journal.
  }
  return 1;
}

// For what knows more than this library can see. The hook in a Python process calls them.

// The process is about to end in a way that runs no exit handlers.
__attribute__((visibility("default"))) void ftprof_inject_end(const char* reason) {
  ftprof::inject::Stop(reason != nullptr ? reason : "ended");
}

// 1 once every open window has been closed and its counts are in the journal. Before the driver has
// begun there is none.
__attribute__((visibility("default"))) int ftprof_inject_cut(int patience_ms) {
  if (!ftprof::inject::g_begun) return 1;
  ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher();
  return watcher != nullptr && watcher->Cut(std::chrono::milliseconds(patience_ms)) ? 1 : 0;
}

// 1 once a window is open on every context: what is launched next is counted in it.
__attribute__((visibility("default"))) int ftprof_inject_await_windows(int patience_ms) {
  ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher();
  return watcher != nullptr && watcher->AwaitWindows(std::chrono::milliseconds(patience_ms)) ? 1
                                                                                             : 0;
}

// 1 while a stream capture is under way: until its end no window is closed.
__attribute__((visibility("default"))) int ftprof_inject_capturing() {
  ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher();
  return watcher != nullptr && watcher->capture_gate().capturing() ? 1 : 0;
}

// Every stream capture of this program will be told with the two functions below. Before the driver
// has begun, too: whoever says it may load this library himself.
__attribute__((visibility("default"))) void ftprof_inject_captures_are_announced() {
  ftprof::inject::g_captures_announced = true;
  if (ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher())
    ftprof::inject::OpenGate(watcher);
}

__attribute__((visibility("default"))) void ftprof_inject_capture_begins() {
  ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher();
  if (watcher != nullptr) watcher->capture_gate().CaptureBegins();
}

__attribute__((visibility("default"))) void ftprof_inject_capture_ends() {
  ftprof::inject::Watcher* watcher = ftprof::inject::TheWatcher();
  if (watcher != nullptr) watcher->capture_gate().CaptureEnds();
}
}
