// Tests the journal's writer, and lets tests/integration/test_native_journal.py drive it.
//
//   ftprof_journal_test                 the tests that need nothing else
//   ftprof_journal_test sha256          a hexadecimal message a line in, its hash a line out
//   ftprof_journal_test json            a document in tokens a line in, canonical JSON a line out
//   ftprof_journal_test identity        what process_identity says of this process
//   ftprof_journal_test script FOLDER   a command a line in, its outcome a line out
//   ftprof_journal_test torture FOLDER SEED   writes until it is killed
#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "journal/clock.h"
#include "journal/failure_file.h"
#include "journal/journal_file.h"
#include "journal/json_line.h"
#include "journal/process_identity.h"
#include "journal/sha256.h"
#include "journal/utf8.h"

namespace {

using namespace ftprof::journal;

int failures = 0;
thread_local long allocations_left = -1;  // without a limit

void Expect(bool condition, const char* what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what);
}

JsonObject Header(const ProcessIdentity& identity) {
  JsonObject header;
  DescribeProcess(identity, &header);
  JsonObject software;
  software.Set("system", SystemText()).Set("cupti", nullptr);
  header.Set("schema", "ftprof.journal/1").Set("run", "test").Set("role", "process");
  header.Set("method", "counters").Set("time_us", NowUs()).Set("software", software);
  header.Set("devices", JsonArray()).Set("unwatched", JsonArray());
  return header;
}

ProcessIdentity Identity() {
  ProcessIdentity identity;
  std::string why;
  if (!ReadProcessIdentity(&identity, &why)) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(EXIT_FAILURE);
  }
  return identity;
}

JsonObject Problem(std::int64_t number, std::size_t size) {
  JsonObject content;
  content.Set("time_us", number).Set("what", std::string(size, 'x'));
  return content;
}

JsonObject Numbered(const char* key, std::int64_t number) {
  JsonObject content;
  content.Set(key, number);
  return content;
}

const char* KeptName(Kept kept) {
  return kept == Kept::kOnDisk ? "disk" : kept == Kept::kInMemory ? "memory" : "lost";
}

std::string FromHex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    const std::string pair(digits.substr(i, 2));
    bytes += static_cast<char>(std::strtoul(pair.c_str(), nullptr, 16));
  }
  return bytes;
}

bool ReadLine(std::string* line) {
  line->clear();
  int letter;
  while ((letter = std::getchar()) != EOF && letter != '\n') *line += static_cast<char>(letter);
  return letter != EOF || !line->empty();
}

