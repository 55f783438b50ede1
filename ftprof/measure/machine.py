"""What there is on this machine for counting: driver, GPUs, CUPTI, privileges, neighbours. It only looks."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftprof.measure.cupti_search import search_roots
from ftprof.measure.device_chips import ChipUnknown, DeviceChips, ask_chips
from ftprof.measure.injection import LIBRARY
from ftprof.measure.kernel_files import read_text
from ftprof.measure.nvml import GpuInfo, Nvml, NvmlError, OpenNvml
from ftprof.measure.plan_summary import PlanSummary, plan_summary
from ftprof.measure.privilege import Privilege, look_at_privilege
from ftprof.measure.run_processes import INITIAL_PID_NAMESPACE
from ftprof.record.explanation import explain

_DCGM = ("nv-hostengine", "dcgm-exporter")
_MPS = ("nvidia-cuda-mps",)  # -control and -server; the kernel cuts names after 15 bytes
_CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc", "crio")
AskChips = Callable[[Mapping[str, str]], DeviceChips]


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver; ``version`` is ``None`` where none answers, and ``error`` says why."""

    version: str | None
    cuda: str | None = None
    confidential: bool | None = None
    error: NvmlError | None = None


@dataclass(frozen=True)
class Cupti:
    """The CUPTI found. ``version`` is ``None`` where none can be used, and ``error`` says why, with its remedy."""

    version: str | None
    path: str = ""
    origin: str = ""
    warning: str = ""
    error: str = ""
    remedy: str = ""
    chips: tuple[str, ...] = ()


_NOT_ASKED = Cupti("")  # nothing speaks against it


@dataclass(frozen=True)
class Machine:
    """What was found. ``dcgm`` and ``mps`` are process names; ``injection`` is who holds CUDA_INJECTION64_PATH.

    ``chips`` are CUPTI's names by the GPU's UUID, ``plans`` is what it plans for them, and ``chips_unknown`` says why
    one is missing.
    """

    driver: Driver
    gpus: tuple[GpuInfo, ...]
    chips: Mapping[str, str]
    cupti: Cupti
    privilege: Privilege
    container: str | None
    dcgm: tuple[str, ...]
    mps: tuple[str, ...]
    injection: str | None
    torch: bool
    library: bool = True  # whether what is injected into processes is installed
    cuda: bool = False  # whether the CUDA driver can be loaded
    plans: Mapping[str, PlanSummary] = field(default_factory=dict)
    chips_unknown: tuple[ChipUnknown, ...] = ()


def look(root: Path, environ: Mapping[str, str], open_nvml: OpenNvml = Nvml, ask: AskChips = ask_chips) -> Machine:
    """Only the facts."""
    brief = look_briefly(root, environ, open_nvml)
    cupti, native = _look_at_cupti()
    wanted = cupti.version is not None and (brief.gpus or brief.driver.error is not None)
    asked = ask(environ) if wanted else DeviceChips({})
    chips = {gpu.uuid: chip for gpu in brief.gpus if (chip := asked.of(gpu.uuid, *(i.uuid for i in gpu.instances)))}
    return replace(
        brief,
        chips=chips,
        cupti=cupti,
        dcgm=_running(root, _DCGM),
        mps=_running(root, _MPS) or (("CUDA_MPS_PIPE_DIRECTORY",) if environ.get("CUDA_MPS_PIPE_DIRECTORY") else ()),
        torch=_has_torch(),
        plans={chip: plan_summary(native, chip) for chip in sorted(set(chips.values())) if chip in cupti.chips},
        chips_unknown=asked.unknown,
        cuda=not any(unknown.no_driver for unknown in asked.unknown),
    )


def look_briefly(root: Path, environ: Mapping[str, str], open_nvml: OpenNvml = Nvml) -> Machine:
    """What a run asks that could load the CUDA driver: not CUPTI, nor that driver, nor other processes."""
    driver, gpus = _look_at_driver(open_nvml)
    holder = environ.get("CUDA_INJECTION64_PATH") or None
    return Machine(
        driver=driver,
        gpus=gpus,
        chips={},
        cupti=_NOT_ASKED,
        privilege=look_at_privilege(root),
        container=_look_at_container(root, environ),
        dcgm=(),
        mps=(),
        injection=None if holder and Path(holder).name == LIBRARY.name else holder,
        torch=False,
        library=LIBRARY.is_file(),
        cuda=True,
    )


def _look_at_driver(open_nvml: OpenNvml) -> tuple[Driver, tuple[GpuInfo, ...]]:
    try:
        nvml = open_nvml()
    except NvmlError as error:
        return Driver(None, error=error), ()
    except ImportError as error:
        return Driver(None, error=NvmlError("import pynvml", NvmlError.NO_FUNCTION, str(error))), ()
    version = cuda = None
    confidential = None
    try:
        version, cuda, confidential = nvml.driver_version(), nvml.cuda_version(), nvml.confidential()
        return Driver(version, cuda, confidential), tuple(gpu.info for gpu in nvml.gpus())
    except NvmlError as error:
        return Driver(version, cuda, confidential, error), ()
    finally:
        nvml.close()


def _look_at_cupti() -> tuple[Cupti, Any]:
    try:
        native = importlib.import_module("ftprof._native")
    except ImportError as error:
        what = f"ftprof's native module cannot be loaded ({' '.join(str(error).split())})"
        in_source = (Path(__file__).resolve().parents[2] / "pyproject.toml").exists()
        remedy = "this is ftprof's source folder: run it from another one" if in_source else "reinstall ftprof"
        return Cupti(None, error=what, remedy=remedy), None
    try:
        info = native.load_cupti(search_roots())
        chips = tuple(native.chips())
    except native.CuptiError as error:
        what = str(error).removesuffix(error.remedy).rstrip("; ")
        remedy = error.remedy or explain(error.call, error.code).remedy
        return Cupti(None, error=" ".join(what.split()), remedy=remedy), native
    return Cupti(info.version, info.path, info.origin, info.warning, chips=chips), native


def _look_at_container(root: Path, environ: Mapping[str, str]) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if environ.get("APPTAINER_CONTAINER") or environ.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    words = read_text(root / "proc/1/cgroup") + read_text(root / "proc/self/mountinfo").partition("\n")[0]
    for word in _CONTAINER_WORDS:
        if word in words:
            return word
    try:
        own = str((root / "proc/self/ns/pid").readlink())
    except OSError:
        return None
    return None if own == INITIAL_PID_NAMESPACE else "a process namespace of its own"


def _running(root: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    found = {read_text(path).strip() for path in (root / "proc").glob("[0-9]*/comm")}
    return tuple(sorted(name for name in found if name.startswith(names)))


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None
