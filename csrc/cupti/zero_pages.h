// Gives the kernel back what a library's constructors have filled with nothing but zeros.
#pragma once

#include <cstddef>

#include "cupti/shared_object.h"

namespace ftprof::cupti {

// Each of the two Perfworks libraries has 119 MiB of .bss, and its constructors write 100 MiB of
// that, two thirds of it with zeros (CUPTI 13.0; scripts/bench_memory.py). Such a page reads the
// same once it is given back, and takes memory again when it is next written.
//
// Returns how many bytes were given back. Only for a library that this thread has just mapped and
// that nobody has called yet: what another thread writes into a page between the look at it and its
// return, about a microsecond, would be lost.
std::size_t GiveBackZeroPages(const SharedObject& library) noexcept;

// The same of any private memory that no file backs; begin and size are multiples of a page's.
std::size_t GiveBackZeroPages(std::byte* begin, std::size_t size) noexcept;

}  // namespace ftprof::cupti
