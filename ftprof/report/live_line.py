"""The live line: the terminal's last row, kept out of the way of what the command prints."""

from __future__ import annotations

import os
import sys

_SAVE, _RESTORE, _CLEAR_ROW = "\0337", "\0338", "\033[2K"


def wants_live_line() -> bool:
    """Whether standard error is a terminal that understands cursor movement."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class LiveLine:
    """One row at the bottom of the terminal; the command's output scrolls above it.

    The command shares the terminal, so the row is taken out of the scrolling region and the cursor is put back
    after each change.
    """

    def __init__(self) -> None:
        self._rows = 0

    def show(self, text: str) -> None:
        """Show ``text``, cut to the terminal's width. The first call takes the row."""
        columns, rows = self._size()
        if rows < 3:
            return
        if rows != self._rows:
            # A new line first, since the region's end may be where the cursor is.
            self._write(f"\n{_SAVE}\033[1;{rows - 1}r{_RESTORE}\033[1A")
            self._rows = rows
        self._write(f"{_SAVE}\033[{rows};1H{_CLEAR_ROW}{text[: columns - 1]}{_RESTORE}")

    def remove(self) -> None:
        """Give the row back. Safe to call at any time; ``show`` takes it anew."""
        if self._rows:
            self._write(f"{_SAVE}\033[r\033[{self._rows};1H{_CLEAR_ROW}{_RESTORE}")
            self._rows = 0

    @staticmethod
    def _size() -> tuple[int, int]:
        try:
            return os.get_terminal_size(sys.stderr.fileno())
        except OSError:
            return (80, 0)

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            pass  # the terminal has gone; the command goes on without it
