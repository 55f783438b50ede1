"""What keeps hardware counters from working on this machine, each with its remedy. It reads, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftprof.measure.device_chips import ask_chips
from ftprof.measure.injection import LIBRARY
from ftprof.measure.machine import AskChips, Cupti, Machine, look
from ftprof.measure.nvml import GpuInfo, Nvml, NvmlError, OpenNvml
from ftprof.measure.peak_bound import devices_of
from ftprof.record.explanation import ADMIN_REMEDY, explain
from ftprof.record.peaks import chip_peaks

_TURING = (7, 5)
_METHODS = ("counters", "gpm", "analytic", "peak-bound")
_NOT_SHOWN = "check the container's device rules, and that its compute mode is not 'prohibited' (nvidia-smi -c 0)"
_WHY_UNABLE = {
    "gpm": "NVML samples the activity of Hopper and newer chips only",
    "peak-bound": "NVML does not say the GPU's SMs or its highest clock",
}


@dataclass(frozen=True)
class Problem:
    """Something in the way: what it is, what to do, which GPU (``None``: all), which methods it stops.

    ``doubts``: it may stop the counters, which only counting shows.
    """

    id: str
    what: str
    remedy: str
    device: str | None = None
    stops: tuple[str, ...] = ()
    doubts: bool = False


@dataclass(frozen=True)
class MethodState:
    """Whether a method can count here (``None``: it may be refused), and why or why not.

    ``problem`` is the id of the problem that ``why`` tells, if it is one.
    """

    method: str
    available: bool | None
    why: str
    problem: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The machine, what is in the way, and what follows for each method. ``verdict`` is what ``auto`` would take."""

    machine: Machine
    problems: tuple[Problem, ...]
    methods: tuple[MethodState, ...]
    verdict: MethodState

    def state(self, method: str) -> MethodState:
        """Of a method by name."""
        return next(state for state in self.methods if state.method == method)

    def why_not(self, method: str) -> str | None:
        """Why a method is known not to count here, and what to do; ``None`` where it may."""
        state = self.state(method)
        if state.available is not False:
            return None
        remedies = [problem.remedy for problem in self.problems if problem.id == state.problem]
        return "; ".join([state.why, *remedies[:1]])


def diagnose(
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    open_nvml: OpenNvml = Nvml,
    ask: AskChips = ask_chips,
) -> Diagnosis:
    """Look at this machine. Raises nothing: what cannot be read is said to be so.

    ``root`` is where the kernel's files are looked for.
    """
    return judge(look(root, os.environ if environ is None else environ, open_nvml, ask))


def judge(machine: Machine) -> Diagnosis:
    """What follows from the facts."""
    problems = tuple(_problems(machine))
    states = {method: _state(method, machine, problems) for method in _METHODS}
    return Diagnosis(machine, problems, tuple(states.values()), _verdict(states))


def _problems(machine: Machine) -> list[Problem]:
    found = _driver_problems(machine)
    if machine.gpus or _is_blind(machine):
        found += _privilege_problems(machine)
        for gpu in machine.gpus:
            found += _gpu_problems(gpu, machine)
        found += _unknown_chips(machine)
        found += _neighbour_problems(machine)
        if not machine.library:
            what = f"{LIBRARY.name} is missing from this installation of ftprof"
            found.append(Problem("library", what, "install ftprof again", stops=("counters",)))
    return found + _cupti_problems(machine.cupti)


def _is_blind(machine: Machine) -> bool:
    """Whether counters may be had though NVML shows no GPU: it fails, and the CUDA driver can be loaded."""
    return machine.cuda and machine.driver.error is not None


