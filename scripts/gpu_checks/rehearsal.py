"""A rehearsal without a GPU: torch on the CPU, whose products also launch kernels on the stand-ins of csrc/testing.

It shows that the programs and the stages run; its figures say nothing about hardware.
"""

from __future__ import annotations

import contextlib
import ctypes as c
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.kernels import KERNELS
from gpu_checks.tiny import BLOCKS, ROUNDS

METRICS = {
    "bfloat16": "sm__ops_path_tensor_src_bf16_dst_fp32",
    "float16": "sm__ops_path_tensor_op_hgmma_src_fp16",
    "float32": "sm__ops_path_tensor_src_tf32_dst_fp32",
    "float64": "sm__ops_path_tensor_src_fp64",
    "float8_e4m3fn": "sm__ops_path_tensor_src_fp8",
    "int8": "sm__ops_path_tensor_op_igmma_src_int8",
}
_POWERS = range(4, 40)
_MODES: list[Any] = []
_LIBRARIES = ("libnvperf_host.so", "libnvperf_target.so", "libcupti.so.13")


def write_script(folder: Path) -> Path:
    """What the stand-ins play: kernels of powers of two of operations, and those of ``kernels.py``."""
    kernels: dict[str, dict[str, float]] = {"spin": {"duration_us": 100}}
    for kind, metric in METRICS.items():
        for power in _POWERS:
            kernels[f"{kind}_{power}"] = {metric: 1 << power, "duration_us": max((1 << power) / 5e8, 0.1)}
    for name, kernel in KERNELS.items():
        counts = {kernel.metric.removesuffix(".sum"): kernel.count(BLOCKS, ROUNDS)} if kernel.metric else {}
        kernels[name] = {**counts, "duration_us": 20}
    path = folder / "standins.json"
    path.write_text(json.dumps({"devices": 1, "kernels": kernels, "patched_slowdown": 3}))
    return path


class Device:
    """The stand-in driver's first device."""

    def __init__(self) -> None:
        folder = Path(os.environ[place.STANDINS])
        for name in _LIBRARIES:  # mapped first, as torch's own CUPTI is on a GPU
            c.CDLL(str(folder / name), mode=c.RTLD_GLOBAL)
        self._cuda = c.CDLL(str(folder / "libcuda.so.1"))
        self._check(self._cuda.cuInit(0))
        self._context = c.c_void_p()
        self._check(self._cuda.cuDevicePrimaryCtxRetain(c.byref(self._context), 0))
        self._module = c.c_void_p()
        self.make_current()
        self._check(self._cuda.cuModuleLoadData(c.byref(self._module), b"rehearsal"))
        self.recording: list[str] | None = None  # a graph that is being captured

    def make_current(self) -> None:
        """On the calling thread."""
        self._check(self._cuda.cuCtxSetCurrent(self._context))

    @functools.cache  # noqa: B019
    def _function(self, name: str) -> c.c_void_p:
        function = c.c_void_p()
        self._check(self._cuda.cuModuleGetFunction(c.byref(function), self._module, name.encode()))
        return function

    def launch(self, name: str) -> None:
        """A kernel by name, or note it for the graph."""
        if self.recording is not None:
            self.recording.append(name)
            return
        self.make_current()
        nothing = (None, None, None)
        self._check(self._cuda.cuLaunchKernel(self._function(name), 1, 1, 1, 1, 1, 1, 0, *nothing))

    def operations(self, kind: str, count: int) -> None:
        """Kernels that add up to so many operations."""
        for power in _POWERS:
            if count >> power & 1:
                self.launch(f"{kind}_{power}")

    def synchronize(self) -> None:
        """Wait for all of it."""
        self.make_current()
        self._check(self._cuda.cuCtxSynchronize())

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(f"the stand-in driver answered {code}")


class _Graph:
    """Plays torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.kernels: list[str] = []

    def replay(self) -> None:
        """All its kernels."""
        for name in self.kernels:
            device().launch(name)


class _Stream:
    """Plays torch.cuda.Stream."""

    def wait_stream(self, _: object) -> None:
        """Kernels of a stand-in's context run one after the other anyhow."""

    def synchronize(self) -> None:
        """Wait for the device."""
        device().synchronize()


@functools.cache
def device() -> Device:
    """The one that plays."""
    return Device()


@functools.cache
def torch_that_plays() -> Any:
    """torch on the CPU, which takes ``device="cuda"``."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class OnTheCpu(TorchFunctionMode):
        """Every device is the CPU."""

        def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = {k: v for k, v in (kwargs or {}).items() if k != "device"}
            places = tuple("cpu" if a == "cuda" else a for a in args) if function is torch.Tensor.to else args
            if getattr(function, "__name__", "") in ("_scaled_mm", "_int_mm"):
                return _other_product(torch, function.__name__, *args)
            return function(*places, **named)

    class Launching(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Products launch stand-in kernels too, backward as well."""

        def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            _launch_for(str(function), args)
            return function(*args, **(kwargs or {}))

    _patch(torch.cuda)
    original = torch.nn.Module.to
    torch.nn.Module.to = lambda self, *a, **k: original(self, *[x for x in a if x != "cuda"], **k)  # type: ignore
    _MODES[:] = [OnTheCpu, Launching]
    play_here()
    device()
    return torch


def play_here() -> None:
    """On the calling thread: torch's modes are each thread's own."""
    for mode in _MODES:
        mode().__enter__()


def _launch_for(operator: str, args: Any) -> None:
    products = {"aten.mm": (0, 1), "aten.bmm": (0, 1), "aten.addmm": (1, 2)}
    for name, (left, right) in products.items():
        if operator.startswith(f"{name}."):
            a, b = args[left], args[right]
            count = 2 * a.numel() * b.shape[-1]
            device().operations(str(a.dtype).rpartition(".")[2], count)


def _other_product(torch: Any, name: str, a: Any, b: Any) -> Any:
    device().operations("int8" if name == "_int_mm" else "float8_e4m3fn", 2 * a.numel() * b.shape[-1])
    return torch.zeros(a.shape[0], b.shape[1])


def _patch(cuda: Any) -> None:
    @contextlib.contextmanager
    def graph(captured: _Graph) -> Iterator[None]:
        device().recording = captured.kernels
        try:
            yield
        finally:
            device().recording = None

    spin: Callable[[int], None] = lambda _: device().launch("spin")  # noqa: E731
    cuda.synchronize = lambda: device().synchronize()
    cuda.CUDAGraph, cuda.graph, cuda.Stream = _Graph, graph, _Stream
    cuda.stream = lambda _: contextlib.nullcontext()
    cuda.current_stream = _Stream
    cuda._sleep = spin
    cuda.mem_get_info = lambda: (int(100e9 - time.monotonic()), int(144e9))
    cuda.profiler.start = cuda.profiler.stop = lambda: None
