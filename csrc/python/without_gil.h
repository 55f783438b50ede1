// Gives up the interpreter's lock for the length of a call.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace ftprof {

inline bool InterpreterEnds() {
#if PY_VERSION_HEX >= 0x030d0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

// A daemon thread may come back from a call while the interpreter ends. Up to 3.13 CPython then
// ends the thread by an unwinding that may leave no function which is noexcept, as destructors are
// by default (pybind11's gil_scoped_release too): that would abort the program. From 3.14 on such a
// thread waits for the process's end, and so it does here. Who has the lock while the interpreter
// ends is the thread that ends it, and gets it back.
class WithoutGil {
 public:
  WithoutGil() : ends_it_(InterpreterEnds()), state_(PyEval_SaveThread()) {}
  ~WithoutGil() noexcept(false) {
    while (!ends_it_ && InterpreterEnds()) (void)pause();
    PyEval_RestoreThread(state_);  // it may begin to end just now: then this unwinds
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  const bool ends_it_;
  PyThreadState* const state_;
};

}  // namespace ftprof