void Answer(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

// ---------------------------------------------------------------- a folder of a test's own

class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TMPDIR");
    path_ = std::string(parent != nullptr ? parent : "/tmp") + "/ftprof_journal_XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::exit(EXIT_FAILURE);
  }
  ~Folder() {
    const std::string command = "rm -rf '" + path_ + "'";
    if (std::system(command.c_str()) != 0) std::fprintf(stderr, "%s is left\n", path_.c_str());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

JournalSettings In(const std::string& folder) {
  JournalSettings settings;
  settings.folder = folder;
  settings.identity = Identity();
  return settings;
}

std::string Content(const std::string& path) {
  std::string text;
  char buffer[65536];
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return {};
  std::size_t got;
  while ((got = std::fread(buffer, 1, sizeof(buffer), file)) != 0) text.append(buffer, got);
  std::fclose(file);
  return text;
}

// The lines of a chain that holds; -1 where it does not. Only for lines without a hash inside.
long ChainLength(const std::string& path) {
  std::string text = Content(path), previous(64, '0');
  long lines = 0;
  for (std::size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
    std::string line = text.substr(0, end);
    const std::size_t at = line.find("\"hash\":\"");
    if (at == std::string::npos) return -1;
    const std::string hash = line.substr(at + 8, 64);
    line.erase(at, 8 + 64 + 2);
    if (View(Sha256Hex(line)) != hash ||
        line.find("\"previous\":\"" + previous) == std::string::npos) {
      return -1;
    }
    previous = hash;
    ++lines;
  }
  return text.empty() ? lines : -1;
}

// ---------------------------------------------------------------- the parts

void TestSha256() {
  struct Vector {
    std::string message;
    const char* hash;
  };
  // FIPS 180-2, appendix B, and the empty message.
  const Vector vectors[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
       "nopqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1'000'000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const Vector& vector : vectors) {
    Expect(View(Sha256Hex(vector.message)) == vector.hash, "a vector of FIPS 180");
  }
  const std::string message(200, 'q');
  for (std::size_t cut = 0; cut <= message.size(); ++cut) {
    Sha256 parts, whole;
    parts.Update(std::string_view(message).substr(0, cut));
    parts.Update(std::string_view(message).substr(cut));
    whole.Update(message);
    Expect(parts.Finish() == whole.Finish(), "a message in two parts");
  }
}

void TestJson() {
  JsonArray array;
  array.Add("\x01\"\\/\b\f\n\r\t\x7f").Add("\xc3\xa9\xf0\x9d\x84\x9e").Add(nullptr);
  array.Add(std::string("\0", 1)).Add(false);
  JsonObject object;
  object.Set("b", array).Set("a", -5).Set("B", true).Set("\xc3\xa9", UINT64_MAX).Set("a", 7);
  object.Set("count", Decimal(~Uint128{0})).Set("zero", Decimal(0)).Set("o", JsonObject());
  Expect(object.Text() ==
             R"({"B":true,"a":7,"b":["\u0001\"\\/\b\f\n\r\t\u007f","\u00e9\ud834\udd1e",null,)"
             R"("\u0000",false],"count":"340282366920938463463374607431768211455","o":{},)"
             R"("zero":"0","\u00e9":18446744073709551615})",
         "canonical JSON");
  Expect(
      JsonValue("\xed\xa0\x80|\xf0\x90\x80|\xff").text() == R"("\ufffd\ufffd\ufffd|\ufffd|\ufffd")",
      "broken UTF-8 is replaced");
  Expect(JsonValue(INT64_MIN).text() == "-9223372036854775808", "the least integer");
}

void TestIdentity() {
  std::uint64_t ticks = 0;
  const std::string rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n";
  Expect(StartTicksOf("7 (a) b (c) 1 2 3)" + rest, &ticks) && ticks == 4242, "a name in a name");
  Expect(StartTicksOf("7 (\n)) " + rest, &ticks) && ticks == 4242, "a name with a new line");
  Expect(!StartTicksOf("7 (a", &ticks) && !StartTicksOf("7 (a) S 1", &ticks), "a short line");
  const ProcessIdentity odd = {"h\xc3\xb6st/\xff .x", "0123456789", 7, 11};
  Expect(JournalName(odd, "-counters") == "h_st___.x-01234567-7-11-counters.journal", "a name");
  Expect(AsciiLine("  a\n\t b\xc3\xa9 ") == "a b?", "one line of ASCII");
}

// ---------------------------------------------------------------- the journal

void TestRollUp() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  Expect(writer.Begin(Header(Identity())) == Kept::kOnDisk, "begun");
  for (int i = 0; i < 10; ++i) writer.Append("counts", Numbered("n", i));
  const std::string path = writer.State().path;
  Expect(ChainLength(path) == 11, "eleven lines");
  Expect(writer.ReplaceFinished({{"context", Numbered("context", 0)}}, Numbered("upto", 8),
                                {{"counts", Numbered("n", 9)}}),
         "rolled up");
  Expect(writer.Append("counts", Numbered("n", 10)) == Kept::kOnDisk, "goes on");
  Expect(ChainLength(path) == 5 && writer.State().lines == 5, "header, context, roll-up, two");
  Expect(Content(path).find("\"replaced_lines\":11") != std::string::npos, "says what it replaced");
  Expect(Content(path).size() == writer.State().bytes, "knows its size");
  Expect(writer.ReplaceFinished({}, Numbered("upto", 10), {}) && ChainLength(path) == 2, "again");
  Expect(access((path + ".new").c_str(), F_OK) != 0, "nothing is left beside");
}

void TestManyThreads() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  writer.Begin(Header(Identity()));
  std::atomic<int> on_disk{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&writer, &on_disk] {
      for (int i = 0; i < 100; ++i) {
        on_disk += writer.Append("counts", Numbered("n", i)) == Kept::kOnDisk;
        (void)writer.State();
      }
    });
  }
  for (int i = 0; i < 5; ++i) Expect(writer.ReplaceFinished({}, Numbered("i", i), {}), "roll-up");
  for (std::thread& thread : threads) thread.join();
  Expect(on_disk == 400 && ChainLength(writer.State().path) >= 1, "four threads, one chain");
}