def _driver_problems(machine: Machine) -> list[Problem]:
    blind = _is_blind(machine)
    all_of_gpu = ("gpm", "peak-bound") if blind else ("counters", "gpm", "peak-bound")
    error = machine.driver.error
    if error is not None and error.code in (NvmlError.NO_LIBRARY, NvmlError.NO_DRIVER):
        remedy = "install the driver; in a container, start it with the GPUs (docker run --gpus all)"
        return [Problem("no-driver", "no NVIDIA driver answers here", remedy, stops=all_of_gpu, doubts=blind)]
    if error is not None:
        explained = explain(error.call, error.code)
        what = f"NVML does not answer: {error.call}: {explained.reason or error.text}"
        return [Problem("nvml", what, explained.remedy, stops=all_of_gpu, doubts=blind)]
    if not machine.gpus:
        remedy = "check that the GPUs are passed into this container or VM, and NVIDIA_VISIBLE_DEVICES"
        return [Problem("no-gpu", "the driver sees no GPU", remedy, stops=all_of_gpu)]
    if machine.driver.confidential:
        return [_from_code("confidential-computing", 41)]
    return []


def _privilege_problems(machine: Machine) -> list[Problem]:
    privilege = machine.privilege
    if privilege.enough:
        return []
    inside = " (capabilities of this process's user namespace do not count)" if privilege.user_namespace else ""
    remedy = ADMIN_REMEDY
    if machine.container:
        remedy += (
            ", or start the container with --cap-add=SYS_ADMIN (driver 565 or later: --cap-add=PERFMON) and as root"
        )
    if privilege.enough is None:
        what = f"whether counters may be read cannot be told: RmProfilingAdminOnly is not readable here{inside}"
        return [Problem("privilege-unknown", what, f"if they are refused: {remedy}", doubts=True)]
    what = (
        "only administrators may read counters: RmProfilingAdminOnly is 1, and neither CAP_SYS_ADMIN nor (from driver "
        f"565 on) CAP_PERFMON is held{inside}"
    )
    return [Problem("privilege", what, remedy, stops=("counters",))]


def _gpu_problems(gpu: GpuInfo, machine: Machine) -> list[Problem]:
    found = []
    if gpu.virtualisation in ("vgpu", "host-vgpu", "host-vsga"):
        found.append(_from_code("vgpu", 40, gpu))
    if gpu.mig:
        what = f"{gpu.name} is divided (MIG): only an isolated GPU instance, with one compute instance, can be counted"
        if not gpu.instances:
            what = f"{gpu.name} is divided (MIG), and this process sees no instance of it"
        found.append(Problem("mig", what, explain("cupti", 43).remedy, gpu.uuid, doubts=True))
    if gpu.capability is None:
        what = f"{gpu.name}: NVML does not say its compute capability"
        found.append(Problem("unknown-chip", what, "update the driver", gpu.uuid, ("gpm", "peak-bound")))
    elif tuple(map(int, gpu.capability.split("."))) < _TURING:
        what = f"{gpu.name} (compute capability {gpu.capability}) is older than Turing: its counters cannot be read"
        found.append(Problem("old-chip", what, "use the analytic method", gpu.uuid, _METHODS[:2] + _METHODS[3:]))
    elif chip_peaks(gpu.capability) is None:
        what = f"{gpu.name}: ftprof has no published peak for compute capability {gpu.capability}"
        found.append(Problem("unknown-chip", what, "update ftprof, or report it", gpu.uuid, ("gpm", "peak-bound")))
    chip = machine.chips.get(gpu.uuid)
    if chip is not None and machine.cupti.chips and chip not in machine.cupti.chips:
        what = f"{gpu.name}: CUPTI {machine.cupti.version} does not know its chip {chip}"
        found.append(Problem("chip-newer-than-cupti", what, explain("cupti", 46).remedy, gpu.uuid, ("counters",)))
    return found


def _unknown_chips(machine: Machine) -> list[Problem]:
    """Why the driver did not say which chip a GPU is: a program that counts will meet the same."""
    found = []
    for unknown in machine.chips_unknown:
        if unknown.no_driver:
            found.append(Problem("no-cuda", unknown.what, unknown.remedy, stops=("counters",)))
        else:
            named = {gpu.uuid: gpu.name for gpu in machine.gpus}.get(unknown.uuid or "")
            of_it = f"{named}: its chip" if named else "the GPUs' chips"
            what = f"{of_it} could not be asked: {unknown.what}"
            found.append(Problem("chip-not-told", what, unknown.remedy, unknown.uuid if named else None, doubts=True))
    if not machine.chips_unknown and machine.chips:
        for gpu in machine.gpus:
            if gpu.uuid not in machine.chips and not gpu.mig:
                what = f"{gpu.name}: NVML sees it, the CUDA driver does not"
                found.append(Problem("chip-not-told", what, _NOT_SHOWN, gpu.uuid, doubts=True))
    return found


