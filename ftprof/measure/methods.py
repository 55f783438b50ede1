"""Which methods can count here. Each method has a file or folder of its own beside this one."""

from __future__ import annotations

METHOD_NAMES = ("auto", "counters", "gpm", "analytic", "peak-bound")


def why_unavailable(method: str) -> str | None:
    """Why a method cannot count in this run, in a few words for the user; ``None`` if it can."""
    if method in ("auto", "analytic"):
        return None
    return f"this version of ftprof has no {method} method yet"


def chosen(method: str) -> str:
    """The method that will count: for ``auto`` the best that works here, which so far is always analytic."""
    return "analytic" if method == "auto" else method