// A daemon's way to begin, again and again: whatever it did not open is closed, in any moment.
void TestDescriptorsThatAreClosedAllTheTime() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  writer.Begin(Header(Identity()));
  std::atomic<bool> ended{false};
  std::thread closer([&ended] {
    while (!ended) {
      for (int number = 64; number < 2048; ++number) close(number);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  int on_disk = 0;
  for (int i = 0; i < 3000; ++i)
    on_disk += writer.Append("counts", Numbered("n", i)) == Kept::kOnDisk;
  ended = true;
  closer.join();
  Expect(on_disk == 3000 && ChainLength(writer.State().path) == 3001, "every line, at once");
}

// Default action, not blocked: the program would end if the signal came through.
void TestFileSizeLimit() {
  const Folder folder;
  FailureFile said(folder.path());
  JournalSettings settings = In(folder.path());
  settings.failures = &said;
  JournalWriter writer(settings);
  writer.Begin(Header(settings.identity));
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(writer.State().bytes + 100);
  setrlimit(RLIMIT_FSIZE, &low);
  sigset_t mask;
  for (int i = 0; i < 3; ++i) {
    errno = ENOTTY;
    Expect(writer.Append("problem", Problem(i, 200)) == Kept::kInMemory, "does not fit");
    Expect(errno == ENOTTY, "errno is as it was");
  }
  Expect(!writer.ReplaceFinished({}, Numbered("i", 0), {}), "no roll-up while lines wait");
  Expect(ChainLength(writer.State().path) == 1, "nothing half is left");
  Expect(writer.State().held_lines == 3 && !writer.State().trouble.empty(), "three lines wait");
  sigpending(&mask);
  Expect(sigismember(&mask, SIGXFSZ) == 0, "no signal is left behind");
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  Expect(sigismember(&mask, SIGXFSZ) == 0 && sigismember(&mask, SIGTERM) == 0, "the mask too");
  setrlimit(RLIMIT_FSIZE, &before);
  Expect(writer.Flush() && ChainLength(writer.State().path) == 4, "all is written at last");
  Expect(writer.State().trouble.empty() && writer.State().lost_lines == 0, "and nothing lost");
  const std::string told = Content(folder.path() + "/failures.txt");
  Expect(told.find("cannot write its journal") != std::string::npos && told.back() == '\n' &&
             told.find('\n') == told.size() - 1,
         "said once");
}

// A limit below the size from the first: the header, and the roll-up's new file.
void TestFileSizeLimitOnNewFiles() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit low = before;
  low.rlim_cur = 50;
  setrlimit(RLIMIT_FSIZE, &low);
  Expect(writer.Begin(Header(Identity())) == Kept::kInMemory, "no header yet");
  Expect(Content(writer.State().path).empty(), "not even a part of it");
  setrlimit(RLIMIT_FSIZE, &before);
  Expect(writer.Append("problem", Problem(1, 1)) == Kept::kOnDisk, "header and line");
  setrlimit(RLIMIT_FSIZE, &low);
  Expect(!writer.ReplaceFinished({}, Numbered("i", 0), {}), "no roll-up");
  setrlimit(RLIMIT_FSIZE, &before);
  const std::string path = writer.State().path;
  Expect(ChainLength(path) == 2 && access((path + ".new").c_str(), F_OK) != 0, "as it was");
}

void TestPendingSignalStays() {
  sigset_t set, mask;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &set, &mask);
  raise(SIGXFSZ);
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  Expect(writer.Begin(Header(Identity())) == Kept::kOnDisk, "begun");
  sigset_t pending;
  sigpending(&pending);
  Expect(sigismember(&pending, SIGXFSZ) == 1, "the program's own signal stays pending");
  const timespec now = {0, 0};
  sigtimedwait(&set, nullptr, &now);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

// The cancellation itself is not waited for: AddressSanitizer takes its unwinding for an overflow.
void* AppendCancelled(void* writer) {
  pthread_cancel(pthread_self());
  static_cast<JournalWriter*>(writer)->Append("problem", Problem(1, 1));
  int before = PTHREAD_CANCEL_DISABLE;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  return before == PTHREAD_CANCEL_ENABLE ? writer : nullptr;
}

void TestCancelledThread() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  writer.Begin(Header(Identity()));
  pthread_t thread;
  void* result = nullptr;
  pthread_create(&thread, nullptr, AppendCancelled, &writer);
  pthread_join(thread, &result);
  Expect(result == &writer, "the thread lives through the write, and can be cancelled behind it");
  Expect(ChainLength(writer.State().path) == 2, "the line is whole");
}

