"""Matrix products of every precision against 2MNK: in single windows, and under ``ftprof wrap``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, Number, Wanted, at_most, between, exactly
from gpu_checks.gpu import product, size, torch_on_gpu
from gpu_checks.probe import Bench
from gpu_checks.wrapped import Counters, program, wrap

ALIGNED = (
    ("bf16", 1024),
    ("bf16", 4096),
    ("bf16", 8192),
    ("fp16", 4096),
    ("tf32", 4096),
    ("fp8", 4096),
    ("fp64", 2048),
)
UNALIGNED = (("bf16", 1000), ("bf16", 4097), ("fp16", 1000))
WIDE = ((3840, 3840), (7680, 512), (15360, 256))
TILE = (256, 256, 128)  # no kernel of cuBLAS for these chips is known to pad further
APART = ("floating", "integer")


def padded(edge: int) -> int:
    """The operations of a square product whose sides were padded to whole tiles."""
    m, n, k = (-(-edge // tile) * tile for tile in TILE)
    return 2 * m * n * k


def precisions(findings: Findings) -> None:
    """Every case in windows of every group: the sums over the groups are the operations."""
    bench = Bench()
    torch = torch_on_gpu()
    integers = torch.arange(1 << 16, device="cuda")
    cases = {"nothing": (lambda: None, exactly(0)), "integer kernels": (lambda: integers.mul(3).cumsum(0), exactly(0))}
    for dtype, edge in (*ALIGNED, *UNALIGNED):
        work, operations = product(size(edge), dtype)
        aligned = (dtype, edge) in ALIGNED
        wanted = exactly(operations) if aligned else between(operations, padded(size(edge)))
        cases[f"{dtype} {edge}"] = (work, wanted)
    int8, int8_operations = product(size(4096), "int8")
    cases["int8 4096"] = (int8, exactly(0))
    sums, seen = _count_all(findings, bench, {name: work for name, (work, _) in cases.items()}, recorded="tf32 4096")
    for name, (_, wanted) in cases.items():
        findings.figure(f"{name}, floating-point operations", sums["floating"][name], "FLOP", wanted)
    findings.figure("int8 4096, integer operations", sums["integer"]["int8 4096"], "", exactly(int8_operations))
    findings.fact("by metric", {name: dict(metrics) for name, metrics in seen.items()})


def wide(findings: Findings) -> None:
    """Products whose sides are whole numbers of every tile, and of a cluster of two of them; not very deep."""
    bench = Bench()
    shapes = [(size(edge), size(depth)) for edge, depth in WIDE]
    cases = {
        f"{dtype} {edge} x {edge} x {depth}": product(edge, dtype, depth=depth)
        for dtype in ("bf16", "fp16", "tf32", "fp8", "fp64")
        for edge, depth in shapes
    }
    sums, _ = _count_all(findings, bench, {name: work for name, (work, _) in cases.items()})
    for name, (_, operations) in cases.items():
        ratios = [count / operations for count in sums["floating"][name]]
        findings.figure(f"wide products: {name}, counted / asked for", ratios, "", exactly(1.0))


def _count_all(
    findings: Findings, bench: Bench, cases: dict[str, Callable[[], object]], recorded: str | None = None
) -> tuple[dict[str, dict[str, list[Number]]], dict[str, dict[str, int]]]:
    """Sums over all groups by kind, case and round; and by case what each metric counted last."""
    times = place.rounds(3)
    sums: dict[str, dict[str, list[Number]]] = {kind: {name: [0] * times for name in cases} for kind in APART}
    seen: dict[str, dict[str, int]] = defaultdict(dict)
    failed: set[str] = set()
    for metrics in bench.metrics("base", "rotating", "integer"):
        with bench.window(metrics) as window:
            for name, work in cases.items():
                if name in failed:
                    continue
                try:
                    work()
                    rows = [window.count(work) for _ in range(times)]
                except RuntimeError as error:
                    findings.note(f"{name} in {metrics[0]}...: {error}"[:400])
                    failed.add(name)
                    continue
                for position, row in enumerate(rows):
                    for metric, count in row.items():
                        kind = bench.kind(metric)
                        if kind in sums:
                            sums[kind][name][position] += count
                            if count:
                                seen[name][metric] = count
                if name == recorded and any(metric in seen[name] for metric in metrics):
                    bench.save(findings, "rotating", window, rows[-1])
    for name in failed:
        for kind in APART:
            sums[kind][name] = []
    return sums, seen


def wrapped(findings: Findings) -> None:
    """All precisions at once inside windows of their own, with ftprof's own schedule, for as long as a stratum."""
    run = wrap(program("gemms", "--seconds", place.seconds(24), "--edge", size(1024)), timeout_s=180)
    result = run.result
    findings.claim("the program ended as it should", run.code == 0, run.err[-300:])
    findings.claim("counting began", result["counted"], "; ".join(run.reasons()))
    context = run.contexts[0]
    counts = _by_metric(context, result["windows"])
    operations = result["operations"]
    by_precision: dict[str, int] = {}
    for metric, values in sorted(counts.items()):
        kind = context.kinds[metric]
        if kind not in (*APART, "sparse"):
            continue
        wanted = Wanted(f"always 0, or always {operations:,}", lambda v: len(set(v)) == 1 and v[0] in (0, operations))
        findings.figure(f"wrapped: {metric}", values, "", wanted if kind != "sparse" else None)
        if kind in APART:
            precision = context.precisions[metric]
            by_precision[precision] = by_precision.get(precision, 0) + values[0]
    for precision in ("bf16", "fp16", "tf32", "fp8", "fp64"):
        # None: none of its groups had a window around such a moment.
        found = [by_precision[precision]] if precision in by_precision else []
        findings.figure(f"wrapped: {precision} in one window", found, "FLOP", exactly(operations))
    findings.figure("wrapped: edge between windows", context.edges_ms(), "ms", at_most(50))
    findings.fact("reasons", run.reasons())
    findings.fact("groups seen", {role: _windows_of(context, role) for role in {w.role for w in context.windows}})


def _by_metric(context: Counters, rounds: list[list[int]]) -> dict[str, list[int]]:
    """What each metric counted in the windows that were open around a round."""
    found: dict[str, list[int]] = defaultdict(list)
    for began, ended in rounds:
        window = context.around(began, ended)
        for metric, count in (window.counts if window else {}).items():
            found[metric].append(count)
    return found


def _windows_of(context: Counters, role: str) -> int:
    return sum(window.role == role for window in context.windows)


STAGE = Stage(
    "gemm",
    "products of every precision against 2MNK",
    (
        Experiment("precisions", precisions, 45, "Do aligned products count exactly 2MNK, and integer ones nothing?"),
        Experiment("wide", wide, 25, "And those whose sides are whole numbers of clusters of tiles, too?"),
        Experiment("wrapped", wrapped, 45, "Does ftprof wrap count each of them exactly in its own windows?"),
    ),
)
