"""A chip's plan in short, for ``ftprof doctor``; ``ftprof plan --chip`` shows all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlanSummary:
    """What is counted always, in turn, and rarely.

    ``base`` are the metrics of the base group and ``precisions`` what they count (none on a chip without tensor
    cores); ``rotating`` is a number of groups, ``cuda_core`` of metrics of patched code (0: the chip has none).
    ``error`` says why there is no plan; then the rest is empty.
    """

    base: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    rotating: int = 0
    cuda_core: int = 0
    error: str | None = None


def plan_summary(native: Any, chip: str) -> PlanSummary:
    """The plan that the loaded CUPTI gives for a chip. Raises nothing."""
    try:
        groups = native.plan(chip).groups
    except native.CuptiError as error:
        return PlanSummary(error=" ".join(str(error).split()))
    base = _metrics(groups, "base")
    rows = [row for name in base if (row := native.find_metric(name)) is not None]
    return PlanSummary(
        base=base,
        precisions=tuple(dict.fromkeys(row.precision for row in rows if row.weight)),
        rotating=sum(group.role == "rotating" for group in groups),
        cuda_core=len(_metrics(groups, "cuda-core")),
    )


def _metrics(groups: Iterable[Any], role: str) -> tuple[str, ...]:
    return tuple(metric for group in groups if group.role == role for metric in group.metrics)
