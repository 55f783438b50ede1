"""Which methods can count here, and which a run takes. Each method has a file or folder of its own beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftprof.measure.injection import why_not_injected

METHOD_NAMES = ("auto", "counters", "gpm", "analytic", "peak-bound")


@dataclass(frozen=True)
class Methods:
    """What a run sets in motion. ``label`` is the method to be shown while it runs."""

    label: str
    counters: bool = False
    operators: bool = False  # the analytic method
    devices: bool = False  # what NVML says of whole GPUs: gpm and peak-bound


def why_unavailable(method: str, environment: Mapping[str, str]) -> str | None:
    """Why a method cannot count in this run, in a few words for the user; ``None`` if it can."""
    if method == "counters":
        return why_not_injected(environment)
    if method in ("gpm", "peak-bound"):
        return f"this version of ftprof has no {method} method yet"
    return None


def chosen(method: str, environment: Mapping[str, str]) -> Methods:
    """What to set in motion for a method by name.

    ``auto`` takes counters where they can be had, and operators' formulas elsewhere: both at once would cost a training
    of many small kernels more than counting may.
    """
    if method == "auto":
        injected = why_not_injected(environment) is None
        label = "counters" if injected else "analytic"
        return Methods(label, counters=injected, operators=not injected, devices=injected)
    return Methods(
        method,
        counters=method == "counters",
        operators=method == "analytic",
        devices=method in ("counters", "gpm", "peak-bound"),
    )
