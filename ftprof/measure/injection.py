"""The environment variables through which hardware counters reach every CUDA process of a run."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftprof.measure.analytic.hook import clock_for_others
from ftprof.measure.cupti_search import search_roots

LIBRARY = Path(__file__).resolve().parent.parent / "libftprof_inject.so"
VARIABLE = "CUDA_INJECTION64_PATH"
CUDA_CORE_VARIABLE = "FTPROF_CUDA_CORE"


@dataclass(frozen=True)
class CounterOptions:
    """What counters do only where they are asked to: it is not free."""

    subscribe: bool = False
    cuda_core: bool = False


NO_DRIVER = "no NVIDIA driver was found (libcuda.so.1)"


@functools.cache
def driver_is_there() -> bool:
    """Whether a CUDA driver can be loaded. It is not started: that would make this process use a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def why_not_injected(environment: Mapping[str, str]) -> str | None:
    """Why counters cannot reach the run's processes, for the user; ``None`` if they can."""
    if not LIBRARY.is_file():
        return f"{LIBRARY.name} is missing from this installation of ftprof; install it again"
    if not driver_is_there():
        return NO_DRIVER
    if environment.get(VARIABLE):
        return (
            f"{VARIABLE} is set to {environment[VARIABLE]} already (Nsight, compute-sanitizer or another tool), "
            "and only one tool can have it; unset it"
        )
    return None


def with_counters(environment: Mapping[str, str], folder: Path, run_id: str, options: CounterOptions) -> dict[str, str]:
    """``environment`` for a command whose CUDA processes shall count and keep journals in ``folder``."""
    roots = ":".join(f"{path}={origin}" for path, origin in search_roots() if ":" not in path)
    return {
        **environment,
        VARIABLE: str(LIBRARY),
        "FTPROF_RUN_DIR": str(folder),
        "FTPROF_RUN_ID": run_id,
        "FTPROF_CUPTI_ROOTS": roots,
        **clock_for_others(),
        **({"FTPROF_SUBSCRIBE": "1"} if options.subscribe else {}),
        **({CUDA_CORE_VARIABLE: "1"} if options.cuda_core else {}),
    }


def mapped_library(path: str) -> ctypes.CDLL | None:
    """The injection library, once the driver has loaded it into this process."""
    try:
        return ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def injected_capturing() -> bool:
    """Whether the injection library in this process, if it is there, knows of a stream capture that is under way."""
    library = mapped_library(os.environ.get(VARIABLE, "")) if os.environ.get(VARIABLE) else None
    asked = getattr(library, "ftprof_inject_capturing", None)
    return asked is not None and bool(asked())


def own_library_in(environment: Mapping[str, str]) -> bool:
    """Whether the variable is ours: then this run is inside another one."""
    return environment.get(VARIABLE) == str(LIBRARY) and bool(os.environ.get("FTPROF_RUN_DIR"))
