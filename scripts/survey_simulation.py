#!/usr/bin/env python3
"""Draws runs of known workloads with the shipped schedule, and compares the shipped estimates with the truth.

    python scripts/survey_simulation.py                      # 1,000 runs of each workload and length, some minutes
    python scripts/survey_simulation.py --runs 100
    python scripts/survey_simulation.py -o docs/evidence/survey-simulation.json

A run is a program of steps (a heavy part, a light part, now and then a pause) with noise from step to step, on a GPU
with the groups of Hopper's plan. One metric is in the base group (bf16), one in a rotating group (tf32), one in patched
code (ffma), which runs at a twentieth of its speed. Between windows nobody counts: these edges hold 1 to 5 % of the
time. The workloads differ in when tf32 is active. Runs of two minutes have the schedule of a GPU on which a change of
the group costs nothing; longer ones that of an H200, where it takes 0.18 s, so that the other groups are visited every
six minutes or so. Beside it stands what a pooled ratio makes of a rotation in fixed order whose duty rises at the first
count.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftprof import _native
from ftprof.record.rollup import Stratum, Sums
from ftprof.record.spans import Context, Group, Metric
from ftprof.record.survey import Estimate, survey, total

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SECONDS = {"2 minutes": 120.0, "1 hour": 3600.0, "1 day": 86400.0}
STEP_S = {"2 minutes": 0.35, "1 hour": 0.7, "1 day": 2.5}
HEAVY = 0.7  # the share of a step
PER_SECOND = 1_000_000  # counts in the heavy part, and cycles when all SMs are active
PEAK = 1_600_000
SLOWDOWN = 20  # of patched code
EDGES = (0.01, 0.05)  # their share of the time: between these, drawn for each run
H200_SLOT_US = 2_100_000  # twice as long, and a count could reach 2^53
CHEAP = ("2 minutes",)  # the lengths of runs on a GPU whose groups change for nothing
ROLES = ["base", *["rotating"] * 3, "cuda-core", "link", *["integer"] * 3, *["sparse"] * 2]
# The groups whose metrics are looked at; all others count cycles only, and are taken as one.
BASE, ROTATING, PATCHED, LINK, OTHER = range(5)
PATCHED_ROLE = ROLES.index("cuda-core")
GROUP_OF_ROLE = np.array([BASE, ROTATING, OTHER, OTHER, PATCHED, LINK, *[OTHER] * 5])
CYCLES = Metric("sm__cycles_active.sum", "", "cycles", 0)
INSTRUCTIONS = Metric("smsp__thread_inst_executed.sum", "", "instructions", 0)
PATCHED_INSTRUCTIONS = Metric("smsp__sass_thread_inst_executed.sum", "", "instructions", 0)
TF32 = Metric("tf32", "tf32", "floating", 1)
WHOLE = (
    Group("base", (Metric("bf16", "bf16", "floating", 1), CYCLES)),
    Group("rotating", (TF32, CYCLES)),
    Group("cuda-core", (Metric("ffma", "fp32", "cuda-core", 2), PATCHED_INSTRUCTIONS)),
    Group("link", (INSTRUCTIONS, CYCLES)),
    Group("sparse", (CYCLES,)),
)
# The same with tf32 alone, for the runs that look at no other metric.
TF32_ONLY = (
    Group("base", (CYCLES,)),
    WHOLE[ROTATING],
    Group("cuda-core", (PATCHED_INSTRUCTIONS,)),
    WHOLE[LINK],
    WHOLE[OTHER],
)
PEAKS = {"bf16": PEAK, "tf32": PEAK, "ffma": PEAK}


@dataclass(frozen=True)
class Windows:
    """Of one run, in seconds: by the clock, and in the program's own time, which patched code slows down."""

    clock: Floats
    clock_end: Floats
    begin: Floats
    end: Floats
    stratum: Integers
    group: Integers
    chance: Floats  # that its slot is a given rotating group's

    @property
    def length(self) -> float:
        """Of the run, in the program's time."""
        return float(self.end[-1])

    def rotation(self, window: int) -> float:
        """How long the stratum of a window lasts, in which every rotating group has its turn."""
        mine = np.flatnonzero(self.stratum == self.stratum[window])
        return float(self.end[mine[-1]] - self.begin[mine[0]])


Refusal = Callable[[float], bool]