void TestMemoryBound() {
  const Folder folder;
  JournalSettings settings = In(folder.path() + "/later");
  settings.held_bytes = 40'000;
  JournalWriter writer(settings);
  Expect(writer.Begin(Header(settings.identity)) == Kept::kInMemory, "no folder yet");
  int held = 0, lost = 0;
  for (int i = 0; i < 100; ++i) {
    const Kept kept = writer.Append("problem", Problem(i, 1000));
    held += kept == Kept::kInMemory;
    lost += kept == Kept::kLost;
  }
  Expect(held > 10 && held < 20 && lost == 100 - held, "half of the bound for usual lines");
  Expect(writer.Append("problem", Problem(100, 1000), Need::kMuch) == Kept::kInMemory,
         "the rest for what is much needed");
  Expect(mkdir(settings.folder.c_str(), 0755) == 0 && writer.Flush(), "the folder comes");
  const std::string text = Content(writer.State().path);
  Expect(ChainLength(writer.State().path) == held + 3, "header, held lines, what was lost");
  Expect(text.find("; " + std::to_string(lost) + " of its lines did not fit") != std::string::npos,
         "the loss is in the journal");
  Expect(writer.State().lost_lines == static_cast<std::uint64_t>(lost), "and in the state");
  Expect(writer.Append("problem", Problem(101, 1)) == Kept::kOnDisk, "goes on");
}

// The AddressSanitizer of gcc 12 does not hold its allocator's locks at a fork, as the real malloc
// does: a child waits for ever if another thread allocated just then. There, and only there, the
// other thread is between two lines at a fork.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kAllocatorSurvivesFork = false;
#else
constexpr bool kAllocatorSurvivesFork = true;
#endif

