"""Files that the kernel and its modules make up as they are read."""

from __future__ import annotations

from pathlib import Path


def read_field(path: Path, name: str) -> str | None:
    """What stands behind ``name`` at a line's begin; ``None`` where there is nothing."""
    for line in read_text(path).splitlines():
        if line.startswith(name):
            return line[len(name) :].strip() or None
    return None


def read_text(path: Path) -> str:
    """Empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