def settings_of(length: str) -> _native.ScheduleSettings:
    """With windows of patched code, which are off unless they are asked for."""
    settings = _native.ScheduleSettings()
    settings.cuda_core_windows = 1
    if length in CHEAP:
        settings.change_share, settings.first_slot_us = 0, 100_000
    else:
        settings.longest_slot_us = H200_SLOT_US
    return settings


def windows_of(
    seed: int, length_name: str, edges: tuple[float, float], refused: Refusal | None, rng: np.random.Generator
) -> Windows:
    """Those that the schedule gives a run of this length. The run's end cuts the last one short.

    Where code may not be patched (``refused``, by the clock), the base group has the slot.
    """
    seconds = SECONDS[length_name]
    schedule = _native.Schedule(ROLES, settings_of(length_name), seed)
    slots = schedule.take(1500)
    while sum(length for *_, length in slots) < seconds * 1e6:
        slots += schedule.take(len(slots))
    stratum, role, length = (np.array(column) for column in zip(*slots, strict=True))
    chance = (np.bincount(stratum, role == ROTATING) / np.bincount(stratum, role != PATCHED_ROLE))[stratum]
    window = length / 1e6
    edge = window * rng.uniform(*edges) * rng.uniform(0.5, 1.5, len(window))
    clock = np.cumsum(window + edge) - window - edge
    used = int(np.searchsorted(clock, seconds))
    stratum, group, clock = stratum[:used], GROUP_OF_ROLE[role[:used]], clock[:used]
    window = np.minimum(window[:used], seconds - clock)
    if refused is not None:
        captured = np.array([refused(when) for when in clock.tolist()])
        group = np.where(captured & (group == PATCHED), BASE, group)
    slowed = np.where(group == PATCHED, window / SLOWDOWN, window)
    begin = np.cumsum(slowed + edge[:used]) - slowed - edge[:used]
    return Windows(clock, clock + window, begin, begin + slowed, stratum, group, chance[:used])