// While other threads write and roll up, so that the lock may be held at the fork.
void TestForkedChild() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  writer.Begin(Header(Identity()));
  std::atomic<bool> stop{false};
  std::mutex between_lines;
  const auto hold = [&] {
    return kAllocatorSurvivesFork ? std::unique_lock<std::mutex>()
                                  : std::unique_lock<std::mutex>(between_lines);
  };
  std::thread busy([&] {
    for (int i = 0; !stop; ++i) {
      const auto held = hold();
      writer.Append("counts", Numbered("n", i));
      if (i % 20 == 19) (void)writer.ReplaceFinished({}, Numbered("upto", i), {});
    }
  });
  for (int i = 0; i < 20; ++i) {
    auto held = hold();
    const pid_t child = fork();
    if (held.owns_lock()) held.unlock();
    if (child == 0) {
      writer.ForgetInChild();
      const bool silent = writer.Append("counts", Numbered("n", 0)) == Kept::kLost &&
                          !writer.Flush() && !writer.ReplaceFinished({}, JsonObject(), {}) &&
                          writer.State().path.empty();
      JournalWriter own(In(folder.path()));
      const bool begun = own.Begin(Header(Identity())) == Kept::kOnDisk && !own.State().continues;
      _exit(silent && begun ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    Expect(status == 0, "a child writes to its own journal only");
  }
  stop = true;
  busy.join();
  Expect(ChainLength(writer.State().path) >= 1, "the parent's chain holds");
}

void TestChildThatWasNotTold() {
  const Folder folder;
  JournalWriter writer(In(folder.path()));
  writer.Begin(Header(Identity()));
  const pid_t child = fork();
  if (child == 0) _exit(writer.Append("counts", JsonObject()) == Kept::kLost ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  Expect(status == 0 && ChainLength(writer.State().path) == 1, "it writes nothing");
}

// Memory runs out at each allocation in turn, and none comes back until the test gives it back.
void TestNoMemory() {
  for (long allowed = 0; allowed < 160; ++allowed) {
    const Folder folder;
    FailureFile said(folder.path());
    JournalSettings settings = In(folder.path());
    settings.failures = &said;
    JournalWriter writer(settings);
    JsonObject header = Header(settings.identity), first = Problem(1, 500),
               second = Problem(2, 500);
    JsonObject rollup = Numbered("upto", 1);
    const std::vector<JournalLine> none;
    allocations_left = allowed;
    const Kept begun = writer.Begin(std::move(header));
    const Kept kept[] = {writer.Append("problem", std::move(first)),
                         writer.Append("problem", std::move(second))};
    const bool rolled_up = writer.ReplaceFinished(none, std::move(rollup), none);
    allocations_left = -1;
    Expect(begun != Kept::kLost && writer.Flush(), "all that was kept comes to the disk");
    const JournalState state = writer.State();
    const auto lost = static_cast<long>(state.lost_lines);
    Expect(lost == (kept[0] == Kept::kLost) + (kept[1] == Kept::kLost), "the lost are counted");
    const long expected = rolled_up ? 2 : 1 + 2 - lost + (lost != 0);
    Expect(ChainLength(state.path) == expected, "the chain holds, with no line twice");
    Expect(access((state.path + ".new").c_str(), F_OK) != 0, "nothing is left beside");
  }
}

void RunTests() {
  TestSha256();
  TestJson();
  TestIdentity();
  TestRollUp();
  TestManyThreads();
  TestDescriptorsThatAreClosedAllTheTime();
  TestFileSizeLimit();
  TestFileSizeLimitOnNewFiles();
  TestPendingSignalStays();
  TestCancelledThread();
  TestMemoryBound();
  TestForkedChild();
  TestChildThatWasNotTold();
  TestNoMemory();
}

// ---------------------------------------------------------------- what Python drives

class Tokens {
 public:
  explicit Tokens(std::string_view text) : text_(text) {}

  std::string_view Next() {
    const std::size_t end = std::min(text_.find(' '), text_.size());
    const std::string_view token = text_.substr(0, end);
    text_.remove_prefix(std::min(end + 1, text_.size()));
    return token;
  }

 private:
  std::string_view text_;
};

Uint128 ParseCount(std::string_view digits) {
  Uint128 value = 0;
  for (const char digit : digits) value = value * 10 + static_cast<unsigned>(digit - '0');
  return value;
}

// n, t, f, i-5, u5, c5 (a count), s6162 (a text), [ value... ], { 6b value... }
JsonValue ParseValue(std::string_view token, Tokens* tokens) {
  const std::string rest(token.substr(1));
  JsonArray array;
  JsonObject object;
  switch (token[0]) {
    case 't':
    case 'f':
      return token[0] == 't';
    case 'i':
      return std::strtoll(rest.c_str(), nullptr, 10);
    case 'u':
      return std::strtoull(rest.c_str(), nullptr, 10);
    case 'c':
      return Decimal(ParseCount(rest));
    case 's':
      return FromHex(rest);
    case '[':
      while ((token = tokens->Next()) != "]") array.Add(ParseValue(token, tokens));
      return array;
    case '{':
      while ((token = tokens->Next()) != "}") {
        object.Set(FromHex(token.substr(1)), ParseValue(tokens->Next(), tokens));
      }
      return object;
    default:
      return nullptr;
  }
}

void AnswerEachLine(bool json) {
  std::string line;
  while (ReadLine(&line)) {
    Tokens tokens(line);
    Answer(json ? ParseValue(tokens.Next(), &tokens).text()
                : std::string(View(Sha256Hex(FromHex(line)))));
  }
}

void PrintIdentity() {
  const ProcessIdentity identity = Identity();
  JsonObject text;
  DescribeProcess(identity, &text);
  text.Set("system", SystemText()).Set("name", JournalName(identity, ""));
  Answer(text.Text());
}

void CloseAll() {
  for (int number = 3; number < 1024; ++number) close(number);
}

// The next files that the program opens have the numbers of those that it closed.
void Steal(const std::string& path) {
  CloseAll();
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  for (int number = file + 1; number < 300; ++number) dup2(file, number);
}

void Limit(int resource, long value) {
  rlimit limit;
  getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  limit.rlim_cur = value < 0 ? limit.rlim_max : static_cast<rlim_t>(value);
  setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

std::string StateText(const JournalWriter& writer) {
  const JournalState state = writer.State();
  JsonObject text;
  text.Set("path", state.path).Set("continues", state.continues).Set("bytes", state.bytes);
  text.Set("lines", state.lines).Set("held", state.held_lines).Set("lost", state.lost_lines);
  return text.Set("trouble", state.trouble).Text();
}

std::string Obey(const std::string& command, Tokens* rest, const JournalSettings& settings,
                 JournalWriter* writer) {
  const std::string& folder = settings.folder;
  const auto number = [rest] { return std::atol(std::string(rest->Next()).c_str()); };
  if (command == "begin") return KeptName(writer->Begin(Header(settings.identity)));
  if (command == "problem") {
    const long time = number();
    return KeptName(writer->Append("problem", Problem(time, static_cast<std::size_t>(number()))));
  }
  if (command == "counts") return KeptName(writer->Append("counts", Numbered("n", number())));
  if (command == "end") {
    JsonObject end;
    end.Set("reason", "exit").Set("time_us", NowUs());
    return KeptName(writer->Append("end", end, Need::kMuch));
  }
  if (command == "rollup") {
    const std::vector<JournalLine> contexts = {{"context", Numbered("context", 0)}};
    return writer->ReplaceFinished(contexts, Numbered("upto", number()), {}) ? "done" : "not done";
  }
  if (command == "flush") return writer->Flush() ? "done" : "not done";
  if (command == "state") return StateText(*writer);
  if (command == "close") CloseAll();
  if (command == "steal") Steal(folder + "/../stolen");
  if (command == "file_size") Limit(RLIMIT_FSIZE, number());
  if (command == "open_files") Limit(RLIMIT_NOFILE, number());
  if (command == "chdir" && chdir("/") != 0) return "no such folder";
  if (command == "writable" && mount(nullptr, folder.c_str(), nullptr, MS_REMOUNT, nullptr) != 0) {
    return "not permitted";
  }
  return "done";
}

void RunScript(const char* program, const std::string& folder) {
  std::setvbuf(stdin, nullptr, _IONBF, 0);  // what follows an exec is for the next program
  FailureFile said(folder);
  JournalSettings settings = In(folder);
  settings.failures = &said;
  settings.held_bytes = 100'000;
  settings.sync_each_line = std::getenv("SYNC") != nullptr;
  JournalWriter writer(settings);
  std::string line;
  while (ReadLine(&line)) {
    Tokens tokens(line);
    const std::string command(tokens.Next());
    if (command == "exec") execl("/proc/self/exe", program, "script", folder.c_str(), nullptr);
    Answer(Obey(command, &tokens, settings, &writer));
  }
}

// Says each number once its line is on disk, so that a reader knows the least that must be there.
void Torture(const std::string& folder, unsigned seed) {
  JournalWriter writer(In(folder));
  std::minstd_rand chance(seed);
  writer.Begin(Header(Identity()));
  for (std::int64_t i = 1;; ++i) {
    JsonObject counts = Numbered("n", i);
    counts.Set("filling", std::string(chance() % 3000, 'x'));
    if (writer.Append("counts", counts) == Kept::kOnDisk) Answer(std::to_string(i));
    if (chance() % 6 == 0) {
      (void)writer.ReplaceFinished({{"context", Numbered("context", 0)}}, Numbered("upto", i - 1),
                                   {{"counts", counts}});
    }
  }
}

}  // namespace

void* operator new(std::size_t size) {
  void* memory = allocations_left == 0 ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "sha256" || mode == "json") {
    AnswerEachLine(mode == "json");
  } else if (mode == "identity") {
    if (argc > 2) prctl(PR_SET_NAME, FromHex(argv[2]).c_str());
    PrintIdentity();
  } else if (mode == "script" && argc == 3) {
    RunScript(argv[0], argv[2]);
  } else if (mode == "torture" && argc == 4) {
    Torture(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
  } else {
    RunTests();
    std::printf("%d failures\n", failures);
  }
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
