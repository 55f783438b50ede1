// Stand-in for tests, never shipped: the lines that the stand-ins leave in truth_dir. Does nothing
// where the script names no such folder.
#pragma once

#include <cstdint>
#include <string>

namespace ftprof::standin {

// A broken rule, in one sentence, into violations-PID.jsonl. For anything that a library under test
// must not do, whether or not the call also failed. Also to stderr where FTPROF_STANDIN_LOUD is
// set.
void Violation(const std::string& sentence);

// Into trace-PID.jsonl. Each line is written at once, so that threads and SIGKILL leave whole ones.
void TraceCall(const char* function, int device, int code, std::uint64_t begin_ns,
               std::uint64_t end_ns);
// A moment at which the counters of a context were read. what is "push" or "pop".
void TraceRange(const char* what, const std::string& name, std::uint64_t context_id, int device,
                std::uint64_t at_ns);

}  // namespace ftprof::standin
