#!/usr/bin/env python3
"""Writes docs/measured.md and docs/measured.svg from the evidence of GPUs, so that no figure is typed by hand.

python scripts/measured_page.py           # writes both; needs matplotlib (pip install '.[lint]')
python scripts/measured_page.py --check   # fails where either is of other evidence
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
PAGE, PICTURE = DOCS / "measured.md", DOCS / "measured.svg"
NOT_YET = "not yet measured"
_PRODUCT = re.compile(r"([a-z0-9]+) (\d+), floating-point operations")
_DATA = re.compile(r"<!-- data: ([0-9a-f]{64}) -->")

PRODUCTS = ("bf16 1024", "bf16 4096", "bf16 8192", "fp16 4096", "tf32 4096", "fp8 4096", "fp64 2048",
            "bf16 1000", "bf16 4097", "fp16 1000")  # fmt: skip
RATIOS = (  # what is shown, and the figure that has counted / asked for
    ("a thousand mixed kernels in one window", "a thousand mixed kernels in one range: counted / asked for"),
    ("a CUDA graph captured before the window", "graph captured before the window: counted / asked for"),
    ("a CUDA graph captured inside it", "graph captured inside the window: counted / asked for"),
    ("FlashAttention, forward, against the full square", "FlashAttention, full, forward: counted / full square"),
    ("FlashAttention, both ways, against the full square", "FlashAttention, full, both ways: counted / full square"),
    ("causal, forward, against the full square", "FlashAttention, causal, forward: counted / full square"),
    ("causal, both ways, against the full square", "FlashAttention, causal, both ways: counted / full square"),
)
COUNTS = (  # what is shown, and the figure whose wish is the exact number
    ("two linear layers under torch.compile", "two linear layers, torch.compile"),
    ("a product written in Triton, bf16 2048", "Triton product, bf16 2048"),
    ("cupy RawKernel, multiply-adds of threads", "cupy RawKernel: multiply-adds of threads"),
)
FINE_TUNES = {
    "full": "all weights",
    "full-checkpointed": "all weights, checkpointing",
    "lora": "LoRA",
    "lora-checkpointed": "LoRA, checkpointing",
}
FINE_TUNE_COLUMNS = ("gpm", "analytic", "formula", "upper bound")
TRAININGS = tuple((mode, shape) for mode in ("eager", "compile", "graphs") for shape in ("large", "small"))
TOOLS = (  # a column, and the figure that has with / bare
    ("`ftprof wrap`", "overhead of ftprof wrap: {}, wrapped / bare"),
    ("`ftprof wrap`, two minutes", "two minutes: {}, wrapped / bare"),
    ("its slots as shipped", "{}, as shipped: metered / bare"),
    ("slots of 1 s, no longer shipped", "{}, slots of 1 s: metered / bare"),
    ("slots of 0.1 s, never shipped", "{}, slots of 0.1 s: metered / bare"),
    ("CUDA-core windows", "{}: with ftprof's meter with CUDA-core windows / bare"),
    ("torch.profiler", "{}: with torch.profiler / bare"),
    ("FlopCounterMode", "{}: with FlopCounterMode / bare"),
    ("Nsight Compute", "{}: with Nsight Compute / bare"),
)
_ABOUT = (
    "Written by `scripts/measured_page.py` from [evidence](evidence) of [`scripts/gpu_check`](gpu-check.md).",
    "What has no figure is not yet measured. Times are medians of paired blocks, least to most in brackets;",
    "*wanted* is what the figure had to be. A product of N by N by N asks for 2N³ operations; what is executed",
    "beyond that is padding of its tiles.",
)
Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """One GPU's file."""

    conditions: Mapping[str, Any]
    figures: Mapping[str, Figure]
    experiments: Mapping[str, Mapping[str, Any]]

    def figure(self, name: str) -> Figure | None:
        """By name, if it was measured."""
        return self.figures.get(name)

    def row(self, experiment: str) -> Mapping[str, Any] | None:
        """The fact ``row`` of an experiment, if there is one."""
        found: Mapping[str, Any] | None = self.experiments.get(experiment, {}).get("facts", {}).get("row")
        return found


def files() -> list[Path]:
    """The evidence of each GPU."""
    return sorted((DOCS / "evidence").glob("gpu-*.json"))


