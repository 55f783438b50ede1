"""``ftprof.phase()``: says what part of a training the code inside it is."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ContextDecorator
from types import TracebackType
from typing import Any

from ftprof.record.journal import PHASES


class Phase(ContextDecorator, AbstractContextManager["Phase"]):
    """A context manager, and a decorator. The innermost phase holds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Phase:
        for hook in _hooks():
            hook.phases.enter(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in _hooks():
            hook.phases.leave(self._name)


def phase(name: str) -> Phase:
    """Count what the block does as one phase: ``train``, ``recompute``, ``evaluate``, ``generate``, ``auxiliary``.

    It holds for the thread that enters it, and where that is the main thread, for every thread that has entered no
    phase itself. Without a count around it (``ftprof wrap`` or ``ftprof.count()``) it does nothing. Raises
    ``ValueError`` for any other name.
    """
    if name not in PHASES:
        raise ValueError(f"no phase {name!r}; choose from {', '.join(PHASES)}")
    return Phase(name)


def _hooks() -> list[Any]:
    """The modules that count operators in this process: the one that ``ftprof wrap`` put here, and our own."""
    names = ("_ftprof_hook", "ftprof.measure.analytic.hook")
    return [sys.modules[name] for name in names if name in sys.modules]
