"""torch on the GPU (in a rehearsal: a torch that plays one), and small measurements with it."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

from gpu_checks import place


@functools.cache
def torch_on_gpu() -> Any:
    """The torch module, with a context on the first device."""
    if place.rehearsal():
        from gpu_checks import rehearsal

        return rehearsal.torch_that_plays()
    import torch

    torch.zeros(1, device="cuda")
    return torch


def ready_thread() -> None:
    """To be called first on every other thread that works on the device."""
    if place.rehearsal():
        from gpu_checks import rehearsal

        rehearsal.play_here()


def size(real: int) -> int:
    """The edge of a matrix: a sixteenth in a rehearsal."""
    return max(real // 16, 16) if place.rehearsal() else real


def timed(act: Callable[[], object], times: int = 5) -> list[float]:
    """Seconds of each of several runs, all of the device's work included."""
    torch = torch_on_gpu()
    found = []
    for _ in range(times):
        torch.cuda.synchronize()
        began = time.perf_counter()
        act()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return found


def median_time(act: Callable[[], object], times: int = 5) -> float:
    """Seconds."""
    return statistics.median(timed(act, times))


def product(edge: int, dtype: str, times: int = 1, depth: int | None = None) -> tuple[Callable[[], None], int]:
    """A product with a square result so many times, and the operations that it asks for: 2MNK each."""
    torch = torch_on_gpu()
    depth = depth or edge
    a, b = operands(edge, dtype, depth)

    def run() -> None:
        for _ in range(times):
            multiply(torch, a, b, dtype)

    return run, 2 * edge**2 * depth * times


def operands(edge: int, dtype: str, depth: int | None = None) -> tuple[Any, Any]:
    """Two random matrices for a product with a square result: bf16, fp16, tf32, fp32, fp64, fp8 or int8."""
    torch = torch_on_gpu()
    depth = depth or edge
    shapes = ((edge, depth), (edge, depth) if dtype == "fp8" else (depth, edge))  # fp8's second is transposed later
    if dtype == "int8":
        both = [torch.randint(-4, 4, sides, device="cuda", dtype=torch.int8) for sides in shapes]
        return both[0], both[1]
    kinds = {
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "tf32": torch.float32,
        "fp32": torch.float32,
        "fp64": torch.float64,
        "fp8": torch.float8_e4m3fn,
    }
    both = [torch.randn(*sides, device="cuda").to(kinds[dtype]) for sides in shapes]
    return both[0], both[1]


def multiply(torch: Any, a: Any, b: Any, dtype: str) -> Any:
    """One product in the precision's own way."""
    if dtype == "fp8":
        one = torch.ones((), device="cuda")
        return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    if dtype == "int8":
        return torch._int_mm(a, b)
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    return torch.mm(a, b)


def sm_clock_mhz() -> int | None:
    """The SM clock as NVML gives it at this moment."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))
    except Exception:
        return None
