#!/usr/bin/env python3
"""Writes the table of error codes into docs/messages.md from ftprof's own explanations.

python scripts/messages_page.py           # writes it
python scripts/messages_page.py --check   # fails where the page says otherwise
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ftprof.record.explanation import known_codes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "messages.md"
_PLACE = re.compile(r"(<!-- codes -->\n).*?(<!-- end codes -->)", re.DOTALL)


def table() -> str:
    """Markdown."""
    rows = ["| whose | code | name | meaning | what to do |", "|---|---|---|---|---|"]
    rows += [
        f"| {whose} | {code} | `{name}` | {meaning} | {remedy or 'nothing'} |"
        for whose, code, name, meaning, remedy in known_codes()
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    before = PAGE.read_text()
    after = _PLACE.sub(lambda place: place[1] + table() + place[2], before)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(after)
    elif before != after:
        sys.exit("docs/messages.md: its codes are not those of ftprof; run scripts/messages_page.py")


if __name__ == "__main__":
    main()