class Program:
    """Steps of a heavy part, a light part and, now and then, a pause. Rates differ from step to step."""

    def __init__(self, seconds: float, step_s: float, rng: np.random.Generator) -> None:
        steps = math.ceil(seconds / step_s * 1.02) + 20
        lengths = step_s * rng.uniform(0.97, 1.03, steps)
        pauses = np.where(rng.random(steps) < 0.005, step_s * rng.exponential(4.0, steps), 0.0)
        self._lengths = np.stack([lengths * HEAVY, lengths * (1 - HEAVY), pauses], axis=1).ravel()
        self._ends = np.concatenate([[0.0], np.cumsum(self._lengths)])
        self.middles = (self._ends[1:] + self._ends[:-1]) / 2
        self.noise = np.repeat(np.exp(rng.normal(0, 0.1, steps)), 3)

    def rate(self, heavy: float, light: float, pause: float) -> Floats:
        """A rate, a second, by part of a step."""
        return np.tile([heavy, light, pause], len(self.middles) // 3)

    def work(self, rate: Floats, begin: Floats, end: Floats) -> tuple[Integers, int]:
        """The counts of a rate in each window, and in all the time up to the last one's end."""
        done = np.concatenate([[0.0], np.cumsum(rate * self._lengths)]) * PER_SECOND
        at = [np.rint(np.interp(when, self._ends, done)).astype(np.int64) for when in (begin, end)]
        return at[1] - at[0], int(at[1][-1])


Activity = Callable[[Floats, Windows, np.random.Generator], Floats]


def stationary(when: Floats, _windows: Windows, _rng: np.random.Generator) -> Floats:
    return np.ones(len(when))


def drifting(when: Floats, windows: Windows, _rng: np.random.Generator) -> Floats:
    return 0.2 + 0.8 * when / windows.length


def late(share: float) -> Activity:
    """One phase that lasts to the end of the run, near this share of it."""

    def active(when: Floats, windows: Windows, rng: np.random.Generator) -> Floats:
        return (when > windows.length * (1 - share * rng.uniform(0.9, 1.1))).astype(float)

    return active


def burst(when: Floats, windows: Windows, rng: np.random.Generator) -> Floats:
    begin = windows.length * rng.random()
    rotation = windows.rotation(int(np.searchsorted(windows.end, begin)))
    return ((when >= begin) & (when < begin + rotation * rng.uniform(0.1, 1.0))).astype(float)


def periodic(when: Floats, windows: Windows, rng: np.random.Generator) -> Floats:
    """On and off with the period that strata have in the middle of the last part of the run."""
    period = windows.rotation(int(np.searchsorted(windows.end, 0.75 * windows.length)))
    return ((when + rng.random() * period) % period < period / 2).astype(float)


def on_background(of: Activity) -> Activity:
    """The same above a hundredth that is always there: then the metric was seen, and says little of what it hides."""

    def active(when: Floats, windows: Windows, rng: np.random.Generator) -> Floats:
        return 0.01 + 0.99 * of(when, windows, rng)

    return active


WORKLOADS: dict[str, Activity] = {
    "stationary": stationary,
    "drifting": drifting,
    "late phase of 50 %": late(0.5),
    "late phase of 20 %": late(0.2),
    "late phase of 5 %": late(0.05),
    "burst shorter than the rotation": burst,
    "period equal to the rotation": periodic,
    "background of 1 %: late phase of 5 %": on_background(late(0.05)),
    "background of 1 %: spell shorter than the rotation": on_background(burst),
}


def sums_of(windows: Windows, group: int, divisor: Integers, counts: Sequence[Integers]) -> Iterator[tuple[int, Sums]]:
    """The sums of a group's windows, by stratum: the counts' first, the denominator's last."""
    mine = np.flatnonzero(windows.group == group)
    if len(mine) == 0:
        return
    time_us = np.rint(windows.clock_end[mine] * 1e6).astype(np.int64) - np.rint(windows.clock[mine] * 1e6).astype(
        np.int64
    )
    columns = [column[mine] for column in (*counts, divisor)]
    firsts = np.flatnonzero(np.diff(windows.stratum[mine], prepend=-1))
    lists = [
        np.stack([np.add.reduceat(a * b, firsts) for a, b in pairs], axis=1).tolist()
        for pairs in (
            [(column, np.int64(1)) for column in columns],
            [(column, column) for column in columns],
            [(column, columns[-1]) for column in columns],
        )
    ]
    numbers = windows.stratum[mine][firsts].tolist()
    sizes = np.diff(np.append(firsts, len(mine))).tolist()
    times = np.add.reduceat(time_us, firsts).tolist()
    for number, size, duration, *three in zip(numbers, sizes, times, *lists, strict=True):
        yield number, Sums(size, duration, *three)


def context_of(windows: Windows, groups: tuple[Group, ...], sums: Mapping[int, Sequence[tuple[int, Sums]]]) -> Context:
    """What a journal of this run tells."""
    firsts = np.flatnonzero(np.diff(windows.stratum, prepend=-1))
    lasts = np.append(firsts[1:], len(windows.stratum)) - 1
    begins = np.rint(windows.clock[firsts] * 1e6).astype(np.int64).tolist()
    ends = np.rint(windows.clock_end[lasts] * 1e6).astype(np.int64).tolist()
    numbers = windows.stratum[firsts].tolist()
    strata = {number: Stratum(number, *times) for number, *times in zip(numbers, begins, ends, strict=True)}
    for group, by_stratum in sums.items():
        for number, of_stratum in by_stratum:
            strata[number].groups[group] = of_stratum
    return Context(groups, tuple(strata.values()), 0, ends[-1], (), PEAKS)


@dataclass(frozen=True)
class Outcome:
    """Of one run: the truth and what was said of it. ``luck`` has a mean of zero over all schedules."""

    truth: int
    low: int
    value: int
    high: int
    missed: bool
    luck: float
    pooled: float
    pooled_error: float


class Run:
    """One seeded run: windows, program, and the groups that all workloads share."""

    def __init__(
        self, seed: int, length: str, edges: tuple[float, float] = EDGES, refused: Refusal | None = None
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.windows = windows_of(seed, length, edges, refused, self.rng)
        self.program = program = Program(SECONDS[length], STEP_S[length], self.rng)
        self._cycles_rate = program.rate(0.97, 0.85, 0.02)
        instructions = program.rate(0.5, 1.0, 0.01) * program.noise
        self.cycles, _ = self._work(self._cycles_rate)
        self._instructions, _ = self._work(instructions)
        self._ffma, self._true_ffma = self._work(instructions * program.rate(0.1, 0.5, 0.1))
        self._bf16, self._true_bf16 = self._work(program.rate(0.9, 0.05, 0.0) * program.noise)
        self._shared = {
            BASE: list(sums_of(self.windows, BASE, self.cycles, [])),
            PATCHED: list(sums_of(self.windows, PATCHED, self._instructions, [])),
            LINK: list(sums_of(self.windows, LINK, self.cycles, [self._instructions])),
            OTHER: list(sums_of(self.windows, OTHER, self.cycles, [])),
        }

    def _work(self, rate: Floats) -> tuple[Integers, int]:
        return self.program.work(rate, self.windows.begin, self.windows.end)

    def tf32(self, activity: Activity) -> Outcome:
        """Of the rotating metric, as it is active in one workload."""
        rate = self.program.rate(1.0, 0.05, 0.0) * self.program.noise
        rate *= activity(self.program.middles, self.windows, self.rng)
        counts, truth = self._work(rate)
        mine = list(sums_of(self.windows, ROTATING, self.cycles, [counts]))
        (estimate,) = survey(context_of(self.windows, TF32_ONLY, {**self._shared, ROTATING: mine}))
        return self._outcome(truth, estimate, self._luck(counts), self._pooled(rate))

    def all_metrics(self, activity: Activity) -> dict[str, Outcome]:
        """Of every metric, and of their sum."""
        rate = self.program.rate(1.0, 0.05, 0.0) * self.program.noise
        rate *= activity(self.program.middles, self.windows, self.rng)
        counts, truth = self._work(rate)
        sums = {
            BASE: list(sums_of(self.windows, BASE, self.cycles, [self._bf16])),
            ROTATING: list(sums_of(self.windows, ROTATING, self.cycles, [counts])),
            PATCHED: list(sums_of(self.windows, PATCHED, self._instructions, [self._ffma])),
        }
        estimates = survey(context_of(self.windows, WHOLE, {**self._shared, **sums}))
        truths = {"bf16": self._true_bf16, "tf32": truth, "ffma": self._true_ffma}
        outcomes = {e.metric.name: self._outcome(truths[e.metric.name], e) for e in estimates}
        both = total([estimates])
        everything = sum(e.metric.weight * truths[e.metric.name] for e in estimates)
        high = both.value if both.high is None else both.high
        outcomes["total"] = Outcome(everything, both.low, both.value, high, False, 0.0, 0.0, 0.0)
        return outcomes

    def _outcome(
        self, truth: int, estimate: Estimate, luck: float = 0.0, pooled: tuple[float, float] = (0.0, 0.0)
    ) -> Outcome:
        high = estimate.value if estimate.high is None else estimate.high
        return Outcome(truth, estimate.low, estimate.value, high, estimate.measured == 0, luck, *pooled)

    def _luck(self, counts: Integers) -> float:
        """What the drawn windows would give for all slots, less what these have: zero in the mean, by design.

        A slot that is not for patched code is the group's with the same chance everywhere. The errors' correlation with
        this figure is taken out of the mean error, so that a small bias shows in a thousand runs.
        """
        mine, candidates = self.windows.group == ROTATING, self.windows.group != PATCHED
        return float((counts[mine] / self.windows.chance[mine]).sum() - counts[candidates].sum())

    def _pooled(self, rate: Floats) -> tuple[float, float]:
        """One ratio of all windows, and its error: in a fixed order, a duty of 2 %, after the first count of 25 %."""
        length = self.windows.length / 4000
        begin = np.arange(4000) * length
        x, _ = self.program.work(rate, begin, begin + length)
        d, _ = self.program.work(self._cycles_rate, begin, begin + length)
        index = np.arange(4000)
        seen = index % 50 == 7
        hits = index[seen & (x > 0)]
        if len(hits):
            seen |= (index > hits[0]) & (index % 4 == 3)
        ratio = x[seen].sum() / d[seen].sum()
        number = int(seen.sum())
        variance = float(((x[seen] - ratio * d[seen]) ** 2).sum()) / (number - 1) * (1 - number / 4000) / number
        return float(ratio * d.sum()), 1.96 * 4000 * math.sqrt(variance)


@dataclass(frozen=True)
class Row:
    """Of many runs. ``inside`` are shares of the runs, biases and half-widths parts of the mean truth, all in per cent.

    ``bias_adjusted`` is the bias without the runs' luck (see ``Run._luck``), each with its standard error.
    """

    workload: str
    length: str
    edges: str
    runs: int
    inside: float
    missed: int
    missed_inside: float | None
    bias: float
    bias_error: float
    bias_adjusted: float
    bias_adjusted_error: float
    width_below: float
    width_above: float
    pooled_inside: float | None
    pooled_bias: float | None


def row_of(workload: str, length: str, edges: str, outcomes: Sequence[Outcome]) -> Row:
    """The figures of many runs of one workload."""
    truth = np.array([o.truth for o in outcomes], float)
    low, value, high = (np.array([getattr(o, name) for o in outcomes], float) for name in ("low", "value", "high"))
    missed = np.array([o.missed for o in outcomes])
    luck = np.array([o.luck for o in outcomes])
    pooled, half = np.array([o.pooled for o in outcomes]), np.array([o.pooled_error for o in outcomes])
    inside = (low <= truth) & (truth <= high)
    error, mean, root = value - truth, truth.mean() / 100, math.sqrt(len(outcomes))
    adjusted = error - np.cov(error, luck)[0, 1] / luck.var(ddof=1) * luck if luck.any() else error
    compared = bool(pooled.any())
    return Row(
        workload=workload,
        length=length,
        edges=edges,
        runs=len(outcomes),
        inside=float(100 * inside.mean()),
        missed=int(missed.sum()),
        missed_inside=float(100 * inside[missed].mean()) if missed.any() else None,
        bias=float(error.mean() / mean),
        bias_error=float(error.std() / mean / root),
        bias_adjusted=float(adjusted.mean() / mean),
        bias_adjusted_error=float(adjusted.std() / mean / root),
        width_below=float((value - low).mean() / mean),
        width_above=float((high - value).mean() / mean),
        pooled_inside=float(100 * (np.abs(pooled - truth) <= half).mean()) if compared else None,
        pooled_bias=float((pooled - truth).mean() / mean) if compared else None,
    )


def study(seeds: Mapping[str, Sequence[int]], edges: tuple[float, float] = EDGES) -> list[Row]:
    """All workloads, and all metrics of one of them, on the runs with these seeds by length."""
    rows = []
    share = f"{100 * edges[0]:g} to {100 * edges[1]:g} %"
    for length, numbers in seeds.items():
        outcomes: dict[str, list[Outcome]] = {}
        for seed in numbers:
            run = Run(seed, length, edges)
            for workload, activity in WORKLOADS.items():
                outcomes.setdefault(workload, []).append(run.tf32(activity))
            for name, outcome in run.all_metrics(late(0.2)).items():
                outcomes.setdefault(f"late phase of 20 %: {name}", []).append(outcome)
        rows += [row_of(workload, length, share, of_workload) for workload, of_workload in outcomes.items()]
    return rows


def table(rows: Sequence[Row]) -> str:
    """For people: shares, biases and half-widths in per cent."""
    lines = [
        f"{'workload':<32}{'length':<10}{'edges':<9}{'inside':>7}{'missed':>8}{'under':>7}{'bias':>8}{'':>7}{'adjusted':>9}{'':>7}"
        f"{'interval':>15}   pooled: inside, bias"
    ]
    for row in rows:
        under = "" if row.missed_inside is None else f"{row.missed_inside:.1f}"
        line = f"{row.workload:<32}{row.length:<10}{row.edges:<9}{row.inside:7.1f}{row.missed:8}{under:>7}"
        line += f"{row.bias:+8.2f} ±{row.bias_error:5.2f}{row.bias_adjusted:+9.2f} ±{row.bias_adjusted_error:5.2f}"
        line += f"{-row.width_below:+8.1f}{row.width_above:+7.1f}   "
        line += "" if row.pooled_inside is None else f"{row.pooled_inside:6.1f} {row.pooled_bias:+8.1f}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each workload and length")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    began = time.perf_counter()
    rows = []
    for edges in (EDGES, (0.0, 0.0)):
        for length in SECONDS:
            rows += study({length: range(options.runs)}, edges)
            print(f"{length}: {time.perf_counter() - began:.0f} s", flush=True)
    print(table(rows))
    if options.output:
        conditions = {
            "date": date.today().isoformat(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "seeds": f"0 to {options.runs - 1}",
            "what": "a simulation: no GPU took part",
        }
        content = {"conditions": conditions, "unit": "per cent", "rows": [asdict(row) for row in rows]}
        options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
