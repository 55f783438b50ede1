"""What the counters say of a piece of work: it is done once in a window of each group that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ftprof.record.explanation import explain
from ftprof.record.spans import Metric

FLOATING, CUDA_CORE, INSTRUCTIONS = "floating", "cuda-core", "instructions"
TENSOR_ROLES = ("base", "rotating")
# CUPTI's codes for counters that nobody may read here: what refuses one window refuses all.
_REFUSALS = frozenset({26, 33, 35, 40, 41, 42, 43, 44, 45})


class NotCounted(Exception):
    """Why a window did not count; ``everywhere``: no other one will."""

    def __init__(self, why: str, remedy: str = "", everywhere: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy
        self.everywhere = everywhere


@dataclass(frozen=True)
class Counts:
    """The counts of the same work in several windows."""

    rows: tuple[tuple[Metric, int], ...]

    def of_kind(self, kind: str) -> dict[str, int]:
        """By metric."""
        return {metric.name: count for metric, count in self.rows if metric.kind == kind}

    def flops(self, *kinds: str) -> int:
        """The operations that metrics of these kinds stand for."""
        return sum(metric.weight * count for metric, count in self.rows if metric.kind in kinds)

    def elsewhere(self, precision: str) -> dict[str, int]:
        """Operations of the tensor cores that were counted under other precisions, by them."""
        found: Counter[str] = Counter()
        for metric, count in self.rows:
            if metric.kind == FLOATING and count and precision not in precisions_of(metric):
                found[metric.precision] += count
        return dict(found)


class Windows(Protocol):
    """``_native.ChosenWindows``."""

    @property
    def plan(self) -> dict[str, Any]:
        """The device and its groups."""

    def begin(self, group: int) -> None:
        """Open a window of a group."""

    def end(self) -> list[int]:
        """Close it."""


class Counters:
    """The groups of a chip's plan, each with the windows that are opened on it."""

    def __init__(self, windows: Windows, error: type[Exception]) -> None:
        """``error`` is what the windows raise, with ``call``, ``code``, ``name`` and ``remedy``."""
        self._windows = windows
        self._error = error
        self.device: Mapping[str, Any] = windows.plan["device"]
        self._groups = [(group["role"], [_metric(m) for m in group["metrics"]]) for group in windows.plan["groups"]]

    def has(self, role: str) -> bool:
        """Whether the chip has such a group."""
        return any(role == other for other, _ in self._groups)

    def tensor_precisions(self) -> frozenset[str]:
        """Of which floating-point operations of the tensor cores the chip has counters."""
        metrics = [metric for role, group in self._groups if role in TENSOR_ROLES for metric in group]
        return frozenset().union(*(precisions_of(metric) for metric in metrics if metric.kind == FLOATING))

    def groups_of(self, roles: Sequence[str]) -> list[int]:
        """The groups of these roles, in the plan's order. Raises ``NotCounted`` where the chip has none."""
        found = [number for number, (role, _) in enumerate(self._groups) if role in roles]
        if not found:
            raise NotCounted(f"the chip's plan has no {' or '.join(roles)} group")
        return found

    def count(self, group: int, work: Callable[[], None], wait: Callable[[], None]) -> tuple[tuple[Metric, int], ...]:
        """Do the work in a window of this group. Raises ``NotCounted``, and what ``work`` raises."""
        return tuple(zip(self._groups[group][1], self._window(group, work, wait), strict=True))

    def _window(self, group: int, work: Callable[[], None], wait: Callable[[], None]) -> list[int]:
        wait()  # what was launched before must not be in it
        try:
            self._windows.begin(group)
        except self._error as error:
            raise _not_counted(error) from error
        try:
            work()
            wait()
        finally:
            try:
                counts = self._windows.end()
            except self._error as error:
                raise _not_counted(error) from error
        return counts


def precisions_of(metric: Metric) -> frozenset[str]:
    """What it counts: one counter may hold several."""
    return frozenset(metric.precision.split("_"))


def _metric(row: Mapping[str, Any]) -> Metric:
    name = row["name"].removesuffix(".sum").removesuffix("_realtime")
    return Metric(name, row["precision"], row["kind"], row["weight"])


def _not_counted(error: Any) -> NotCounted:
    explained = explain(error.call, error.code)
    meaning = explained.meaning if error.code else error.name
    code = f", error {error.code}" if error.code else ""
    return NotCounted(f"{meaning} ({error.call}{code})", error.remedy or explained.remedy, error.code in _REFUSALS)
