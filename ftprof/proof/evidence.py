"""All that is at hand when a record is verified, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftprof.proof.subjects import Subject

if TYPE_CHECKING:
    from ftprof.proof.keys import PublicKey


@dataclass(frozen=True)
class GivenFile:
    """An adapter's or checkpoint's files, as they were named: ``prefix`` begins the names of a folder's."""

    prefix: str | None
    subjects: tuple[Subject, ...]


@dataclass(frozen=True)
class Evidence:
    """A record, and what was given beside it. Names are those of files, for places."""

    record: bytes
    record_name: str
    envelope: bytes | None = None
    envelope_name: str = ""
    public_key: PublicKey | None = None
    journals: Mapping[str, bytes] | None = None
    folder: Path = Path()
    files: tuple[GivenFile, ...] = ()
