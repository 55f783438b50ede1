// Who this process is, as ftprof/measure/analytic/hook.py says it too: what the two write of one
// process is put together by it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "journal/json_line.h"

namespace ftprof::journal {

struct ProcessIdentity {
  std::string host;
  std::string boot;               // the kernel's boot id
  std::int64_t pid = 0;           // in this process's own namespace
  std::uint64_t start_ticks = 0;  // clock ticks since boot
};

// False, and why, where /proc does not say it.
bool ReadProcessIdentity(ProcessIdentity* identity, std::string* why);

// The fields of a header that tell of the process: host, boot, pid, start_ticks, parent_pid, rank
// (from the launcher's variables, null where there are none).
void DescribeProcess(const ProcessIdentity& identity, JsonObject* header);

// Kernel name, release and machine, for the header's software.
std::string SystemText();

// HOST-BOOT-PID-STARTsuffix.journal, with what a file's name should not hold as underscores.
std::string JournalName(const ProcessIdentity& identity, std::string_view suffix);

// The start time in the text of /proc/PID/stat, where the program's name may hold anything.
bool StartTicksOf(std::string_view stat, std::uint64_t* ticks);

// What tells one start of the machine from every other. Empty where the system hides it.
std::string BootId();

}  // namespace ftprof::journal
