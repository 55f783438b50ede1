"""What slots shorter than those that ship cost a training: blocks of steps with and without a meter, in turn."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings
from gpu_checks.model import Training, shape
from gpu_checks.probe import roots

# Short, and so short that edges are many: what one of each kind costs follows from both.
LENGTHS: tuple[tuple[str, tuple[int, int], float, int], ...] = (
    ("slots of 1 s", (1_000_000, 1_000_000), 5.0, 2),
    ("slots of 0.1 s", (100_000, 100_000), 3.0, 2),
)
SEED = 7
BF16 = "sm__ops_path_tensor_src_bf16_dst_fp32.sum"


class Blocks:
    """Steps of one training, timed in blocks."""

    def __init__(self, name: str, mode: str) -> None:
        self.training = Training(shape(name), mode)
        self.training.run(8)
        began = time.perf_counter()
        self.training.run(4)
        self.step_s = (time.perf_counter() - began) / 4
        self.chunk = max(1, round(0.25 / self.step_s))  # steps

    def time(self, seconds: float) -> tuple[int, float]:
        """About so long, waited for four times a second: the steps, and the seconds that they took."""
        began = time.perf_counter()
        chunks = self.chunks(seconds)
        return len(chunks) * self.chunk, time.perf_counter() - began

    def chunks(self, seconds: float) -> list[float]:
        """The same: the seconds that each ``chunk`` of steps took."""
        ends = [time.perf_counter()]
        for _ in range(max(1, round(seconds / (self.chunk * self.step_s)))):
            self.training.run(self.chunk)
            ends.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(ends)]


def windows_by_role(found: Any) -> dict[str, tuple[int, int, int]]:
    """By the role of their group: how many, the time in them in microseconds, and what they counted of bf16."""
    groups = found.context["groups"]
    sums: dict[str, tuple[int, int, int]] = {}
    for stratum in found.strata:
        for of_group in stratum["groups"]:
            group = groups[of_group["group"]]
            windows, time_us, counts = sums.get(group["role"], (0, 0, 0))
            metrics = [m["name"] if isinstance(m, dict) else m for m in group["metrics"]]
            bf16 = int(of_group["sums"][metrics.index(BF16)]) if BF16 in metrics else 0
            sums[group["role"]] = (windows + of_group["windows"], time_us + of_group["time_us"], counts + bf16)
    return sums


def outside_s(seen: Sequence[dict[str, Any]]) -> list[float]:
    """Of each block with windows of other groups than the base: the seconds outside windows, for each of these.

    Such a window has a change of the group before it and one behind it, so half of this is what a change takes; pops
    and pushes are in it, too.
    """
    found = []
    for block in seen:
        windows = block["windows"]
        others = sum(number for role, (number, _, _) in windows.items() if role != "base")
        inside_us = sum(time_us for _, time_us, _ in windows.values())
        if others:
            found.append((block["seconds"] - inside_us / 1e6) / others)
    return found


def _compare(findings: Findings, name: str, mode: str) -> None:
    from ftprof import _native

    blocks = Blocks(name, mode)
    _native.load_cupti(roots())
    (context,) = _native.cuda_contexts()
    chosen = _native.ChosenWindows(context)
    base = next(i for i, group in enumerate(chosen.plan["groups"]) if group["role"] == "base")
    chosen.begin(base)
    blocks.training.run(3)
    metrics = [m["name"] if isinstance(m, dict) else m for m in chosen.plan["groups"][base]["metrics"]]
    counts = chosen.end()
    chosen.close()
    each = counts[metrics.index(BF16)] // 3 if BF16 in metrics else 0
    findings.fact("bf16 operations of a step", each)
    for kind, slots, seconds, rounds in LENGTHS:
        ratios, seen = [], []
        for round_ in range(place.rounds(rounds)):
            bare_steps, bare_s = blocks.time(place.seconds(seconds))
            began = time.perf_counter()
            meter = _native.ContextMeter(context, SEED + round_, slots)
            if not meter.await_window(30.0):
                findings.note(f"{name}, {mode}, {kind}: no window came")
                continue
            opened_s = time.perf_counter() - began
            steps, took_s = blocks.time(place.seconds(seconds))
            meter.stop()
            meter.ended(10.0)
            found = meter.take()
            ratios.append((took_s / steps) / (bare_s / bare_steps))
            windows = windows_by_role(found)
            seen.append({"steps": steps, "seconds": took_s, "opened_s": opened_s, "windows": windows,
                         "bare_step_ms": 1e3 * bare_s / bare_steps, "gaps": found.gaps,
                         "share_counted": windows.get("base", (0, 0, 0))[2] / max(steps * each, 1)})  # fmt: skip
        findings.figure(f"{mode}, {name}, {kind}: metered / bare", ratios)
        findings.fact(f"{mode}, {name}, {kind}", seen)
        if outside := outside_s(seen):
            findings.figure(f"{mode}, {name}, {kind}: outside windows, for each of another group", outside, "s")


def large(findings: Findings) -> None:
    """Large kernels, eager."""
    _compare(findings, "large", "eager")


def graphs(findings: Findings) -> None:
    """The whole step as a CUDA graph."""
    _compare(findings, "large", "graphs")


def small(findings: Findings) -> None:
    """Tiny kernels: launches are what it waits for."""
    _compare(findings, "small", "eager")


STAGE = Stage(
    "slots",
    "what slots shorter than those that ship cost a training, paired and in turn in one process",
    (
        Experiment("large", large, 50, "What does an edge of each kind cost a training of large kernels?"),
        Experiment("small", small, 50, "And one of tiny kernels?"),
        Experiment("graphs", graphs, 50, "And one CUDA graph after the other?"),
    ),
)
