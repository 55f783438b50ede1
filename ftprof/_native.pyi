"""Types of the native module; csrc/python/module.cpp defines it."""

from collections.abc import Sequence

class CuptiError(RuntimeError):
    """A failed CUPTI call, or a CUPTI that cannot be used. ``code`` is 0 where no CUPTI function was reached."""

    call: str
    code: int
    name: str
    remedy: str

class LibraryInfo:
    """The loaded CUPTI. ``warning`` is empty or a sentence for the user."""

    @property
    def path(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def api_version(self) -> int: ...
    @property
    def origin(self) -> str: ...
    @property
    def warning(self) -> str: ...

class MetricProperties:
    """What CUPTI says of a metric."""

    @property
    def description(self) -> str: ...
    @property
    def hardware_unit(self) -> str: ...
    @property
    def dimension(self) -> str: ...

class Metric:
    """A row of the metric catalogue. ``weight`` is the operations for each count, 0 for denominators."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def parent(self) -> str: ...

class Group:
    """Metrics that one hardware pass collects together, named with their rollup."""

    @property
    def role(self) -> str: ...
    @property
    def metrics(self) -> list[str]: ...
    @property
    def passes(self) -> int: ...

class Unsupported:
    """A metric of the chip that no single pass can count."""

    @property
    def metric(self) -> str: ...
    @property
    def reason(self) -> str: ...

class Plan:
    """A chip's groups. ``questions`` is how often CUPTI was asked for a number of passes."""

    @property
    def chip(self) -> str: ...
    @property
    def groups(self) -> list[Group]: ...
    @property
    def unsupported(self) -> list[Unsupported]: ...
    @property
    def questions(self) -> int: ...

def load_cupti(search_roots: Sequence[tuple[str, str]]) -> LibraryInfo:
    """Load CUPTI from the first usable root of (path, origin) pairs; once loaded, later calls change nothing."""

def chips() -> list[str]:
    """Every chip that the loaded CUPTI knows."""

def plan(chip: str) -> Plan:
    """The single-pass groups of a chip."""

def base_metrics(chip: str) -> list[str]:
    """Every counter of a chip, thousands of them: for checks, not for start-up."""

def sub_metrics(chip: str, metric: str) -> list[str]:
    """The rollups and submetrics of a metric."""

def properties(chip: str, metric: str) -> MetricProperties | None:
    """What CUPTI says of a metric, or None where the chip has no such metric."""

def passes(chip: str, metrics: Sequence[str]) -> int:
    """How many passes these metrics take together."""

def catalogue() -> list[Metric]:
    """The metric catalogue in order of priority."""

def find_metric(name: str) -> Metric | None:
    """The row of a metric, also where the name has a rollup or is a _realtime twin."""