def read(path: Path) -> Evidence:
    """One of them. Raises ``ValueError`` where it is a rehearsal's: that says nothing of hardware."""
    data = json.loads(path.read_text())
    if data["conditions"].get("rehearsal"):
        raise ValueError(f"{path.name}: a rehearsal on stand-ins is no evidence")
    return Evidence(data["conditions"], data["figures"], data["experiments"])


def spread(figure: Figure | None, form: str = "{:.4g}") -> str:
    """Median, and least to most where there were several rounds."""
    if figure is None:
        return NOT_YET
    median = form.format(figure["median"])
    if figure["rounds"] < 2 or figure["min"] == figure["max"]:
        return median
    return f"{median} ({form.format(figure['min'])} to {form.format(figure['max'])})"


def asked(name: str) -> int:
    """Operations of a product such as ``bf16 4096``: 2MNK."""
    return 2 * int(name.partition(" ")[2]) ** 3


def kernel_rows(evidence: Evidence) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, asked for, counted, the ratio of both, and what was wanted."""
    for name in PRODUCTS:
        figure = evidence.figure(f"{name}, floating-point operations")
        ratio = f"{figure['median'] / asked(name):.6g}" if figure else NOT_YET
        wanted = figure["wanted"] if figure else ""
        yield f"product, {name}", f"{asked(name):,}", spread(figure, "{:,}"), ratio, wanted
    for shown, name in RATIOS:
        figure = evidence.figure(name)
        yield shown, "", "", spread(figure, "{:.6g}"), (figure or {}).get("wanted") or ""
    for shown, name in COUNTS:
        figure = evidence.figure(name)
        yield shown, "", spread(figure, "{:,}"), "", (figure or {}).get("wanted") or ""
    step = evidence.figure("training step, tensor cores: windows / Nsight Compute, difference")
    ratio = f"{1 + step['median']:.6g}" if step else NOT_YET
    yield "training step, tensor cores, against Nsight Compute", "", "", ratio, step["wanted"] if step else ""


def fine_tune_rows(evidence: Evidence) -> Iterator[Sequence[str]]:
    """Name, the exact figure and whose it is, ftprof with its interval, and the others: each as a difference."""
    for name, shown in FINE_TUNES.items():
        row = evidence.row(f"accuracy/{name}")
        if row is None:
            yield shown, NOT_YET, *[""] * (2 + len(FINE_TUNE_COLUMNS))
            continue
        exact = row["exact"]
        high = "open" if row["high"] is None else _difference(row["high"], exact)
        ours = f"{_difference(row['ftprof'], exact)} ({_difference(row['low'], exact)} to {high})"
        others = (_difference(row[column], exact) for column in FINE_TUNE_COLUMNS)
        yield shown, f"{exact:,}", f"{row['exact_by']}, {row['steps']} steps", ours, *others


def _difference(value: int | None, exact: int) -> str:
    return "no figure" if value is None else f"{100 * (value - exact) / exact:+.3g} %"


def overhead_rows(evidence: Evidence) -> Iterator[Sequence[str]]:
    """A training, and its time with each tool over its bare time."""
    for mode, shape in TRAININGS:
        name = f"{mode}, {shape}"
        yield f"{mode}, {shape} kernels", *(spread(evidence.figure(form.format(name))) for _, form in TOOLS)


def overhead_notes(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What must be said beside what the meter costs."""
    for name, result in evidence.experiments.items():
        if name.partition("/")[0] == "shipped":
            yield from ((f"`{name}`", note) for note in result.get("notes", ()))


