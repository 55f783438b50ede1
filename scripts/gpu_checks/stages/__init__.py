"""The stages, in the order in which they are run: what decides the rest comes first."""

from __future__ import annotations

from gpu_checks.experiment import Experiment, Stage
from gpu_checks.stages import (
    accuracy,
    cost,
    cuda_core,
    edges,
    gemm,
    kernels,
    length,
    neighbours,
    nsight,
    overhead,
    ranges,
    safety,
    shipped,
    slots,
    slowdown,
    tools,
    training,
    window,
)

STAGES: tuple[Stage, ...] = (
    window.STAGE,
    gemm.STAGE,
    ranges.STAGE,
    edges.STAGE,
    shipped.STAGE,
    training.STAGE,
    slots.STAGE,
    slowdown.STAGE,
    overhead.STAGE,
    overhead.STAGE_SMALL,
    accuracy.STAGE,
    nsight.STAGE,
    tools.STAGE,
    safety.STAGE,
    cuda_core.STAGE,
    neighbours.STAGE,
    kernels.STAGE,
    cost.STAGE,
    length.STAGE,
    overhead.STAGE_COMPILED,
    tools.STAGE_COMPILED,
    safety.STAGE_LONG,
)


def find(name: str) -> Experiment:
    """An experiment by ``STAGE/EXPERIMENT``. Raises ``KeyError``."""
    return {f"{stage.name}/{e.name}": e for stage in STAGES for e in stage.experiments}[name]
