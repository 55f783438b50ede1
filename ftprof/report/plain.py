"""Text out of a record, made harmless before it is put into a file that people open."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_LONGEST_COMMAND = 1000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """One line of printable characters.

    Line ends and tabs become spaces. Control characters, marks that turn the direction of writing, invisible characters
    and halves of surrogate pairs (which no file can hold) are shown as a replacement character.
    """
    spaced = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").replace("\t", " ")
    return "".join(character if character.isprintable() else REPLACEMENT for character in spaced)


def command_text(command: Sequence[str]) -> str:
    """A command as a shell would take it, in one line; the end of a very long one is left out."""
    text = plain(shlex.join(command))
    return text if len(text) <= _LONGEST_COMMAND else f"{text[:_LONGEST_COMMAND]} ... (in full in the record)"
