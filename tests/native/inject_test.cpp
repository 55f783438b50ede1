// Tests of the meter's and the injection library's parts that need no GPU and no CUPTI.
//
//   ftprof_inject_test                       threads at the capture gate, interrupts, our threads
//   ftprof_inject_test journal FOLDER LINES  writes a journal of windows that are always the same,
//                                            rolled up every so many lines
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "counters/capture_gate.h"
#include "counters/interrupt.h"
#include "counters/metric_catalogue.h"
#include "counters/own_thread.h"
#include "cupti/error.h"
#include "inject/process_journal.h"
#include "journal/process_identity.h"

namespace {

// How many more allocations of this thread succeed; -1: all.
thread_local int allocations_left = -1;

void* Allocate(std::size_t size) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace ftprof;
using counters::CaptureGate;
using counters::Interrupt;
using counters::MeterCalls;
using counters::Wake;
using cupti::PermittedCall;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

int failures = 0;

void Expect(bool condition, const char* what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what);
}

bool Shorter(steady_clock::time_point began, milliseconds time) {
  return steady_clock::now() - began < time;
}

// A meter that is in a window of patched code whenever it may.
class PatchingMeter {
 public:
  PatchingMeter(CaptureGate* gate, std::atomic<int>* captures, milliseconds window)
      : gate_(gate), captures_(captures), window_(window), thread_([this] { Run(); }) {}
  ~PatchingMeter() {
    interrupt_.Stop();
    thread_.join();
  }
  PatchingMeter(const PatchingMeter&) = delete;
  PatchingMeter& operator=(const PatchingMeter&) = delete;

  int windows() const { return windows_; }
  bool overlapped() const { return overlapped_; }

 private:
  void Run() {
    while (interrupt_.Pending() == Wake::kTimeout) {
      if (gate_->TryEnter(&interrupt_)) {
        interrupt_.WindowOpened();
        (void)interrupt_.WaitFor(window_);
        if (*captures_ != 0) overlapped_ = true;
        interrupt_.WindowClosed();
        gate_->Leave(&interrupt_);
        ++windows_;
      }
      std::this_thread::yield();
    }
  }

  CaptureGate* gate_;
  std::atomic<int>* captures_;
  milliseconds window_;
  Interrupt interrupt_;
  std::atomic<int> windows_{0};
  std::atomic<bool> overlapped_{false};
  std::thread thread_;
};

