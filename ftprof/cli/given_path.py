"""A path on the command line. An empty one is a variable of the shell that is not set, and never the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ftprof.errors import UsageProblem


class GivenPath(click.Path):
    """As ``click.Path``, and gives a ``Path``; raises ``UsageProblem`` for an empty one.

    Whether it can be read shows when it is read: a file that cannot is no wrong usage.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            name = param.make_metavar(ctx) if param is not None and ctx is not None else "a path"
            raise UsageProblem(f"{name.strip('[]')} is empty; is a variable of the shell not set?")
        return super().convert(value, param, ctx)


def refuse_no_file_name(given: str) -> None:
    """Raise ``UsageProblem`` for an ``-o`` that is no file's name: ``-``, or a folder's."""
    if given == "-":
        raise UsageProblem("-o is a file's name, and '-' (stdout) is none")
    if given.endswith("/") and not Path(given).is_dir():
        raise UsageProblem(f"-o is a file's name, and {given} is a folder's")
