"""What NVML says of the first GPU while something goes on."""

from __future__ import annotations

import importlib
import statistics
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """While it is entered: ``samples`` of what ``read`` gets from NVML (the module, the device), every so many seconds.

    Where NVML is missing or does not answer, ``why_none`` says so, and there are no more samples.
    """

    def __init__(self, read: Callable[[Any, Any], T], every_s: float) -> None:
        self.samples: list[T] = []
        self.why_none = ""
        self._read, self._every_s = read, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watched[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _sample(self) -> None:
        try:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            device = nvml.nvmlDeviceGetHandleByIndex(0)
            while not self._ended.wait(self._every_s):
                self.samples.append(self._read(nvml, device))
        except Exception as error:
            self.why_none = f"{type(error).__name__}: {error}"


def utilisation() -> Watched[int]:
    """In percent, of the last sampling period in which a kernel ran; once a second."""
    return Watched(lambda nvml, device: int(nvml.nvmlDeviceGetUtilizationRates(device).gpu), 1.0)


def clocks() -> Watched[tuple[int, int]]:
    """The SM clock in MHz and the power in milliwatts, five times a second."""
    return Watched(
        lambda nvml, device: (
            int(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
            int(nvml.nvmlDeviceGetPowerUsage(device)),
        ),
        0.2,
    )


def mean_clocks(watched: Watched[tuple[int, int]]) -> dict[str, float | str]:
    """Of all samples, as a fact; or why there are none."""
    if not watched.samples:
        return {"no clocks": watched.why_none or "it was too short"}
    clocks, milliwatts = zip(*watched.samples, strict=True)
    return {"sm_mhz": statistics.fmean(clocks), "watts": statistics.fmean(milliwatts) / 1000}
