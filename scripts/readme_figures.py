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

HERE = Path(__file__).resolve().parent.parent
README = HERE / "README.md"
_PLACE = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- end figures -->)", re.DOTALL)


def table(evidence: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as a Markdown table, with the conditions under which they were measured below it."""
    rows = ["| figure | median | least | most | rounds |", "|---|---|---|---|---|"]
    for name, figure in evidence["figures"].items():
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
        return place[1] + table(evidence) + place[3]

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
