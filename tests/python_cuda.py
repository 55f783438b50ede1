"""A CUDA program in Python for tests on the stand-ins: what torch or cupy would do, through the driver itself.

It is imported by programs that tests start, never by tests.
"""

from __future__ import annotations

import ctypes
from typing import Any

# The stand-in's, before anybody looks for another one. A process with a real CUPTI has it mapped as early.
ctypes.CDLL("libcupti.so.13")
cuda = ctypes.CDLL("libcuda.so.1")


def call(name: str, *arguments: Any) -> None:
    """Call the driver; an error ends the program as torch's would."""
    code = getattr(cuda, name)(*arguments)
    if code != 0:
        raise RuntimeError(f"{name}: CUDA error {code}")


class Gpu:
    """A context on a device, current in this thread: the primary one, or one of its own."""

    def __init__(self, device: int = 0, primary: bool = True) -> None:
        call("cuInit", 0)
        self.device = device
        self.context = ctypes.c_void_p()
        if primary:
            call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        else:
            call("cuCtxCreate_v2", ctypes.byref(self.context), 0, device)
        self._load()

    def _load(self) -> None:
        self.use()
        self._module = ctypes.c_void_p()
        call("cuModuleLoadData", ctypes.byref(self._module), b"any")
        self._functions: dict[str, ctypes.c_void_p] = {}

    def use(self) -> None:
        """Make it current in this thread."""
        call("cuCtxSetCurrent", self.context)

    def launch(self, kernel: str, times: int = 1, stream: ctypes.c_void_p | None = None) -> None:
        """Return before it has been executed."""
        if kernel not in self._functions:
            function = ctypes.c_void_p()
            call("cuModuleGetFunction", ctypes.byref(function), self._module, kernel.encode())
            self._functions[kernel] = function
        for _ in range(times):
            call("cuLaunchKernel", self._functions[kernel], 1, 1, 1, 1, 1, 1, 0, stream, None, None)

    def synchronize(self) -> None:
        """Wait until everything has been executed."""
        call("cuCtxSynchronize")

    def reset(self) -> None:
        """Destroy the primary context under everybody's hands, and make it anew."""
        call("cuDevicePrimaryCtxReset_v2", self.device)

    def again(self) -> None:
        """Use the primary context that is made after a reset."""
        call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self._load()

    def stream(self) -> ctypes.c_void_p:
        """A new one."""
        stream = ctypes.c_void_p()
        call("cuStreamCreate", ctypes.byref(stream), 1)
        return stream
