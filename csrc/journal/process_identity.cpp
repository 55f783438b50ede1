#include "journal/process_identity.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "journal/undisturbed.h"
#include "journal/utf8.h"

namespace ftprof::journal {
namespace {

constexpr std::uint64_t kLargestWhole = 9007199254740991;  // as the journal's schema has it
constexpr std::string_view kBlanks = " \t\n\r\f\v";

// Files of /proc are short and come whole with one read.
bool ReadShort(const char* path, std::string* text) {
  char buffer[4096];
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file == -1) return false;
  ssize_t got;
  do {
    got = read(file, buffer, sizeof(buffer));
  } while (got == -1 && errno == EINTR);
  close(file);
  if (got > 0) text->assign(buffer, static_cast<std::size_t>(got));
  return got > 0;
}

std::string_view Stripped(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool ParseWhole(std::string_view digits, std::uint64_t* value) {
  *value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return false;
    *value = *value * 10 + static_cast<std::uint64_t>(digit - '0');
    if (*value > kLargestWhole) return false;
  }
  return !digits.empty();
}

// The table is that of the hook (ftprof/measure/analytic/hook.py), where the sources stand: each
// launcher's variables, the nearest to the process first.
enum RankKey { kRank, kLocalRank, kWorldSize, kNode, kNodes, kRankKeys };
constexpr std::array<const char*, kRankKeys> kRankNames = {"rank", "local_rank", "world_size",
                                                           "node", "nodes"};
using RankVariables = std::array<std::array<const char*, 3>, kRankKeys>;
constexpr std::array<RankVariables, 6> kRankVariables = {{
    {{{"RANK"},
      {"LOCAL_RANK"},
      {"WORLD_SIZE"},
      {"GROUP_RANK", "CROSS_RANK", "NODE_RANK"},
      {"GROUP_WORLD_SIZE", "CROSS_SIZE"}}},
    {{{"OMPI_COMM_WORLD_RANK"}, {"OMPI_COMM_WORLD_LOCAL_RANK"}, {"OMPI_COMM_WORLD_SIZE"}, {}, {}}},
    {{{"MV2_COMM_WORLD_RANK"}, {"MV2_COMM_WORLD_LOCAL_RANK"}, {"MV2_COMM_WORLD_SIZE"}, {}, {}}},
    {{{"PMI_RANK"}, {"MPI_LOCALRANKID", "PMI_LOCAL_RANK"}, {"PMI_SIZE"}, {}, {}}},
    {{{"SLURM_PROCID"},
      {"SLURM_LOCALID"},
      {"SLURM_STEP_NUM_TASKS"},
      {"SLURM_NODEID"},
      {"SLURM_STEP_NUM_NODES"}}},
    {{{"PMIX_RANK"}, {}, {}, {}, {}}},
}};

using RankNumbers = std::array<std::optional<std::uint64_t>, kRankKeys>;

RankNumbers NumbersOf(const RankVariables& variables) {
  RankNumbers numbers;
  for (int key = 0; key < kRankKeys; ++key) {
    for (const char* variable : variables[key]) {
      const char* text = variable == nullptr ? nullptr : std::getenv(variable);
      std::uint64_t value;
      if (text == nullptr || !ParseWhole(text, &value)) continue;
      numbers[key] = value;
      break;
    }
  }
  return numbers;
}

// What the nearest launcher does not tell comes from another one that gives the same rank of as
// many.
JsonValue Rank() {
  RankNumbers found;
  for (const RankVariables& variables : kRankVariables) {
    const RankNumbers row = NumbersOf(variables);
    if (!row[kRank]) continue;
    const bool same =
        row[kWorldSize] && row[kRank] == found[kRank] && row[kWorldSize] == found[kWorldSize];
    if (found[kRank] && !same) continue;
    for (int key = 0; key < kRankKeys; ++key) {
      if (!found[key]) found[key] = row[key];
    }
  }
  if (!found[kRank]) return JsonValue(nullptr);
  JsonObject rank;
  for (int key = 0; key < kRankKeys; ++key) {
    if (found[key]) rank.Set(kRankNames[key], *found[key]);
  }
  return JsonValue(rank);
}

// One underscore for each other character; a byte that is no UTF-8 is a character of its own, as
// it is in the names that Python takes from the system.
std::string Sanitized(std::string_view text) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  std::string name;
  while (!text.empty()) {
    const CodePoint first = FirstCodePoint(text);
    if (first.length == 1 && kAllowed.find(text[0]) != std::string_view::npos) {
      name += text[0];
    } else {
      name.append(first.valid ? 1 : first.length, '_');
    }
    text.remove_prefix(first.length);
  }
  return name;
}

}  // namespace

bool StartTicksOf(std::string_view stat, std::uint64_t* ticks) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return false;
  std::string_view rest = stat.substr(name_end + 1);
  constexpr int kField = 19;  // the 22nd of the line, the 20th after the name
  for (int field = 0;; ++field) {
    rest = Stripped(rest);
    const std::string_view word = rest.substr(0, rest.find_first_of(kBlanks));
    if (word.empty()) return false;
    if (field == kField) return ParseWhole(word, ticks);
    rest.remove_prefix(word.size());
  }
}

bool ReadProcessIdentity(ProcessIdentity* identity, std::string* why) {
  const Undisturbed undisturbed;
  std::string boot, stat;
  utsname system;
  if (!ReadShort("/proc/sys/kernel/random/boot_id", &boot)) {
    *why = "/proc/sys/kernel/random/boot_id cannot be read";
  } else if (!ReadShort("/proc/self/stat", &stat) || !StartTicksOf(stat, &identity->start_ticks)) {
    *why = "/proc/self/stat cannot be read";
  } else if (uname(&system) != 0) {
    *why = "the system does not say its name";
  } else {
    identity->host = system.nodename;
    identity->boot = Stripped(boot);
    identity->pid = getpid();
    return true;
  }
  return false;
}

void DescribeProcess(const ProcessIdentity& identity, JsonObject* header) {
  header->Set("host", identity.host)
      .Set("boot", identity.boot)
      .Set("pid", identity.pid)
      .Set("start_ticks", identity.start_ticks)
      .Set("parent_pid", static_cast<std::int64_t>(getppid()))
      .Set("rank", Rank());
}

std::string SystemText() {
  utsname system;
  if (uname(&system) != 0) return {};
  return std::string(system.sysname) + " " + system.release + " " + system.machine;
}

std::string JournalName(const ProcessIdentity& identity, std::string_view suffix) {
  constexpr std::size_t kBootDigits = 8;
  std::string name = identity.host + "-" + identity.boot.substr(0, kBootDigits) + "-" +
                     std::to_string(identity.pid) + "-" + std::to_string(identity.start_ticks);
  return Sanitized(name.append(suffix) + ".journal");
}

std::string BootId() {
  const Undisturbed undisturbed;
  std::string boot;
  return ReadShort("/proc/sys/kernel/random/boot_id", &boot) ? std::string(Stripped(boot))
                                                             : std::string();
}

}  // namespace ftprof::journal
