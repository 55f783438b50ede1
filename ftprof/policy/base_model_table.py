"""Tables of base models' training compute: CSV files, the one that ships with ftprof and those of users."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy.derivation import KINDS, SIX_PD, STATED, Derivation, times_apart
from ftprof.policy.estimates import six_pd
from ftprof.policy.model_name import Key, name_key
from ftprof.quantity import parse_base_compute, shown, two_figures

COLUMNS = ("model", "aliases", "params", "tokens", "flops", "kind", "confidence", "source")
NEEDED = ("model", "source")
UNPUBLISHED = "unpublished"
CONFIDENCES = ("high", "medium", "low", "unknown")

_SHIPPED = Path(__file__).parent / "data" / "base_models.csv"


@dataclass(frozen=True)
class BaseModel:
    """A model of a table. ``derivations`` is empty where its compute is unpublished, which ``unpublished`` says why.

    ``file`` is the user's file that it comes from, or None where it ships with ftprof.
    """

    name: str
    aliases: tuple[str, ...]
    derivations: tuple[Derivation, ...]
    unpublished: str | None = None
    file: str | None = None

    @property
    def lowest(self) -> Derivation | None:
        """The derivation with the smallest figure, or None where there is none."""
        return min(self.derivations, key=lambda derivation: derivation.flops, default=None)

    @property
    def highest(self) -> Derivation | None:
        """The derivation with the largest figure, or None where there is none."""
        return max(self.derivations, key=lambda derivation: derivation.flops, default=None)

    def describe(self) -> str:
        """The figures with their kinds, confidence and sources, how far they are apart, and whose they are."""
        whose = "from ftprof's table" if self.file is None else f"the user's own, from {self.file}"
        low, high = self.lowest, self.highest
        if low is None or high is None:
            return f"{self.name}: a known model whose training compute is unpublished ({self.unpublished}); {whose}"
        figures = " or ".join(
            f"{two_figures(d.flops)} FLOP ({d.kind}; confidence {d.confidence}; {d.source})" for d in self.derivations
        )
        apart = times_apart(low.flops, high.flops)
        beyond = f"; {apart}, more than the Guidelines' 30 % margin of error" if apart else ""
        return f"{self.name}: {figures}{beyond}; {whose}"


def load_base_models() -> tuple[BaseModel, ...]:
    """The models of the table that ships with ftprof. Raises FtprofError where it cannot be read."""
    try:
        return _read(_SHIPPED, str(_SHIPPED), None)
    except FtprofError as error:
        raise FtprofError(f"base-model table {error.message}; reinstall ftprof") from error


def read_own_models(path: str, what: str) -> tuple[BaseModel, ...]:
    """The models of a user's file. ``what`` is the option or variable that named it.

    Raises UsageProblem, which names the file, the line and the column, where it cannot be read.
    """
    return _read(Path(path), f"{what} {path}", path)


@dataclass(frozen=True)
class _Line:
    """One line of a table, every field stripped, and where it stands."""

    fields: Mapping[str, str]
    where: str

    def column(self, name: str) -> str:
        """Where one field stands, for an error."""
        return f"{self.where}, column {name}:"

    def quantity(self, name: str) -> Fraction | None:
        text = self.fields.get(name)
        return parse_base_compute(text, self.column(name)) if text else None


def _read(path: Path, where: str, file: str | None) -> tuple[BaseModel, ...]:
    models: dict[str, BaseModel] = {}
    spellings: dict[Key, str] = {}
    for line in _lines(path, where):
        model = _model(line, file)
        for column, spelling in (("model", model.name), *(("aliases", alias) for alias in model.aliases)):
            _claim(spellings, spelling, model.name, line.column(column))
        models[model.name] = _joined(models.get(model.name), model)
    return tuple(models.values())


def _claim(spellings: dict[Key, str], spelling: str, name: str, where: str) -> None:
    key = name_key(spelling)
    if not key:
        raise UsageProblem(f"{where} {shown(spelling)} is no name that --base-model takes")
    owner = spellings.setdefault(key, name)
    if owner != name:
        raise UsageProblem(f"{where} {shown(spelling)} cannot be told from a name of {shown(owner)}; name them apart")


def _lines(path: Path, where: str) -> Iterator[_Line]:
    number = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as table:
            rows = csv.reader(table, strict=True)
            heading = [name.strip() for name in next(rows, [])]
            _check_heading(heading, f"{where}, line 1")
            for row in rows:
                number = rows.line_num
                if row:
                    yield _line(heading, row, f"{where}, line {number}")
    except csv.Error as error:
        raise UsageProblem(f"{where}, line {number + 1}: no CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{where}: is not UTF-8 text; save it as such") from error
    except OSError as error:
        raise UsageProblem(f"{where}: cannot be read ({error.strerror})") from error


def _check_heading(heading: list[str], where: str) -> None:
    columns = f"a table's columns are {','.join(COLUMNS)}, of which it needs {' and '.join(NEEDED)}"
    for name in NEEDED:
        if name not in heading:
            raise UsageProblem(f"{where}, column {name}: is missing; {columns}")
    for name in heading:
        if name not in COLUMNS or heading.count(name) > 1:
            fault = "is twice" if name in COLUMNS else "is not known"
            raise UsageProblem(f"{where}, column {shown(name)}: {fault}; {columns}")


def _line(heading: list[str], row: list[str], where: str) -> _Line:
    if len(row) != len(heading):
        raise UsageProblem(f"{where}: has {len(row)} columns, and the heading {len(heading)}; quote text with commas")
    line = _Line({name: field.strip() for name, field in zip(heading, row, strict=True)}, where)
    for name, field in line.fields.items():
        if not field.isprintable():
            raise UsageProblem(f"{line.column(name)} {shown(field)} has characters that cannot be shown")
        if not field and name in NEEDED:
            raise UsageProblem(f"{line.column(name)} is empty; every line needs {' and '.join(NEEDED)}")
    return line


def _model(line: _Line, file: str | None) -> BaseModel:
    """The model that one line describes, with the one derivation that it gives, if any."""
    params, tokens, flops = (line.quantity(name) for name in ("params", "tokens", "flops"))
    kind = _one_of(line, "kind", (*KINDS, UNPUBLISHED))
    confidence = _one_of(line, "confidence", CONFIDENCES) or "not stated"
    source = line.fields["source"]
    derivations: tuple[Derivation, ...] = ()
    if flops is not None:
        if kind == UNPUBLISHED:
            raise UsageProblem(f"{line.column('kind')} says unpublished, and column flops has a figure")
        derivations = (Derivation(flops, kind or STATED, confidence, source, params, tokens),)
    elif params is not None and tokens is not None and kind in ("", SIX_PD, UNPUBLISHED):
        derivations = (six_pd(params, tokens, confidence, source),)
    elif kind != UNPUBLISHED:
        raise UsageProblem(
            f"{line.column('flops')} is empty; give a figure, or params and tokens for 6PD, or kind {UNPUBLISHED}"
        )
    aliases = tuple(alias.strip() for alias in line.fields.get("aliases", "").split("|") if alias.strip())
    return BaseModel(line.fields["model"], aliases, derivations, None if derivations else source, file)


def _joined(before: BaseModel | None, model: BaseModel) -> BaseModel:
    """One model of several lines: their derivations, or what is unpublished by one source and not by another."""
    if before is None:
        return model
    derivations = before.derivations + model.derivations
    unpublished = None if derivations else f"{before.unpublished}; {model.unpublished}"
    aliases = tuple(dict.fromkeys(before.aliases + model.aliases))
    return BaseModel(model.name, aliases, derivations, unpublished, model.file)


def _one_of(line: _Line, column: str, allowed: tuple[str, ...]) -> str:
    text = line.fields.get(column, "")
    if text and text not in allowed:
        raise UsageProblem(f"{line.column(column)} {shown(text)} is none of {', '.join(allowed)}")
    return text
