// Stand-in for tests, never shipped: violations and the trace.
#include "testing/evidence.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "testing/script.h"

namespace ftprof::standin {
namespace {

constexpr int kAttempts = 20;

// Whether the number still means this file: a program may close and open what it did not open.
bool Means(int descriptor, const std::string& path) {
  struct stat open_file{};
  struct stat file{};
  return fstat(descriptor, &open_file) == 0 && stat(path.c_str(), &file) == 0 &&
         open_file.st_dev == file.st_dev && open_file.st_ino == file.st_ino;
}

// Opened for each line: a forked child then writes to a file of its own, and no handle is left. A
// line that may have gone elsewhere is written again: its readers take the second for the first.
void AppendLine(const char* file, const std::string& line) {
  const Script& script = TheScript();
  if (script.truth_dir.empty()) return;
  const std::string path =
      script.truth_dir + "/" + file + "-" + std::to_string(getpid()) + ".jsonl";
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0) return;
    const ssize_t written = write(descriptor, line.data(), line.size());
    if (!Means(descriptor, path)) continue;  // it is not ours to close
    (void)close(descriptor);
    if (written == static_cast<ssize_t>(line.size())) return;
  }
}

std::string Thread() { return "\"tid\":" + std::to_string(syscall(SYS_gettid)); }

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return quoted + "\"";
}

}  // namespace

void Violation(const std::string& sentence) {
  AppendLine("violations", "{" + Thread() + ",\"violation\":" + Quoted(sentence) + "}\n");
  if (std::getenv("FTPROF_STANDIN_LOUD") != nullptr) {
    std::fprintf(stderr, "ftprof stand-in: %s\n", sentence.c_str());
  }
}

void TraceCall(const char* function, int device, int code, std::uint64_t begin_ns,
               std::uint64_t end_ns) {
  AppendLine("trace", "{\"call\":" + Quoted(function) + ",\"device\":" + std::to_string(device) +
                          ",\"code\":" + std::to_string(code) + "," + Thread() +
                          ",\"begin_ns\":" + std::to_string(begin_ns) +
                          ",\"end_ns\":" + std::to_string(end_ns) + "}\n");
}

void TraceRange(const char* what, const std::string& name, std::uint64_t context_id, int device,
                std::uint64_t at_ns) {
  if (TheScript().trace == TraceLevel::kNone) return;
  AppendLine("trace", "{\"range\":" + Quoted(what) + ",\"name\":" + Quoted(name) + ",\"context\":" +
                          std::to_string(context_id) + ",\"device\":" + std::to_string(device) +
                          "," + Thread() + ",\"at_ns\":" + std::to_string(at_ns) + "}\n");
}

}  // namespace ftprof::standin
