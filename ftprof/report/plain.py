"""Text out of a record, made harmless before it is put into a file that people open."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """One line of printable characters.

    Line ends and tabs become spaces. Control characters, marks that turn the direction of writing, invisible characters
    and halves of surrogate pairs (which no file can hold) are shown as a replacement character.
    """
    spaced = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").replace("\t", " ")
    return "".join(character if character.isprintable() else REPLACEMENT for character in spaced)
