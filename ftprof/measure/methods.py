"""Which methods can count here, and which a run takes. Each method has a file or folder of its own beside this one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftprof.measure.injection import driver_is_there, why_not_injected

if TYPE_CHECKING:
    from ftprof.measure.diagnosis import Diagnosis

_PATIENCE_S = 2.0  # for NVML, which hangs where a GPU fell off the bus: the command must begin all the same
METHOD_NAMES = ("auto", "counters", "gpm", "analytic", "peak-bound")


@dataclass(frozen=True)
class Methods:
    """What a run sets in motion. ``label`` is the method to be shown while it runs.

    ``fallback`` says why it is not counters, where there is a GPU that could have been counted.
    """

    label: str
    fallback: str = ""
    counters: bool = False
    operators: bool = False  # the analytic method
    devices: bool = False  # what NVML says of whole GPUs: gpm and peak-bound


def why_unavailable(method: str, environment: Mapping[str, str]) -> str | None:
    """Why a method cannot count in this run, in a few words for the user; ``None`` if it can."""
    if method == "counters":
        return why_not_injected(environment) or _diagnosis(environment).why_not("counters")
    if method in ("gpm", "peak-bound"):
        return _why_not_watched(method)
    return None


def chosen(method: str, environment: Mapping[str, str], operators: bool = False) -> Methods:
    """What to set in motion for a method by name.

    ``auto`` takes counters where they can be had, then the GPU's activity, and operators' formulas elsewhere. Counters
    and formulas at once could cost a training of many small kernels more than counting may: only where ``operators``
    asks for it.
    """
    if method == "auto":
        if not driver_is_there():
            return Methods("analytic", operators=True)
        from ftprof.measure.diagnosis import without_counters

        found = _diagnosis(environment)
        why = why_not_injected(environment) or found.why_not("counters")
        if why is None:
            return Methods("counters", counters=True, operators=operators, devices=True)
        return Methods(without_counters(found.state("gpm")), fallback=why, operators=True, devices=True)
    return Methods(
        method,
        counters=method == "counters" and why_not_injected(environment) is None,
        operators=operators or method == "analytic",
        devices=method in ("counters", "gpm", "peak-bound"),
    )


def _diagnosis(environment: Mapping[str, str]) -> Diagnosis:
    """The doctor's, of what can be asked quickly: whether another tool holds the counters shows when they are read."""
    from ftprof.measure.diagnosis import judge
    from ftprof.measure.machine import Machine, look_briefly
    from ftprof.measure.nvml import Nvml, NvmlError, beside

    found: list[Machine] = []

    def look() -> None:
        with contextlib.suppress(Exception):  # of a pynvml that is broken
            found.append(look_briefly(Path("/"), environment))

    def silent() -> Nvml:
        raise NvmlError("nvmlInit", NvmlError.TIMEOUT, f"no answer within {_PATIENCE_S:.0f} s")

    beside(look).join(_PATIENCE_S)
    return judge(found[0] if found else look_briefly(Path("/"), environment, silent))


def _why_not_watched(method: str) -> str | None:
    from ftprof.measure.nvml import Nvml, NvmlError

    try:
        nvml = Nvml()
    except (NvmlError, ImportError) as error:
        return f"no NVIDIA driver answers ({error})"
    try:
        gpus = [gpu.info for gpu in nvml.gpus()]
    except NvmlError as error:
        return f"the NVIDIA driver does not tell of its GPUs ({error})"
    finally:
        nvml.close()
    if not gpus:
        return "the driver sees no GPU"
    if method == "gpm" and not any(gpu.gpm for gpu in gpus):
        return "NVML samples the activity of Hopper and newer chips only"
    return None
