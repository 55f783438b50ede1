// Stand-in for tests, never shipped: the truth about what was executed, safe against SIGKILL.
#include "testing/ledger.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testing/evidence.h"

namespace ftprof::standin {
namespace {

static_assert(sizeof(LedgerRecord) == 48, "the reader of the ledger knows this size");

// A process that executes another program keeps its number: the file of the first one is kept.
int CreateFile(const std::string& folder) {
  for (int number = 0; number < 100; ++number) {
    const std::string path =
        folder + "/truth-" + std::to_string(getpid()) + "-" + std::to_string(number) + ".ledger";
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor >= 0) return descriptor;
  }
  return -1;
}

}  // namespace

Ledger::Ledger(const std::string& truth_dir, std::uint64_t mib) {
  if (truth_dir.empty()) return;
  const int descriptor = CreateFile(truth_dir);
  if (descriptor < 0) return;
  const std::uint64_t size = mib << 20;
  // Sparse: only what is written takes space.
  if (ftruncate(descriptor, static_cast<off_t>(size)) == 0) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory != MAP_FAILED) {
      records_ = static_cast<LedgerRecord*>(memory);
      capacity_ = size / sizeof(LedgerRecord);
    }
  }
  (void)close(descriptor);
}

Ledger::~Ledger() {
  if (records_ != nullptr) (void)munmap(records_, capacity_ * sizeof(LedgerRecord));
}

LedgerRecord* Ledger::Add(const LedgerRecord& record) {
  if (records_ == nullptr) return nullptr;
  if (used_ == capacity_) {
    Violation("the ledger is full: give the script a larger ledger_mib");
    return nullptr;
  }
  LedgerRecord* slot = &records_[used_++];
  *slot = record;
  slot->kind = LedgerRecord::kNone;
  __atomic_store_n(&slot->kind, record.kind, __ATOMIC_RELEASE);
  return slot;
}

void Ledger::AddLaunch(LedgerRecord* record) {
  if (record != nullptr) __atomic_fetch_add(&record->count, 1, __ATOMIC_RELEASE);
}

}  // namespace ftprof::standin
