"""What the meter costs a training as it ships, in one process: long blocks with it between short ones without it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from gpu_checks import place, watched
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most
from gpu_checks.probe import roots
from gpu_checks.stages.slots import SEED, Blocks, windows_by_role

BARE_S = 6.0
# A pass ends every ten seconds: two ends, so that a block has no fewer of them than its share of a long training.
METERED_S = 20.6
ROUNDS = 2


def _metered(blocks: Blocks, context: Any, seed: int) -> dict[str, Any]:
    """A block from the first window on: its steps, its time, and what the meter did meanwhile."""
    from ftprof import _native

    meter = _native.ContextMeter(context, seed)
    try:
        opened = meter.await_window(30.0)
        with watched.clocks() as clocks:
            chunks = blocks.chunks(place.seconds(METERED_S))
    finally:
        meter.stop()
        meter.ended(10.0)
    found = meter.take()
    return {"opened": opened, "chunks_s": chunks, **watched.mean_clocks(clocks), "windows": windows_by_role(found),
            "gaps": found.gaps}  # fmt: skip


def _bare(blocks: Blocks) -> dict[str, Any]:
    with watched.clocks() as clocks:
        chunks = blocks.chunks(place.seconds(BARE_S))
    return {"chunks_s": chunks, **watched.mean_clocks(clocks)}


def _compare(findings: Findings, name: str, mode: str, limit: float) -> None:
    """Each block with the meter against the mean of its two neighbours without it, so that a drift is in neither."""
    from ftprof import _native

    blocks = Blocks(name, mode)
    _native.load_cupti(roots())
    (context,) = _native.cuda_contexts()
    blocks.time(place.seconds(2.0))  # the clocks and the temperature of a busy GPU
    bare = [_bare(blocks)]
    metered = []
    for round_ in range(place.rounds(ROUNDS)):
        metered.append(_metered(blocks, context, SEED + round_))
        bare.append(_bare(blocks))
    pairs = [pair for pair in zip(metered, itertools.pairwise(bare), strict=True) if pair[0]["opened"]]
    ratios = [_over(statistics.fmean, block, neighbours) for block, neighbours in pairs]
    findings.figure(f"{mode}, {name}, as shipped: metered / bare", ratios, "", at_most(limit))
    usual = [_over(statistics.median, block, neighbours) for block, neighbours in pairs]
    findings.figure(f"{mode}, {name}, as shipped: the usual steps, without what edges stall", usual)
    drifts = [_over(statistics.fmean, after, (before,)) for before, after in itertools.pairwise(bare)]
    findings.figure(f"{mode}, {name}: a bare block / the bare one before it", drifts)
    findings.fact(f"{mode}, {name}, as shipped", {"steps of a chunk": blocks.chunk, "metered": metered, "bare": bare})
    findings.note(
        "windows of other groups come every six minutes, and changes have a 400th of the time at most: not in it"
    )


def _over(of: Callable[[Sequence[float]], float], block: dict[str, Any], bare: Sequence[dict[str, Any]]) -> float:
    return of(block["chunks_s"]) / statistics.fmean(of(one["chunks_s"]) for one in bare)


def large(findings: Findings) -> None:
    """Large kernels, eager."""
    _compare(findings, "large", "eager", 1.005)


def small(findings: Findings) -> None:
    """Tiny kernels: launches are what it waits for."""
    _compare(findings, "small", "eager", 1.02)


def graphs(findings: Findings) -> None:
    """The whole step as a CUDA graph."""
    _compare(findings, "large", "graphs", 1.005)


STAGE = Stage(
    "shipped",
    "what the meter costs a training as it ships, paired and in turn in one process",
    (
        Experiment("small", small, 85, "Does it cost a training of tiny kernels at most 1.02?"),
        Experiment("large", large, 85, "One of large kernels at most 1.005?"),
        Experiment("graphs", graphs, 85, "And one CUDA graph after the other at most 1.005?"),
    ),
)
