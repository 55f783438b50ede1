"""What a statement is about, as in-toto's subjects: a name, and the SHA-256 of a file's bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput, UsageProblem
from ftprof.record.fields import parse_hash, parse_object, parse_text, parse_whole

JOURNALS = "journals/"
"""Put before the names of a run directory's files, so that they meet no other subject's."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Chain:
    """Where a journal's chain of hashes ends: the last line's hash, and how many whole lines there are."""

    head: str
    lines: int


@dataclass(frozen=True)
class Subject:
    """A file. ``chain`` is set for journals."""

    name: str
    sha256: str
    chain: Chain | None = None

    def to_json(self) -> dict[str, Any]:
        """An in-toto ResourceDescriptor."""
        descriptor: dict[str, Any] = {"name": self.name, "digest": {"sha256": self.sha256}}
        if self.chain is not None:
            descriptor["annotations"] = {"chainHead": self.chain.head, "chainLines": self.chain.lines}
        return descriptor

    @classmethod
    def from_json(cls, data: Any) -> Subject:
        """Raises ``KeyError`` or ``ValueError`` where it is not what ``to_json`` writes."""
        chain = None
        if "annotations" in parse_object(data):
            annotations = parse_object(data["annotations"])
            chain = Chain(parse_hash(annotations["chainHead"]), parse_whole(annotations["chainLines"]))
        subject = cls(parse_text(data["name"]), parse_hash(parse_object(data["digest"])["sha256"]), chain)
        if subject.to_json() != data:
            raise ValueError("a field that the form does not have")
        return subject


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_subjects(paths: Iterable[Path]) -> list[Subject]:
    """Of files, and of all files in folders (named ``FOLDER/PATH``), read as streams.

    Raises ``UsageProblem`` for what is neither, for an empty folder, and for two files of one name; ``UntrustedInput``
    where a file cannot be read.
    """
    subjects: dict[str, Subject] = {}
    for path in paths:
        for name, file in _files(path):
            if name in subjects:
                raise UsageProblem(f"--subject: two files are named {name}; give the folder that holds both")
            subjects[name] = Subject(name, _streamed(file))
    return list(subjects.values())


def folder_names(path: Path) -> str | None:
    """What the names of a folder's files begin with; ``None`` for a file."""
    return f"{path.resolve().name}/" if path.is_dir() else None


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
        return
    if not path.is_dir():
        why = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise UsageProblem(f"--subject {path} {why}; give the adapter's or checkpoint's file or folder")
    found = sorted(_inside(path, path.resolve().name))
    if not found:
        raise UsageProblem(f"--subject {path} holds no file; give the adapter's or checkpoint's file or folder")
    yield from found


def _inside(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UntrustedInput(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        inner, path = f"{name}/{entry.name}", folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _inside(path, inner)
        elif entry.is_file():  # through a link, as a cache of models has them
            yield inner, path
        else:
            raise UsageProblem(f"--subject: {path} is neither a file nor a folder; give the files one by one")


def _streamed(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UntrustedInput(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
