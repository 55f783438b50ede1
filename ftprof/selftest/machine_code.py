"""The binaries of the known kernels that ship, each proved by ``scripts/prove_selftest.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.selftest.known_kernels import KERNELS


@dataclass(frozen=True)
class Length:
    """How many instructions a thread executes of a kernel: some may or may not count for each thread."""

    least: int
    most: int


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture, as it was proved."""

    architecture: str
    capability: tuple[int, int]
    sha256: str
    source_sha256: str
    code: bytes
    lengths: Mapping[str, Length]


def binary_for(capability: tuple[int, int], folder: Path = KERNELS) -> Binary | None:
    """The newest binary that a chip of this compute capability executes, or ``None`` where none ships for it.

    Machine code runs on the chips of its own major capability, from its minor one on. Raises ``UntrustedInput`` where
    a file is not the one that was proved.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        fitting = [row for row in manifest["binaries"] if _fits(_capability(row), capability)]
        if not fitting:
            return None
        return _read(max(fitting, key=_capability), manifest["source"]["sha256"], folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UntrustedInput(
            f"{folder}: the self-test's kernels cannot be read ({error!r}); reinstall ftprof"
        ) from error


def _capability(row: Mapping[str, Any]) -> tuple[int, int]:
    major, minor = row["capability"].split(".")
    return int(major), int(minor)


def _fits(code: tuple[int, int], chip: tuple[int, int]) -> bool:
    return code[0] == chip[0] and code[1] <= chip[1]


def _read(row: Mapping[str, Any], source_sha256: str, folder: Path) -> Binary:
    path = folder / row["file"]
    code = path.read_bytes()
    if hashlib.sha256(code).hexdigest() != row["sha256"]:
        raise UntrustedInput(f"{path} is not the binary that was proved; reinstall ftprof")
    lengths = {name: Length(kernel["least"], kernel["instructions"]) for name, kernel in row["kernels"].items()}
    return Binary(row["architecture"], _capability(row), row["sha256"], source_sha256, code, lengths)
