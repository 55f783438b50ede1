"""How commands write: what is shown to a person is printable, and a reader that has gone is no error."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from ftprof.errors import FtprofError
from ftprof.quantity import TIMES


def takes(stream: TextIO, text: str) -> bool:
    """Whether the stream's encoding has the text's characters."""
    try:
        text.encode(_encoding(stream))
    except UnicodeEncodeError:
        return False
    return True


def printable(stream: TextIO, text: str) -> str:
    """The text without what a record's strings could send to a terminal, in characters that the stream has."""
    shown = harmless(text)
    if takes(stream, shown):
        return shown
    return shown.replace(TIMES, "x").encode(_encoding(stream), "replace").decode(_encoding(stream))


def harmless(text: str) -> str:
    """The text with question marks for what could move a terminal's cursor, or what no encoding has."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def write_stdout(text: str) -> None:
    """Write the answer to stdout. A reader that has gone is no error: the exit code tells the verdict."""
    try:
        click.echo(text)
    except OSError as error:
        # What is still buffered would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = f"the answer cannot be written to stdout ({error.strerror}); give it room or a pipe"
            raise FtprofError(reason) from error


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "ascii"
