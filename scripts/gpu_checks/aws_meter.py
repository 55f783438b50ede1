"""What the AWS Fine-Tuning FLOPs Meter would say of a run, by the rules of its source (flops_meter.py, commit 6c37b2a).

Facts of that file, not its code: a formula over tokens, and a "hardware" figure from NVML's utilisation and a table of
peaks that takes the first entry which is part of the GPU's name.
"""

from __future__ import annotations

import contextlib
import threading
from fractions import Fraction
from typing import Any

PEAK_TFLOPS = (
    ("h100", "989"), ("h800", "989"), ("a100", "312"), ("a800", "312"), ("l40", "181.05"), ("l20", "119.5"),
    ("h20", "148"), ("910b", "354"), ("a10", "125"),
)  # fmt: skip
OTHERWISE = "150"
_SAMPLE_S = 1.0  # as the meter samples


def formula(parameters: int, trained: int, tokens: int) -> int:
    """Operations: four for each weight and token, and two more for each weight that is trained."""
    return (4 * parameters + 2 * trained) * tokens


def peak(name: str) -> Fraction:
    """FLOP a second that it takes a GPU of this name for."""
    found = next((tflops for part, tflops in PEAK_TFLOPS if part in name.lower()), OTHERWISE)
    return Fraction(found) * 10**12


def hardware(name: str, utilisation: list[int], seconds: float) -> int | None:
    """Its "upper bound": peak x mean utilisation in percent x time; nothing without a sample."""
    if not utilisation:
        return None
    return int(peak(name) * Fraction(sum(utilisation), 100 * len(utilisation)) * Fraction(seconds))


class Utilisation:
    """NVML's utilisation of the first GPU, once a second while this is open."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self.why_none = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Utilisation:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _sample(self) -> None:
        try:
            nvml: Any = __import__("pynvml")
            nvml.nvmlInit()
            with contextlib.closing(_Handle(nvml)) as first:
                while not self._ended.wait(_SAMPLE_S):
                    self.samples.append(first.percent())
        except Exception as error:  # no NVML, or none that answers: the column then has no figure, and says so
            self.why_none = f"{type(error).__name__}: {error}"


class _Handle:
    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._device = nvml.nvmlDeviceGetHandleByIndex(0)

    def percent(self) -> int:
        """Of the last sampling period in which a kernel ran."""
        return int(self._nvml.nvmlDeviceGetUtilizationRates(self._device).gpu)

    def close(self) -> None:
        """NVML counts its users."""
        self._nvml.nvmlShutdown()