def safety_rows(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Each claim of the safety stage and of tests/gpu, and whether it held."""
    for name, figure in evidence.figures.items():
        stage = figure["experiment"].partition("/")[0]
        if stage in ("safety", "endurance", "tests", "neighbours") and figure["ok"] is not None:
            yield name, "yes" if figure["ok"] else "**no**"


def not_yet(evidence: Evidence) -> Iterator[str]:
    """Experiments of gpu_check that this evidence has not."""
    sys.path.insert(0, str(HERE))
    from gpu_checks.stages import STAGES

    for stage in STAGES:
        lacks = [e.name for e in stage.experiments if f"{stage.name}/{e.name}" not in evidence.experiments]
        if lacks:
            yield f"`{stage.name}`: {', '.join(lacks)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], otherwise: str) -> list[str]:
    """As Markdown has it; a sentence where there is no row."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *body, ""] if body else [otherwise, ""]


def section(evidence: Evidence) -> list[str]:
    """All of one GPU."""
    about = evidence.conditions
    where = f"driver {about['driver']}, CUPTI {about['cupti']}, torch {about['torch']}, {about['system']}"
    lines = [f"## {about['gpu']}", "", f"Conditions: {where}; {about['processor']}; {about['date']}.", ""]
    lines += ["### Accuracy: kernels", ""]
    lines += table(("work", "asked for", "counted", "counted / asked", "wanted"), kernel_rows(evidence), NOT_YET)
    lines += ["### Accuracy: fine-tunes of a Llama of the 1 B class", ""]
    heads = ("fine-tune", "exact, FLOP", "by", "ftprof (its interval)", "GPM", "analytic", "AWS formula", "AWS bound")
    lines += table(heads, fine_tune_rows(evidence), NOT_YET)
    lines += ["### Overhead: time with each tool over bare time", ""]
    lines += table(("training", *(tool for tool, _ in TOOLS)), overhead_rows(evidence), NOT_YET)
    lines += [*(f"- {name}: {note}" for name, note in overhead_notes(evidence)), ""]
    lines += ["### Safety", "", *table(("claim", "holds"), safety_rows(evidence), f"All of it: {NOT_YET}.")]
    if missing := [f"- {line}" for line in not_yet(evidence)]:
        lines += [f"### {NOT_YET.capitalize()}", "", "Stages of `scripts/gpu_check`:", "", *missing, ""]
    return lines


def page(every: Sequence[Evidence]) -> str:
    """docs/measured.md."""
    lines = ["# What was measured on a GPU", "", *_ABOUT, "", f"![Accuracy and overhead]({PICTURE.name})", ""]
    for evidence in every:
        lines += section(evidence)
    return "\n".join(lines).rstrip() + "\n"


def bars(evidence: Evidence) -> tuple[list[tuple[str, Figure]], list[tuple[str, Figure]]]:
    """What the picture shows: of each kind of work counted / asked for; of each training with / bare."""
    work = []
    for name in PRODUCTS:
        figure = evidence.figure(f"{name}, floating-point operations")
        if figure:
            work.append((name, {key: figure[key] / asked(name) for key in ("median", "min", "max")}))
    work += [(shown, figure) for shown, name in RATIOS if (figure := evidence.figure(name))]
    trainings = [(f"{mode}, {shape}: {tool.strip('`')}", figure) for mode, shape in TRAININGS for tool, form in TOOLS
                 if (figure := evidence.figure(form.format(f"{mode}, {shape}")))]  # fmt: skip
    return work, trainings


def draw(every: Sequence[Evidence], digest: str) -> None:
    """docs/measured.svg: two panels for each GPU, points with their spread."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = digest
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(every), 2, figsize=(13, 5.6 * len(every)), squeeze=False, layout="constrained")
    for row, evidence in zip(panels, every, strict=True):
        gpu = evidence.conditions["gpu"]
        titles = (f"{gpu}: counted / asked for", f"{gpu}: step time with / bare")
        for axes, points, title in zip(row, bars(evidence), titles, strict=True):
            _points(axes, points, title)
    figure.savefig(PICTURE, metadata={"Date": None, "Creator": None})
    PICTURE.write_text(PICTURE.read_text().rstrip() + f"\n<!-- data: {digest} -->\n")


def _points(axes: Any, points: Sequence[tuple[str, Figure]], title: str) -> None:
    places = range(len(points), 0, -1)
    for place, (_, figure) in zip(places, points, strict=True):
        below, above = figure["median"] - figure["min"], figure["max"] - figure["median"]
        axes.errorbar(figure["median"], place, xerr=[[below], [above]], fmt="o", color="#1a5a8a", capsize=3)
    axes.axvline(1, color="#888", linewidth=1)
    axes.set_yticks(list(places), [name for name, _ in points])
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)


def digest_of(every: Sequence[Evidence]) -> str:
    """Of all that the picture shows."""
    return hashlib.sha256(json.dumps([bars(evidence) for evidence in every]).encode()).hexdigest()


def main() -> None:
    every = [read(path) for path in files()]
    text, digest = page(every), digest_of(every)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
        draw(every, digest)
        return
    drawn = _DATA.search(PICTURE.read_text()) if PICTURE.exists() else None
    if not PAGE.exists() or PAGE.read_text() != text or drawn is None or drawn[1] != digest:
        sys.exit("docs/measured.md, measured.svg: they are not of docs/evidence; run scripts/measured_page.py")


if __name__ == "__main__":
    main()
