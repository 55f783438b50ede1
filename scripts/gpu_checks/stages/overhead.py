"""A training bare and under ``ftprof wrap``, in turn: the ratio of the time of the same steps."""

from __future__ import annotations

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, at_most
from gpu_checks.wrapped import bare, program, wrap

PAIRS = 3
TIMED_S = 21  # two ends of a pass, which come every ten seconds


def _pairs(findings: Findings, shape: str, mode: str, limit: float) -> None:
    cache = str(place.work() / "inductor")

    def command(*more: object) -> list[str]:
        return program("train", "--shape", shape, "--mode", mode, "--warmup", 8, *more)

    first = bare(
        command("--seconds", place.seconds(2)), 240, TORCHINDUCTOR_CACHE_DIR=cache
    ).result  # fills the compiler's cache
    step = sorted(first["step_s"])[len(first["step_s"]) // 2]
    steps = max(8, round(place.seconds(TIMED_S) / step))
    times: dict[str, list[float]] = {"bare": [], "wrapped": []}
    worst: dict[str, list[float]] = {"bare": [], "wrapped": []}
    reasons: set[str] = set()
    for pair in range(place.rounds(PAIRS)):
        order = ("bare", "wrapped") if pair % 2 == 0 else ("wrapped", "bare")
        for which in order:
            arguments = command("--steps", steps)
            start = bare if which == "bare" else wrap
            run = start(arguments, timeout_s=120, TORCHINDUCTOR_CACHE_DIR=cache)
            result = run.result
            times[which].append(result["timed_s"] / result["timed_steps"])
            worst[which].append(max(result["step_s"]))
            reasons |= set() if run.record is None else set(run.reasons())
    name = f"{mode}, {shape}"
    ratios = [w / b for w, b in zip(times["wrapped"], times["bare"], strict=True)]
    findings.figure(f"overhead of ftprof wrap: {name}, wrapped / bare", ratios, "", at_most(limit))
    for which, values in times.items():
        findings.figure(f"step, {name}, {which}", [1e3 * value for value in values], "ms")
        findings.figure(f"slowest quarter of a second's step, {name}, {which}", [1e3 * v for v in worst[which]], "ms")
    findings.fact("steps in a timed part", steps)
    findings.fact("reasons", sorted(reasons))


def eager(findings: Findings) -> None:
    """Large kernels, eager."""
    _pairs(findings, "large", "eager", 1.01)


def compiled(findings: Findings) -> None:
    """Large kernels, torch.compile."""
    _pairs(findings, "large", "compile", 1.01)


def graphs(findings: Findings) -> None:
    """Large kernels, the whole step as a CUDA graph."""
    _pairs(findings, "large", "graphs", 1.01)


def small(findings: Findings) -> None:
    """Tiny kernels, eager: launches are what it waits for."""
    _pairs(findings, "small", "eager", 1.02)


STAGE = Stage(
    "overhead",
    "what ftprof wrap costs a training, paired and in turn",
    (
        Experiment("eager", eager, 205, "Is an eager training at most 1.01 times its bare time?"),
        Experiment("graphs", graphs, 210, "Is one of CUDA graphs?"),
    ),
)
STAGE_SMALL = Stage(
    "overhead-small",
    "the same for a training of tiny kernels",
    (Experiment("small", small, 205, "Is one of tiny kernels at most 1.02 times its bare time?"),),
)
STAGE_COMPILED = Stage(
    "overhead-compile",
    "the same for a compiled training",
    (Experiment("compile", compiled, 235, "Is a compiled training at most 1.01 times its bare time?"),),
)
