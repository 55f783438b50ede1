// Keeps what writing does to a thread away from the program that the thread belongs to.
#pragma once

#include <csignal>

namespace ftprof::journal {

// While one lives, on its thread:
// - No signal handler of the program runs. One that ends the program would come back to the journal
//   for its last line, whose lock this thread holds.
// - So SIGXFSZ is blocked too. A write past RLIMIT_FSIZE sends it to the writing thread; its
// default
//   action would end the training with a core dump. The kernel sends it as any other signal (it
//   does not force it, as it does SIGSEGV), so that a blocked one only stays pending and the write
//   fails with EFBIG. What this scope caused it takes away again; what was pending before stays.
// - The thread cannot be cancelled: cancellation unwinds, and not through noexcept functions.
// - errno comes back as it was.
class Undisturbed {
 public:
  Undisturbed() noexcept;
  ~Undisturbed();
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  int errno_;
  int cancelling_ = 0;
  bool was_pending_;
  sigset_t mask_;
};

}  // namespace ftprof::journal
