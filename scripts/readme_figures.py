#!/usr/bin/env python3
"""Writes the README's figures from the evidence files, so that none is typed by hand.

python scripts/readme_figures.py           # writes them
python scripts/readme_figures.py --check   # fails where the README says otherwise
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
README = HERE / "README.md"
_PLACE = re.compile(r"(<!-- figures: ([a-z0-9-]+) -->\n).*?(<!-- end figures -->)", re.DOTALL)
# Every figure is in docs/evidence; these are what a reader of the README asks first.
ON_A_GPU = (
    "bf16 4096, floating-point operations",
    "fp8 4096, floating-point operations",
    "fp64 2048, floating-point operations",
    "int8 4096, floating-point operations",
    "bf16 8192, floating-point operations",
    "graph captured before the window: counted / asked for",
    "FlashAttention, full, both ways: counted / full square",
    "FlashAttention, causal, both ways: counted / full square",
    "training step, tensor cores: windows / Nsight Compute, difference",
    "cupy RawKernel: multiply-adds of threads",
    "edge idle: nobody counts",
    "eager, large, as shipped: metered / bare",
    "training step: in a patched window / bare",
    "training step: after all patched windows / bare",
)
NOT_ON_A_CPU = ("processor time",)


def gpu_table(evidence: dict[str, Any]) -> str:
    """What was asked of a GPU's counters, and what they gave."""
    rows = ["| figure | median | least | most | rounds | wanted |", "|---|---|---|---|---|---|"]
    for name in ON_A_GPU:
        figure = evidence["figures"][name]
        values = [_number(figure[key]) for key in ("median", "min", "max")]
        unit = f", {figure['unit']}" if figure["unit"] else ""
        rows.append(f"| {name}{unit} | {' | '.join(values)} | {figure['rounds']} | {figure['wanted'] or ''} |")
    about = evidence["conditions"]
    where = f"{about['gpu']}, driver {about['driver']}, CUPTI {about['cupti']}; {about['processor']}; {about['system']}"
    also = f"Python {about['python']}; torch {about['torch']}; {about['date']}"
    return "\n".join([*rows, "", f"Conditions: {where}; {also}."]) + "\n"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"


def table(evidence: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as a Markdown table, with the conditions under which they were measured below it."""
    rows = ["| figure | median | least | most | rounds |", "|---|---|---|---|---|"]
    for name, figure in evidence["figures"].items():
        if any(words in name for words in NOT_ON_A_CPU):
            continue
        values = " | ".join(f"{figure[key]:.3g}" for key in ("median", "min", "max"))
        rows.append(f"| {name} | {values} | {figure['rounds']:.0f} |")
    conditions = evidence["conditions"]
    where = f"{conditions['processor']}; {conditions['system']}; Python {conditions['python']}"
    also = "".join(f"; {name} {conditions[name]}" for name in ("torch", "load") if name in conditions)
    return "\n".join([*rows, "", f"Conditions: {where}{also}; {conditions['date']}."]) + "\n"


def with_figures(readme: str) -> str:
    """The README with every table made anew from its evidence file."""

    def fill(place: re.Match[str]) -> str:
        evidence = json.loads((HERE / "docs" / "evidence" / f"{place[2]}.json").read_text())
        made = gpu_table(evidence) if evidence["conditions"].get("gpu") else table(evidence)
        return place[1] + made + place[3]

    return _PLACE.sub(fill, readme)


def main() -> None:
    before = README.read_text()
    after = with_figures(before)
    if "--check" not in sys.argv[1:]:
        README.write_text(after)
    elif before != after:
        sys.exit("README.md: its figures are not those of docs/evidence; run scripts/readme_figures.py")


if __name__ == "__main__":
    main()
