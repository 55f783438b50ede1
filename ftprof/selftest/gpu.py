"""The first GPU through the CUDA driver alone: what the known kernels need, with neither cupy nor torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from ftprof.record.explanation import explain
from ftprof.selftest.known_kernels import BLOCKS, BYTES_OF_THREAD, THREADS

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: it runs beside the default stream
_CAPTURE_OF_THIS_THREAD = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_DRIVER = "libcuda.so.1"


class GpuProblem(Exception):
    """Why the GPU cannot be used, in words for the user, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Gpu:
    """The primary context of the first visible GPU, current on the thread that made it."""

    def __init__(self) -> None:
        """Raises ``GpuProblem`` where there is no driver or no GPU."""
        try:
            self._cuda = ctypes.CDLL(_DRIVER)
        except OSError as error:
            remedy = "install the NVIDIA driver; a container needs --gpus all"
            raise GpuProblem(f"there is no CUDA driver here ({error})", remedy) from error
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if count.value == 0:
            raise GpuProblem("the driver sees no GPU", explain("cuInit", 100).remedy)
        self.visible = count.value
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.use()
        self.capability = self._attribute(_CAPABILITY_MAJOR, device), self._attribute(_CAPABILITY_MINOR, device)
        self._values = ctypes.c_uint64()
        size = ctypes.c_size_t(BLOCKS * THREADS * BYTES_OF_THREAD)
        self._call("cuMemAlloc_v2", ctypes.byref(self._values), size)

    def use(self) -> None:
        """Make its context current: a library may have made another one so."""
        self._call("cuCtxSetCurrent", self._context)

    def load(self, code: bytes) -> Module:
        """A module of machine code. Raises ``GpuProblem``."""
        module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), code)
        return Module(self, module)

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        """A kernel of a module."""
        function = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        return function

    def launch(self, function: ctypes.c_void_p, stream: ctypes.c_void_p | None = None) -> None:
        """A known kernel, without waiting for it."""
        values = ctypes.c_uint64(self._values.value)
        arguments = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(values), ctypes.c_void_p))
        self._call("cuLaunchKernel", function, BLOCKS, 1, 1, THREADS, 1, 1, 0, stream, arguments, None)

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        self._call("cuCtxSynchronize")

    def stream(self) -> ctypes.c_void_p:
        """A new one, which runs beside the others."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
        return stream

    def captured(self, work: Callable[[ctypes.c_void_p], None]) -> ctypes.c_void_p:
        """An executable graph of what ``work`` launches into the stream that it is given."""
        stream, graph, executable = self.stream(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, _CAPTURE_OF_THIS_THREAD)
        try:
            work(stream)
        finally:
            self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        return executable

    def launch_graph(self, executable: ctypes.c_void_p) -> None:
        """All of a graph, without waiting for it."""
        self._call("cuGraphLaunch", executable, None)

    @property
    def values(self) -> int:
        """The address of the kernels' values."""
        return self._values.value

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._cuda, name)(*arguments):
            explained = explain(name, code)
            raise GpuProblem(f"{name}: error {code} {explained.reason}", explained.remedy)


class Module:
    """Kernels, by their names."""

    def __init__(self, gpu: Gpu, handle: ctypes.c_void_p) -> None:
        self._gpu = gpu
        self._handle = handle
        self._functions: dict[str, ctypes.c_void_p] = {}

    def launch(self, name: str, stream: ctypes.c_void_p | None = None) -> None:
        """One kernel, without waiting for it. Raises ``GpuProblem``."""
        if name not in self._functions:
            self._functions[name] = self._gpu.function(self._handle, name)
        self._gpu.launch(self._functions[name], stream)