// Captures of four threads against four meters whose windows end only when they are cut. It goes on
// until every meter has had two windows, however slow the machine or the sanitizer is: the limits
// only end a run that is stuck.
void TestCapturesOfManyThreads() {
  constexpr int kThreads = 4;
  constexpr int kLeastRounds = 50;
  CaptureGate gate;
  std::atomic<int> captures{0};
  gate.CapturesAreAnnounced();
  std::vector<std::unique_ptr<PatchingMeter>> meters;
  for (int i = 0; i < kThreads; ++i) {
    meters.push_back(std::make_unique<PatchingMeter>(&gate, &captures, milliseconds(120'000)));
  }
  const auto every_meter_had_windows = [&meters] {
    return std::all_of(meters.begin(), meters.end(),
                       [](const auto& meter) { return meter->windows() > 1; });
  };
  const auto began = steady_clock::now();
  std::atomic<bool> waited{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kLeastRounds || !every_meter_had_windows(); ++round) {
        if (!Shorter(began, milliseconds(60'000))) return;
        const auto asked = steady_clock::now();
        gate.CaptureBegins();
        // The gate itself gives up after two seconds.
        if (!Shorter(asked, milliseconds(1500))) waited = true;
        ++captures;
        std::this_thread::sleep_for(microseconds(300));
        --captures;
        gate.CaptureEnds();
        std::this_thread::sleep_for(microseconds(500));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Expect(!waited, "a capture waits for no window's own end");
  for (const auto& meter : meters) {
    Expect(!meter->overlapped(), "no window of patched code during a capture");
    Expect(meter->windows() > 1, "windows of patched code between captures");
  }
}

void TestGateThatIsNotAnnounced() {
  CaptureGate gate;
  Interrupt meter;
  Expect(!gate.TryEnter(&meter), "no window before captures are announced");
  gate.CaptureEnds();
  gate.CaptureBegins();
  gate.CapturesAreAnnounced();
  Expect(!gate.TryEnter(&meter), "no window during a capture");
  gate.CaptureEnds();
  Expect(gate.TryEnter(&meter), "a window after it");
  gate.Leave(&meter);
}

// Whatever the meters do: here they are stuck.
void TestCaptureDoesNotWaitForEver() {
  CaptureGate gate({milliseconds(100), milliseconds(100)});
  gate.CapturesAreAnnounced();
  std::vector<std::unique_ptr<Interrupt>> stuck;
  for (int i = 0; i < 8; ++i) {
    stuck.push_back(std::make_unique<Interrupt>());
    Expect(gate.TryEnter(stuck.back().get()), "a window");
    stuck.back()->WindowOpened();
  }
  gate.CaptureBegins();
  Expect(gate.TakeCapturesAtRisk() == 1, "one began at a window of patched code");
  Expect(gate.TakeCapturesAtRisk() == 0, "which is told once");
}

// A call that hangs costs one capture its patience, and no other.
void TestNobodyWaitsTwiceForACallThatHangs() {
  CaptureGate gate({milliseconds(200), milliseconds(200)});
  Interrupt hung;
  Interrupt other;
  MeterCalls calls(&gate, hung);
  MeterCalls others(&gate, other);
  const auto capture = [&] {
    const auto began = std::chrono::steady_clock::now();
    gate.CaptureBegins();
    gate.CaptureEnds();
    return std::chrono::steady_clock::now() - began;
  };
  gate.EnterEdge(hung);
  {
    const PermittedCall call(&calls);
    Expect(capture() >= milliseconds(400), "the first capture waits for the edge and for the call");
    Expect(capture() < milliseconds(150), "the second does not");
    {
      gate.EnterEdge(other);
      const PermittedCall well(&others);
      Expect(capture() >= milliseconds(400), "but for another meter's");
      gate.LeaveEdge(other);
    }
    Expect(capture() < milliseconds(150), "whose end is no end of the one that hangs");
    Expect(gate.TakeCapturesAtRisk() == 4, "all four are at risk");
  }
  {
    const PermittedCall call(&calls);
    Expect(capture() >= milliseconds(400), "a call that has ended is waited for the next time");
  }
  gate.LeaveEdge(hung);
  Expect(capture() < milliseconds(150), "nothing is under way");
}

// While a meter that has failed pauses, nobody waits for its window.
void TestNobodyWaitsForTheWindowOfAMeterThatPauses() {
  Interrupt meter;
  std::thread pauses([&] { (void)meter.Pause(milliseconds(600'000)); });
  const auto began = std::chrono::steady_clock::now();
  Expect(!meter.AwaitWindow(milliseconds(60'000)), "no window");
  Expect(std::chrono::steady_clock::now() - began < milliseconds(30'000), "and no waiting for it");
  meter.Stop();
  pauses.join();
}

// A capture that has waited for an edge long enough begins inside it, between two calls, and the
// next call waits for its end.
void TestCaptureWaitsForACallAndNotForALongEdge() {
  CaptureGate gate({milliseconds(1), milliseconds(600'000)});
  Interrupt meter;
  MeterCalls calls(&gate, meter);
  gate.EnterEdge(meter);
  std::atomic<bool> begun{false};
  std::thread program;
  {
    const PermittedCall call(&calls);
    program = std::thread([&] {
      gate.CaptureBegins();
      begun = true;
    });
    std::this_thread::sleep_for(milliseconds(100));
    Expect(!begun, "the capture waits for the call");
  }
  program.join();
  Expect(gate.TakeCapturesAtRisk() == 0, "nothing could spoil it");
  std::atomic<bool> called{false};
  std::thread edge([&] {
    const PermittedCall call(&calls);
    called = true;
  });
  std::this_thread::sleep_for(milliseconds(100));
  Expect(!called, "the next call waits for the capture");
  gate.CaptureEnds();
  edge.join();
  Expect(called, "and is made after it");
  gate.LeaveEdge(meter);
}

// At the process's end nobody waits for a capture, and nothing is called any more.
void TestAnAbandonedMeterCallsNothing() {
  CaptureGate gate({milliseconds(1), milliseconds(1)});
  Interrupt meter;
  MeterCalls calls(&gate, meter);
  gate.CaptureBegins();
  std::atomic<bool> refused{false};
  std::thread edge([&] {
    try {
      const PermittedCall call(&calls);
    } catch (const ftprof::cupti::CuptiError&) {
      refused = true;
    }
  });
  meter.Abandon();
  edge.join();
  Expect(refused, "an abandoned meter may not call");
  gate.CaptureBegins();
  Expect(gate.TakeCapturesAtRisk() == 0, "and no call is under way");
}

// Between TryEnter and the opening of its window a meter may be asked, too.
void TestHurryBeforeTheWindow() {
  Interrupt meter;
  meter.Hurry();
  meter.WindowOpened();
  Expect(meter.WaitFor(microseconds(10'000'000)) == Wake::kCut, "the next window is cut");
  meter.WindowClosed();
  Expect(meter.WaitFor(microseconds(1000)) == Wake::kTimeout, "and no other");
}

void TestInterrupt() {
  Interrupt meter;
  Expect(meter.Cut(microseconds(0)), "nothing to cut");
  Expect(!meter.AwaitWindow(microseconds(1000)), "no window comes");
  std::thread other([&] {
    meter.WindowOpened();
    Expect(meter.WaitFor(microseconds(10'000'000)) == Wake::kCut, "cut");
    meter.WindowClosed();
    meter.WindowOpened();
    Expect(meter.WaitFor(microseconds(10'000'000)) == Wake::kAbandon, "abandoned");
    meter.WindowClosed();
    meter.Finished();
  });
  Expect(meter.AwaitWindow(microseconds(5'000'000)), "a window");
  Expect(meter.Cut(microseconds(5'000'000)), "it is closed");
  Expect(meter.AwaitWindow(microseconds(5'000'000)), "the next");
  meter.Abandon();
  Expect(meter.abandoned(), "it is abandoned");
  Expect(meter.WaitFinished(microseconds(5'000'000)), "finished");
  other.join();
  Expect(!meter.AwaitWindow(microseconds(5'000'000)), "none after the end");
  meter.Stop();
  Expect(meter.Pending() == Wake::kAbandon, "stop does not undo abandon");
}

void TestOwnThread() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  pthread_setattr_default_np(&attributes);
  std::size_t size = 0;
  bool blocked = false;
  counters::OwnThread thread("ftprof-test", [&] {
    pthread_attr_t mine;
    pthread_getattr_np(pthread_self(), &mine);
    pthread_attr_getstacksize(&mine, &size);
    pthread_attr_destroy(&mine);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGSEGV) == 1;
  });
  thread.Join();
  thread.Join();  // nothing any more
  Expect(size >= (std::size_t{8} << 20), "a stack of its own");
  Expect(blocked, "signals are blocked");
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  Expect(sigismember(&mask, SIGTERM) == 0, "and not in the thread that began it");
}

counters::CountedContext ContextNumber(int number) {
  using counters::Role;
  using counters::WithSum;
  counters::CountedContext context;
  context.device.ordinal = number % 2;
  context.device.name = "no device";
  context.device.uuid = "GPU-" + std::to_string(number % 2);
  context.device.capability = "9.0";
  context.device.multiprocessors = 132;
  context.device.clock_khz = 1'980'000;
  context.plan.chip = "GH100";
  const std::string cycles = WithSum(counters::kCyclesMetric);
  context.plan.groups = {
      {Role::kBase, {WithSum("sm__ops_path_tensor_src_bf16_dst_fp32"), cycles}, 1},
      {Role::kRotating, {WithSum("sm__ops_path_tensor_src_tf32_dst_fp32"), cycles}, 1},
      {Role::kCudaCore,
       {WithSum("smsp__sass_thread_inst_executed_op_ffma_pred_on"),
        WithSum(counters::kPatchedInstructionsMetric)},
       1},
      {Role::kLink, {WithSum(counters::kInstructionsMetric), cycles}, 1},
  };
  context.begin_us = 1'000'000 * number;
  return context;
}

// Three contexts with strata of 34 windows each, whose counts go up to the largest that is exact.
int WriteJournal(const std::string& folder, std::size_t lines_before_rollup) {
  journal::ProcessIdentity identity;
  std::string why;
  if (!journal::ReadProcessIdentity(&identity, &why)) return 2;
  identity.pid = 4711;  // the same of each run
  identity.start_ticks = 1;
  inject::ProcessJournal journal(folder, "run", identity, lines_before_rollup, nullptr);
  journal.Begin({}, "13.0", "primary");
  std::mt19937_64 engine(4711);
  std::vector<std::unique_ptr<inject::ContextJournal>> contexts;
  for (int number = 0; number < 3; ++number) {
    contexts.push_back(std::make_unique<inject::ContextJournal>(&journal));
    contexts.back()->OnContext(ContextNumber(number));
  }
  std::int64_t now = 10'000'000;
  std::vector<counters::Window> last(contexts.size());
  for (int window = 0; window < 3 * 34 * 40; ++window) {
    counters::Window closed;
    const auto number = static_cast<std::size_t>(window % 3);
    closed.group = engine() % 34 < 31 ? 0 : 1 + engine() % 3;
    closed.stratum = static_cast<std::uint64_t>(window / 3 / 34);
    closed.begin_us = now;
    closed.end_us = now += 100'000;
    now += 37;
    const std::uint64_t most = window % 5 == 0 ? (std::uint64_t{1} << 53) - 1 : 1'000'000;
    closed.counts = {engine() % most, 1 + engine() % most};
    // Now and then it goes on with the slot of the one before.
    closed.continued = !last[number].counts.empty() && closed.group == last[number].group &&
                       closed.stratum == last[number].stratum && engine() % 3 == 0;
    contexts[number]->OnWindow(closed);
    last[number] = closed;
    if (window % 501 == 0) {
      contexts[number]->OnGap({now, now + 10, cupti::CuptiError("aCall", 35, "A_CODE", "do it")});
    }
  }
  for (const auto& context : contexts) context->OnEnd(now);
  journal.End("exit");
  return 0;
}

std::string JournalIn(const std::string& folder) {
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path());
    text.append(std::istreambuf_iterator<char>(file), {});
  }
  return text;
}

// Added: each that follows such a text in the journal of this folder.
std::size_t NumbersBehind(const std::string& folder, const std::string& text) {
  const std::string journal = JournalIn(folder);
  std::size_t sum = 0;
  for (std::size_t at = 0; (at = journal.find(text, at)) != std::string::npos;) {
    at += text.size();
    sum += std::strtoull(journal.c_str() + at, nullptr, 10);
  }
  return sum;
}

// The windows that the journal of this folder tells of, rolled up or one by one.
std::size_t WindowsToldIn(const std::string& folder) {
  const std::string journal = JournalIn(folder);
  std::size_t told = NumbersBehind(folder, "\"windows\":");
  const std::string one = "\"kind\":\"counts\"";
  for (std::size_t at = 0; (at = journal.find(one, at)) != std::string::npos; ++at) ++told;
  return told;
}

// Memory is short at every window for one allocation more than at the one before it, so that each
// step of a roll-up has once had none.
void TestWindowsWithoutMemory() {
  std::string folder = std::filesystem::temp_directory_path() / "ftprof-inject-test-XXXXXX";
  Expect(mkdtemp(folder.data()) != nullptr, "a folder");
  journal::ProcessIdentity identity;
  std::string why;
  Expect(journal::ReadProcessIdentity(&identity, &why), "an identity");
  constexpr std::size_t kWindows = 4000;
  std::size_t written = 0;
  {
    inject::ProcessJournal journal(folder, "run", identity, 8, nullptr);
    journal.Begin({}, "13.0", "primary");
    inject::ContextJournal context(&journal);
    context.OnContext(ContextNumber(0));
    for (std::size_t window = 0; window < kWindows; ++window) {
      counters::Window closed;
      closed.stratum = window / 4;
      closed.begin_us = static_cast<std::int64_t>(window) * 1000;
      closed.end_us = closed.begin_us + 1000;
      closed.counts = {window, window};
      allocations_left = static_cast<int>(window * 7 % 2000);
      try {
        context.OnWindow(closed);
        ++written;
      } catch (const std::bad_alloc&) {  // the meter makes a gap of it
      }
      allocations_left = -1;
    }
    context.OnEnd(static_cast<std::int64_t>(kWindows) * 1000);
    journal.End("exit");
  }
  const std::size_t told = WindowsToldIn(folder);
  Expect(written <= told + NumbersBehind(folder, "written for a while; "),
         "no window that was written is lost without a word");
  Expect(told <= kWindows, "and none is told twice");
  Expect(written > kWindows / 2, "there was memory for most");
  std::filesystem::remove_all(folder);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "journal") == 0) {
    return WriteJournal(argv[2], std::strtoull(argv[3], nullptr, 10));
  }
  TestCapturesOfManyThreads();
  TestGateThatIsNotAnnounced();
  TestNobodyWaitsTwiceForACallThatHangs();
  TestNobodyWaitsForTheWindowOfAMeterThatPauses();
  TestCaptureDoesNotWaitForEver();
  TestCaptureWaitsForACallAndNotForALongEdge();
  TestAnAbandonedMeterCallsNothing();
  TestHurryBeforeTheWindow();
  TestInterrupt();
  TestOwnThread();
  TestWindowsWithoutMemory();
  if (failures == 0) std::printf("ok\n");
  return failures == 0 ? 0 : 1;
}
