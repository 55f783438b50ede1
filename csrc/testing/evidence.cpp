// Stand-in for tests, never shipped: violations and the trace.
#include "testing/evidence.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "testing/script.h"

namespace ftprof::standin {
namespace {

// Opened for each line: a forked child then writes to a file of its own, and no handle is left.
void AppendLine(const char* file, const std::string& line) {
  const Script& script = TheScript();
  if (script.truth_dir.empty()) return;
  const std::string path =
      script.truth_dir + "/" + file + "-" + std::to_string(getpid()) + ".jsonl";
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return;
  const ssize_t written = write(descriptor, line.data(), line.size());
  (void)written;
  (void)close(descriptor);
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