def _neighbour_problems(machine: Machine) -> list[Problem]:
    found = []
    if machine.injection is not None:
        what = f"CUDA_INJECTION64_PATH is set by another tool: {machine.injection}"
        remedy = "only one tool can be injected: unset it, or run without that tool"
        found.append(Problem("injection", what, remedy, stops=("counters",)))
    if machine.dcgm:
        what = f"DCGM is running ({', '.join(machine.dcgm)}) and may hold the counters"
        found.append(Problem("dcgm", what, f"if they are busy: {explain('cupti', 26).remedy}", doubts=True))
    if machine.mps:
        what = f"MPS is in use ({', '.join(machine.mps)}): whether its clients can be counted is not yet measured"
        remedy = "run without MPS (echo quit | nvidia-cuda-mps-control), or compare with another method"
        found.append(Problem("mps", what, remedy))
    return found


def _cupti_problems(cupti: Cupti) -> list[Problem]:
    if cupti.version is None:
        return [Problem("cupti", cupti.error, cupti.remedy, stops=("counters",))]
    return [Problem("cupti-untested", cupti.warning, "none needed; compare a first run")] if cupti.warning else []


def _from_code(name: str, code: int, gpu: GpuInfo | None = None) -> Problem:
    explained = explain("cupti", code)
    what = explained.reason.partition(": ")[2]
    if gpu is not None:
        what = f"{gpu.name}: {what}"
    return Problem(name, what, explained.remedy, None if gpu is None else gpu.uuid, ("counters",))


def _state(method: str, machine: Machine, problems: tuple[Problem, ...]) -> MethodState:
    if method == "analytic":
        where = "torch is installed here" if machine.torch else "no torch in this environment; another may have it"
        return MethodState(method, True, f"for Python programs that use torch: {where}")
    everywhere = [problem for problem in problems if method in problem.stops and problem.device is None]
    if everywhere:
        return MethodState(method, False, everywhere[0].what, everywhere[0].id)
    stopped = {problem.device: problem for problem in problems if method in problem.stops}
    able = [gpu for gpu in machine.gpus if gpu.uuid not in stopped and _can(method, gpu)]
    doubts = [problem for problem in problems if problem.doubts and method == "counters"]
    if not able:
        if stopped:
            first = next(iter(stopped.values()))
            return MethodState(method, False, first.what, first.id)
        if doubts:
            return MethodState(method, None, doubts[0].what, doubts[0].id)
        return MethodState(method, False, _WHY_UNABLE[method])
    doubtful = {problem.device for problem in doubts}
    sure = [gpu for gpu in able if not doubtful & {gpu.uuid, None}]
    if not sure:
        return MethodState(method, None, f"{_share(len(able), machine)}, but {doubts[0].what}", doubts[0].id)
    return MethodState(method, True, _share(len(sure), machine))


def _can(method: str, gpu: GpuInfo) -> bool:
    if method == "counters":
        return True
    bounded = any(device.bound_over(0, 1) is not None for device in devices_of(gpu))
    return bounded and (method == "peak-bound" or bool(gpu.gpm))


def _share(number: int, machine: Machine) -> str:
    all_of_them = number == len(machine.gpus)
    return "on every GPU" if all_of_them else f"on {number} of {len(machine.gpus)} GPUs"


def _verdict(states: Mapping[str, MethodState]) -> MethodState:
    counters = states["counters"]
    if counters.available is not False:
        return counters
    method = without_counters(states["gpm"])
    return MethodState(method, True, f"no counters: {counters.why}", counters.problem)


def without_counters(gpm: MethodState) -> str:
    """What ``auto`` takes where counters cannot be had."""
    return "gpm" if gpm.available else "analytic"
