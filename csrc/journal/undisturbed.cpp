#include "journal/undisturbed.h"

#include <pthread.h>

#include <cerrno>
#include <ctime>
#include <initializer_list>

namespace ftprof::journal {
namespace {

sigset_t FileSizeSignal() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  return set;
}

// All but those that a thread's own mistake raises, which are not to be blocked.
sigset_t OtherSignals() noexcept {
  sigset_t set;
  sigfillset(&set);
  for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}) {
    sigdelset(&set, signal);
  }
  return set;
}

bool Pending() noexcept {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
}

}  // namespace

Undisturbed::Undisturbed() noexcept : errno_(errno) {
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling_);
  const sigset_t signals = OtherSignals();
  sigemptyset(&mask_);
  pthread_sigmask(SIG_BLOCK, &signals, &mask_);
  was_pending_ = Pending();
}

Undisturbed::~Undisturbed() {
  const sigset_t signal = FileSizeSignal();
  const timespec now = {0, 0};
  if (!was_pending_ && Pending()) {
    while (sigtimedwait(&signal, nullptr, &now) == -1 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  pthread_setcancelstate(cancelling_, nullptr);
  errno = errno_;
}

}  // namespace ftprof::journal
