"""The table of base models' training compute that ships with ftprof, and how a name is found in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ftprof.errors import FtprofError, UsageProblem
from ftprof.quantity import parse_base_compute, shown, two_figures

_TABLE = Path(__file__).parent / "data" / "base_models.csv"
_NAME = re.compile(r"(?:[\w.-]+/)?[\w.: -]+", re.ASCII)
_VARIANT_TOKENS = frozenset({"hf", "instruct", "it", "base", "chat"})
_MOST_SUGGESTIONS = 6

_Key = tuple[str, ...]


@dataclass(frozen=True)
class Derivation:
    """One figure for a model's training compute in FLOP, and its kind: published, 6PD, hardware and so on."""

    flops: Fraction
    kind: str


@dataclass(frozen=True)
class BaseModel:
    """A row of the table. ``derivations`` is empty where the model is known and its compute unpublished."""

    name: str
    aliases: tuple[str, ...]
    derivations: tuple[Derivation, ...]
    confidence: str
    source: str

    @property
    def low(self) -> Fraction | None:
        """The smallest figure for the training compute in FLOP, or None where none is published."""
        return min((derivation.flops for derivation in self.derivations), default=None)

    @property
    def high(self) -> Fraction | None:
        """The largest figure for the training compute in FLOP, or None where none is published."""
        return max((derivation.flops for derivation in self.derivations), default=None)

    def describe(self) -> str:
        """The figures with their kinds, the confidence and the source, for a note beside the verdict."""
        if not self.derivations:
            return f"{self.name}: a known model whose training compute is unpublished ({self.source})"
        figures = " or ".join(f"{two_figures(d.flops)} FLOP ({d.kind})" for d in self.derivations)
        return f"{self.name}: {figures}; confidence {self.confidence}; {self.source}"


def find_base_model(name: str) -> BaseModel:
    """The table's row for a model as people write its name.

    Case, an ``owner/`` prefix, separators and the variant words hf, Instruct, it, Base and chat are ignored.
    A name that fits no row, or only begins one or several, is never guessed: UsageProblem lists what is near.
    """
    models = load_base_models()
    by_key = {_key(spelling): model for model in models for spelling in (model.name, *model.aliases)}
    key = _key(name) if _NAME.fullmatch(name) else ()
    if key in by_key:
        return by_key[key]
    raise UsageProblem(_not_found(name, key, by_key))


def load_base_models() -> tuple[BaseModel, ...]:
    """All rows of the table. Raises FtprofError where it cannot be read."""
    try:
        with _TABLE.open(encoding="utf-8", newline="") as table:
            return tuple(_model(row) for row in csv.DictReader(table))
    except (OSError, ValueError, KeyError, UsageProblem) as error:
        raise FtprofError(f"base-model table {_TABLE} cannot be used ({error}); reinstall ftprof") from error


def _model(row: dict[str, str]) -> BaseModel:
    figures = ((row["flops"], row["kind"]), (row["other_flops"], row["other_kind"]))
    return BaseModel(
        name=row["model"],
        aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
        derivations=tuple(
            Derivation(parse_base_compute(flops, row["model"]), kind) for flops, kind in figures if flops
        ),
        confidence=row["confidence"],
        source=row["source"],
    )


def _key(name: str) -> _Key:
    """What has to agree for two spellings to be one model: words and numbers, so that 3.1-8B is not 3-18B."""
    tokens = re.findall(r"[a-z]+|[0-9]+", name.rpartition("/")[2].lower())
    if tokens[:2] == ["meta", "llama"]:
        tokens = tokens[1:]
    return tuple(token for token in tokens if token not in _VARIANT_TOKENS)


def _not_found(name: str, key: _Key, by_key: dict[_Key, BaseModel]) -> str:
    unknown = "--pretrain-flops gives a model's compute without the table"
    longer = _names(model for known, model in by_key.items() if key and known[: len(key)] == key)
    if len(longer) > 1:
        return f"--base-model {shown(name)} fits several models: {_listed(longer)}; name one of them"
    near = longer or _near(key, by_key)
    if near:
        return f"--base-model {shown(name)} is not in the table; near it: {_listed(near)}; {unknown}"
    return f"--base-model {shown(name)} is not in the table; {unknown}"


def _near(key: _Key, by_key: dict[_Key, BaseModel]) -> list[str]:
    import difflib

    spellings = {"-".join(known): model for known, model in by_key.items()}
    close = difflib.get_close_matches("-".join(key), spellings, n=3, cutoff=0.75)
    return _names(spellings[spelling] for spelling in close)


def _names(models: Iterable[BaseModel]) -> list[str]:
    return list(dict.fromkeys(model.name for model in models))


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_SUGGESTIONS
    return ", ".join(names[:_MOST_SUGGESTIONS]) + (f" and {more} more" if more > 0 else "")
