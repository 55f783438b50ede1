#!/usr/bin/env python3
"""Draws docs/house.svg: the folders as rooms, and who uses whom, measured from the code's own imports and includes.

python scripts/house_picture.py           # draws it
python scripts/house_picture.py --check   # fails where the picture is an old one, or an arrow runs against the house
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PICTURE = HERE / "docs" / "house.svg"


@dataclass(frozen=True)
class Room:
    """A folder, or the package's own files (``ftprof``), with what it is for."""

    name: str
    purpose: str


# From the door at the top to the foundations: a room may use rooms of floors below its own, and no other.
FLOORS: tuple[dict[int, Room], ...] = (  # by the place on its floor, from the left
    {0: Room("cli", "one file a subcommand"), 2: Room("integrations", "callbacks of training libraries")},
    {2: Room("ftprof", "count(), phase()")},
    {
        0: Room("proof", "sign and verify"),
        1: Room("report", "text, HTML, Markdown, forms"),
        2: Room("selftest", "proves the counters"),
    },
    {1: Room("estimate", "before a GPU is rented")},
    {0: Room("policy", "thresholds, scenarios, verdicts"), 2: Room("measure", "one file a method")},
    {0: Room("record", "journals, intervals, the record")},
    {1: Room("python", "the module ftprof._native"), 2: Room("inject", "libftprof_inject.so, no Python")},
    {1: Room("counters", "catalogue, plan, windows, meter")},
    {1: Room("cupti", "CUPTI and driver, RAII"), 2: Room("journal", "hash-chained writer")},
)
NATIVE = ("python", "inject", "counters", "cupti", "journal")
_SHARED = ("errors", "quantity", "__version__")  # leaves that every room may use
_WIDTH, _ROOM, _HEIGHT, _FLOOR = 860, 250, 50, 92


def arrows() -> set[tuple[str, str]]:
    """Which room uses which."""
    return {arrow for arrow in (*_imports(), *_includes()) if arrow[0] != arrow[1]}


def against_the_house(found: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Arrows that do not lead to a floor below, and rooms that the house does not have."""
    floor = {room.name: number for number, rooms in enumerate(FLOORS) for room in rooms.values()}
    return sorted(
        (user, used) for user, used in found if user not in floor or used not in floor or floor[user] >= floor[used]
    )


def _imports() -> Iterator[tuple[str, str]]:
    for path in sorted((HERE / "ftprof").rglob("*.py")):
        user = _room(path.relative_to(HERE / "ftprof").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for module in _modules(node):
                parts = module.split(".")
                if parts[0] != "ftprof" or (len(parts) > 1 and parts[1] in _SHARED):
                    continue
                used = "python" if parts[1:2] == ["_native"] else _room((*parts[1:], "module"))
                yield user, used
    yield "measure", "inject"  # by the path of a shared library: CUDA_INJECTION64_PATH


def _room(parts: tuple[str, ...]) -> str:
    if parts == ("__main__.py",):
        return "cli"
    return parts[0] if len(parts) > 1 and (HERE / "ftprof" / parts[0]).is_dir() else "ftprof"


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        return [f"ftprof.{name.name}" for name in node.names] if node.module == "ftprof" else [node.module]
    return []


def _includes() -> Iterator[tuple[str, str]]:
    for path in sorted((HERE / "csrc").rglob("*")):
        user = path.relative_to(HERE / "csrc").parts[0]
        if path.suffix in (".cpp", ".h") and user != "testing":
            for used in re.findall(r'#include "(\w+)/', path.read_text(encoding="utf-8")):
                yield user, used


def without_shortcuts(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Only the arrows that no longer way implies: what is left is easier to see."""
    reach: dict[str, set[str]] = {}
    for rooms in reversed(FLOORS):
        for room in rooms.values():
            nexts = {used for user, used in found if user == room.name}
            reach[room.name] = nexts.union(*(reach.get(used, set()) for used in nexts))
    return {
        (user, used)
        for user, used in found
        if not any(used in reach.get(other, set()) for start, other in found if start == user and other != used)
    }


def picture(found: set[tuple[str, str]]) -> str:
    """SVG, readable on a light and on a dark page."""
    place = {
        room.name: (20 + number * (_WIDTH - _ROOM - 40) // 2, 50 + floor * _FLOOR)
        for floor, rooms in enumerate(FLOORS)
        for number, room in rooms.items()
    }
    height = 50 + len(FLOORS) * _FLOOR
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" role="img">',
        "<title>The house of ftprof: which folder uses which</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#66717e"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    wall = min(place[name][1] for name in NATIVE) - (_FLOOR - _HEIGHT) / 2
    parts += _wall(wall)
    parts += [_arrow(place[user], place[used]) for user, used in sorted(without_shortcuts(found))]
    for rooms in FLOORS:
        for room in rooms.values():
            parts += _drawn(room, *place[room.name])
    parts.append(f'<text x="20" y="28" font-size="13" fill="#66717e">{escape(_CAPTION)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


_CAPTION = "An arrow: uses. Arrows that others imply are left out. report and policy use nothing that knows CUPTI."


def _wall(y: float) -> list[str]:
    said = ("Above: Python. Below: native code,", "which knows no policy, no threshold", "and no verdict.")
    lines = "".join(f'<tspan x="20" dy="18">{line}</tspan>' for line in said)
    return [
        f'<path d="M20 {y} H{_WIDTH - 20}" stroke="#b3261e" stroke-width="2" stroke-dasharray="7 5"/>',
        f'<text y="{y + 6}" font-size="12" fill="#b3261e">{lines}</text>',
    ]


def _arrow(user: tuple[int, int], used: tuple[int, int]) -> str:
    lean = 0.22 * (used[0] - user[0])
    x1, x2 = user[0] + _ROOM / 2 + lean, used[0] + _ROOM / 2 - lean
    y1, y2 = user[1] + _HEIGHT, used[1]
    way = f"M{x1:.0f} {y1} C{x1:.0f} {y1 + 40} {x2:.0f} {y2 - 40} {x2:.0f} {y2}"
    return f'<path d="{way}" fill="none" stroke="#66717e" stroke-width="1.4" marker-end="url(#tip)"/>'


def _drawn(room: Room, x: int, y: int) -> list[str]:
    folder = (
        f"csrc/{room.name}" if room.name in NATIVE else "ftprof" if room.name == "ftprof" else f"ftprof/{room.name}"
    )
    purpose = escape(room.purpose)
    fill = "#fdf3e1" if room.name in NATIVE else "#e6f0fa"
    return [
        f'<rect x="{x}" y="{y}" width="{_ROOM}" height="{_HEIGHT}" rx="7" fill="{fill}" stroke="#3b4753"/>',
        f'<g transform="translate({x + _ROOM // 2} {y})" text-anchor="middle">',
        f'<text y="21" font-size="15" font-weight="bold">{folder}</text>',
        f'<text y="39" font-size="12" fill="#3b4753">{purpose}</text></g>',
    ]


def main() -> None:
    found = arrows()
    if wrong := against_the_house(found):
        sys.exit("against the house: " + ", ".join(f"{user} uses {used}" for user, used in wrong))
    drawn = picture(found)
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn)
    elif not PICTURE.exists() or PICTURE.read_text() != drawn:
        sys.exit("docs/house.svg is not that of the code; run scripts/house_picture.py")


if __name__ == "__main__":
    main()
