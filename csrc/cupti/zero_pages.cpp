#include "cupti/zero_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace ftprof::cupti {
namespace {

bool IsZero(const std::byte* page, std::size_t size) noexcept {
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, size - 1) == 0;
}

}  // namespace

std::size_t GiveBackZeroPages(std::byte* begin, std::size_t size) noexcept {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // Where the system makes huge pages of everything, it would fill the holes again in its own time.
  (void)madvise(begin, size, MADV_NOHUGEPAGE);
  std::size_t given = 0;
  for (std::byte* at = begin; at != begin + size; at += page) {
    // A page at a time, so that the look and the return lie as close together as they can. Refused
    // where the program has locked its memory (mlockall): then it is as it was.
    if (IsZero(at, page) && madvise(at, page, MADV_DONTNEED) == 0) given += page;
  }
  return given;
}

std::size_t GiveBackZeroPages(const SharedObject& library) noexcept {
  const MemoryRange memory = library.UnbackedMemory();
  return GiveBackZeroPages(memory.begin, memory.size);
}

}  // namespace ftprof::cupti
