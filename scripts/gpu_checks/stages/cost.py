"""DESIGN's third point, and issue 3's: clocks and memory, with and without windows."""

from __future__ import annotations

import itertools
import time

from gpu_checks import place
from gpu_checks.counting import library_kib, memory_kib
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most, between
from gpu_checks.gpu import product, size, sm_clock_mhz, timed, torch_on_gpu
from gpu_checks.probe import Bench, module, roots
from gpu_checks.wrapped import bare, program, wrap


def clock(findings: Findings) -> None:
    """The SM clock and the speed of products, in turn without a session, with one enabled, and in a window."""
    bench = Bench()
    work, _ = product(size(8192), "bf16", 40)
    work()
    times: dict[str, list[float]] = {"bare": [], "enabled": [], "window": []}
    clocks: dict[str, list[int]] = {name: [] for name in times}

    def measure(name: str) -> None:
        took = timed(work, 3)
        work()  # still busy while the clock is read
        time.sleep(0.02)
        clocks[name] += [mhz] if (mhz := sm_clock_mhz()) is not None else []
        torch_on_gpu().cuda.synchronize()
        times[name].append(sorted(took)[1])

    for _ in range(place.rounds(8)):
        measure("bare")
        with bench.window(bench.base) as window:
            measure("enabled")
            window.begin()
            measure("window")
            window.end()
    for name, values in clocks.items():
        findings.figure(f"SM clock under load, {name}", values, "MHz")
    for name in ("enabled", "window"):
        ratios = [a / b for a, b in zip(times[name], times["bare"], strict=True)]
        findings.figure(f"time of products, {name} / bare", ratios, "", at_most(1.005))


def memory(findings: Findings) -> None:
    """Step by step in one process: what each part of CUPTI takes of the host's memory and of the device's."""
    torch = torch_on_gpu()
    work, _ = product(size(1024), "bf16")
    work()
    torch.cuda.synchronize()
    steps: list[tuple[str, dict[str, int], float]] = []

    def note(name: str) -> None:
        steps.append((name, memory_kib(), torch.cuda.mem_get_info()[0] / 2**20))

    note("torch and a context")
    found = module()
    device = found.Device(roots())
    note("CUPTI loaded and initialised")
    from ftprof import _native

    _native.load_cupti(roots())
    groups = _native.plan(device.chip).groups
    note("planned")
    base = list(next(group for group in groups if group.role == "base").metrics)
    session = found.Session(device, base)
    note("session enabled")
    for _ in range(20):
        session.configure()
        session.start()
        session.push()
        work()
        session.pop()
        session.stop()
        session.decode()
        session.values()
    note("twenty windows")
    session.disable()
    note("disabled")
    for (_, before, free_before), (name, after, free_after) in itertools.pairwise(steps):
        for kind in ("resident", "anonymous"):
            findings.figure(f"{name}: host memory added, {kind}", [(after[kind] - before[kind]) / 1024], "MiB")
        findings.figure(f"{name}: device memory taken", [free_before - free_after], "MiB")
    for (
        library,
        kib,
    ) in library_kib().items():  # all of them: by which library what is on the heap was asked is not told
        findings.figure(f"resident of {library}", [kib / 1024], "MiB")


def wrapped_memory(findings: Findings) -> None:
    """The same training bare and wrapped, in turn: the process's memory at its end, and the device's."""
    command = program("train", "--shape", "medium", "--seconds", place.seconds(3))
    added: dict[str, list[float]] = {"resident": [], "anonymous": [], "device": []}
    for _ in range(place.rounds(3)):
        plain, counted = bare(command).result, wrap(command).result
        for kind in ("resident", "anonymous"):
            added[kind].append((counted["memory_kib"][kind] - plain["memory_kib"][kind]) / 1024)
        added["device"].append(plain["device_free_mib"] - counted["device_free_mib"])
    findings.fact("libraries in the wrapped process, KiB resident", counted["libraries_kib"])
    findings.figure("wrapped training: host memory added, resident", added["resident"], "MiB", at_most(130))
    findings.figure("wrapped training: host memory added, anonymous", added["anonymous"], "MiB", at_most(130))
    findings.figure("wrapped training: device memory taken", added["device"], "MiB", between(-64, 512))


STAGE = Stage(
    "cost",
    "DESIGN 3: clocks and memory with and without windows",
    (
        Experiment("clock", clock, 30, "Does a window change the SM clock or the speed of kernels?"),
        Experiment("memory", memory, 15, "What do CUPTI's libraries and a session take of memory?"),
        Experiment("wrapped-memory", wrapped_memory, 75, "What does a wrapped training take more?"),
    ),
)
