"""What cases are tried on: the GPU, its counters, and the known kernels in the form in which this chip takes them."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ftprof.record.spans import Metric
from ftprof.selftest.counts import Counters, NotCounted
from ftprof.selftest.gpu import Gpu, GpuProblem
from ftprof.selftest.known_kernels import BLOCKS, SOURCE, THREADS
from ftprof.selftest.machine_code import Binary


class NothingToCount(Exception):
    """Why this machine cannot do the work, in words for the user, with what to install where that helps."""


class Launcher(Protocol):
    """The known kernels, loaded."""

    def launch(self, name: str, stream: ctypes.c_void_p | None = None) -> None:
        """One of them, without waiting for it. Raises ``GpuProblem``."""


@dataclass(frozen=True)
class Captures:
    """How the gate that keeps patched code and stream captures apart is told of a capture."""

    begin: Callable[[], None]
    end: Callable[[], None]


class Bench:
    """One GPU with its counters."""

    def __init__(self, gpu: Gpu, counters: Counters, binary: Binary | None, captures: Captures) -> None:
        self.gpu = gpu
        self.counters = counters
        self.binary = binary
        self._captures = captures
        self._kernels: Launcher | None = None

    @property
    def kernels(self) -> Launcher:
        """The known kernels. Raises ``NotCounted`` where they can neither be loaded nor compiled."""
        if self._kernels is None:
            self._kernels = self.gpu.load(self.binary.code) if self.binary else _compiled(self.gpu)
        return self._kernels

    def count(self, group: int, work: Callable[[], None]) -> tuple[tuple[Metric, int], ...]:
        """Of a piece of work, in a window of this group. Raises ``NotCounted``."""
        self.gpu.use()
        return self.counters.count(group, work, self.gpu.synchronize)

    def captured(self, work: Callable[[ctypes.c_void_p], None]) -> ctypes.c_void_p:
        """A graph of what ``work`` launches, captured outside of all windows."""
        self.gpu.use()
        self._captures.begin()
        try:
            return self.gpu.captured(work)
        finally:
            self._captures.end()


def _compiled(gpu: Gpu) -> Launcher:
    """Where no binary fits the chip: the same source, compiled here by cupy. Nobody has proved what comes of it."""
    version = ".".join(map(str, gpu.capability))
    try:
        cupy = importlib.import_module("cupy")
        numpy = importlib.import_module("numpy")
    except ImportError as error:
        what = f"no machine code ships for compute capability {version}, and cupy, which would compile it, is missing"
        raise NotCounted(what, "pip install 'ftprof[cupy]'") from error
    return _FromSource(cupy, numpy, gpu)


class _FromSource:
    """The known kernels as cupy's."""

    def __init__(self, cupy: Any, numpy: Any, gpu: Gpu) -> None:
        self._cupy = cupy
        self._arguments = (numpy.uint64(gpu.values),)
        self._module = cupy.RawModule(code=SOURCE.read_text(encoding="ascii"))
        self._kernels: dict[str, Any] = {}  # nothing may be loaded while a stream is captured

    def launch(self, name: str, stream: ctypes.c_void_p | None = None) -> None:
        try:
            if name not in self._kernels:
                self._kernels[name] = self._module.get_function(name)
            with self._cupy.cuda.ExternalStream((stream and stream.value) or 0):
                self._kernels[name]((BLOCKS,), (THREADS,), self._arguments)
        except Exception as error:  # cupy's errors have no common base
            why = " ".join(str(error).split())
            raise GpuProblem(f"cupy could not compile or launch {name} ({why:.200})", "") from error
