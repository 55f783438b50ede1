"""The cases: each has a row that says what is expected, and a way to try it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace

from ftprof.selftest.bench import Bench, NothingToCount
from ftprof.selftest.counts import CUDA_CORE, FLOATING, INSTRUCTIONS, TENSOR_ROLES, Counts, NotCounted
from ftprof.selftest.known_kernels import (
    BLOCKS,
    FFMA,
    INTEGER,
    NOTHING,
    TENSOR_FP16,
    THREADS,
    KnownKernel,
    kernels_of,
)
from ftprof.selftest.rows import Row

_STREAMS, _LAUNCHES_OF_STREAM = 4, 2
_NODES, _REPLAYS = 5, 3
PATCHED_ROLE = "cuda-core"
_PATCHED = "smsp__sass_thread_inst_executed"
Work = Callable[[], None]
Prepare = Callable[[Bench, KnownKernel], Work]


@dataclass(frozen=True)
class Case:
    """``prepare`` gives the work that is counted in a window of each group of ``roles``; of that ``judge`` makes the
    row with its verdict. ``prepare`` raises ``NotCounted``, ``NothingToCount`` and ``GpuProblem``.
    """

    row: Row
    roles: tuple[str, ...]
    prepare: Callable[[], Work]
    judge: Callable[[Row, Counts], Row]


def known_cases(bench: Bench) -> list[Case]:
    """All that need the CUDA driver and nothing else."""
    known = [kernel for kernel in kernels_of(bench.gpu.capability) if kernel.executes]
    streams, graph = _STREAMS * _LAUNCHES_OF_STREAM, _NODES * _REPLAYS
    places = ((FFMA, "CUDA cores"), (TENSOR_FP16, "tensor cores"))
    side_by_side, replayed = f"{_STREAMS} concurrent streams", f"CUDA graph, {_REPLAYS} launches"
    return [
        *(_silent(bench, kernel) for kernel in (NOTHING, INTEGER)),
        *(_case(bench, kernel, kernel.title, 1, _once) for kernel in known),
        _link(bench),
        *(_case(bench, kernel, f"{side_by_side}, {where}", streams, _on_streams) for kernel, where in places),
        *(
            _skipped_where_no_graph_is_patched(_case(bench, kernel, f"{replayed}, {where}", graph, _in_graph))
            for kernel, where in places
        ),
    ]


def _skipped_where_no_graph_is_patched(case: Case) -> Case:
    """CUPTI patches no kernel of a graph, whenever it was captured (H200, CUPTI 13.0; docs/evidence)."""

    def judge(row: Row, counts: Counts) -> Row:
        if case.roles == (PATCHED_ROLE,) and not any(counts.of_kind(CUDA_CORE).values()):
            return row.skipped(
                "CUPTI patches no kernel of a CUDA graph: what they execute on CUDA cores is not counted"
            )
        return case.judge(row, counts)

    return replace(case, judge=judge)


def _case(bench: Bench, kernel: KnownKernel, name: str, times: int, prepare: Prepare) -> Case:
    """Of one kernel, launched so many times by what ``prepare`` gives."""
    flops = times * sum(kernel.flops.values())
    row = Row(name, ", ".join(sorted(kernel.flops)), flops, flops, bench.binary is not None)
    if kernel.uses_tensor_cores:
        return on_tensor_cores(bench, row, lambda: prepare(bench, kernel))
    return Case(
        row,
        (PATCHED_ROLE,),
        lambda: prepare(bench, kernel),
        lambda row, counts: _of_cuda_cores(row, kernel, times, counts),
    )


def _silent(bench: Bench, kernel: KnownKernel) -> Case:
    row = Row(kernel.title, "all", 0, 0, bench.binary is not None)
    return Case(
        row,
        (*TENSOR_ROLES, PATCHED_ROLE),
        lambda: _once(bench, kernel),
        lambda row, counts: row.judged(counts.flops(FLOATING, CUDA_CORE)),
    )


def _of_cuda_cores(row: Row, kernel: KnownKernel, times: int, counts: Counts) -> Row:
    """Each instruction by itself must be right: two errors that add up to nothing are still two."""
    found = {metric: count for metric, count in counts.of_kind(CUDA_CORE).items() if count}
    expected = {metric: times * count for metric, count in kernel.core_counts.items()}
    wrong = [
        f"{metric} {found.get(metric, 0)} instead of {expected.get(metric, 0)}"
        for metric in sorted(found.keys() | expected.keys())
        if found.get(metric, 0) != expected.get(metric, 0)
    ]
    return row.judged(counts.flops(CUDA_CORE), f"counted {'; '.join(wrong)}" if wrong else None)


def on_tensor_cores(bench: Bench, row: Row, prepare: Callable[[], Work]) -> Case:
    """Of one precision: all of the tensor cores' operations must be counted under it, and none elsewhere."""

    def prepared() -> Work:
        if row.precision not in bench.counters.tensor_precisions():
            raise NotCounted(f"CUPTI has no counter for {row.precision} operations of this chip's tensor cores")
        return prepare()

    return Case(row, TENSOR_ROLES, prepared, _of_tensor_cores)


def _of_tensor_cores(row: Row, counts: Counts) -> Row:
    elsewhere = counts.elsewhere(row.precision)
    told = ", ".join(f"{count} as {precision}" for precision, count in elsewhere.items())
    return row.judged(counts.flops(FLOATING), f"counted {told}" if elsewhere else None)


def _link(bench: Bench) -> Case:
    """Patched windows are extended to all cycles by the instructions that both kinds of window count."""
    length = bench.binary and bench.binary.lengths[FFMA.name]
    threads = BLOCKS * THREADS
    low, high = (length.least * threads, length.most * threads) if length else (0, 0)
    row = Row("instructions, in patched and hardware windows", "", low, high, length is not None, "instructions")

    def prepare() -> Work:
        if length is None:
            raise NothingToCount("how many instructions there are is known of proved machine code only")
        return _once(bench, FFMA)

    def judge(row: Row, counts: Counts) -> Row:
        instructions = counts.of_kind(INSTRUCTIONS)
        patched = instructions.pop(_PATCHED)
        (hardware,) = instructions.values()
        apart = None if row.low <= patched <= row.high else f"patched code counted {patched}"
        return row.judged(hardware, apart)

    return Case(row, (PATCHED_ROLE, "link"), prepare, judge)


def _once(bench: Bench, kernel: KnownKernel) -> Work:
    kernels = bench.kernels
    kernels.launch(kernel.name)  # what is loaded at the first launch is not part of a window
    return lambda: kernels.launch(kernel.name)


def _on_streams(bench: Bench, kernel: KnownKernel) -> Work:
    kernels = bench.kernels
    kernels.launch(kernel.name)
    streams = [bench.gpu.stream() for _ in range(_STREAMS)]

    def work() -> None:
        for _ in range(_LAUNCHES_OF_STREAM):
            for stream in streams:
                kernels.launch(kernel.name, stream)

    return work


def _in_graph(bench: Bench, kernel: KnownKernel) -> Work:
    kernels = bench.kernels
    kernels.launch(kernel.name)

    def nodes(stream: ctypes.c_void_p) -> None:
        for _ in range(_NODES):
            kernels.launch(kernel.name, stream)

    graph = bench.captured(nodes)

    def work() -> None:
        for _ in range(_REPLAYS):
            bench.gpu.launch_graph(graph)

    return work
