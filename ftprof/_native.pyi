"""Types of the native module; csrc/python/module.cpp defines it."""

from collections.abc import Sequence
from typing import Any

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

def evaluate(chip: str, metrics: Sequence[str], image: bytes, sha256: str, availability: bytes = b"") -> list[int]:
    """The counts of a counter-data image that was recorded on a GPU, by the meter's own code. Needs no GPU.

    ``sha256`` is the image's as it was recorded, ``availability`` the counters that the GPU had (empty: all).
    Raises ``CuptiError``, also for other bytes than the recorded ones: CUPTI itself would crash on them.
    """

class DeviceChip:
    """A GPU, and CUPTI's name of its chip; empty where ``failure`` says why it is not known."""

    @property
    def uuid(self) -> str: ...
    @property
    def chip(self) -> str: ...
    @property
    def failure(self) -> CuptiError | None: ...

def device_chips() -> list[DeviceChip]:
    """Every GPU that the CUDA driver shows this process. Starts the driver, but no context. Raises ``CuptiError``.

    A broken driver may never answer, or crash: call it in a process of its own.
    """

def catalogue() -> list[Metric]:
    """The metric catalogue in order of priority."""

def find_metric(name: str) -> Metric | None:
    """The row of a metric, also where the name has a rollup or is a _realtime twin."""

class CudaContext:
    """A CUDA context of this process. ``device`` is an ordinal; ``primary``: it is that device's primary one."""

    @property
    def handle(self) -> int: ...
    @property
    def device(self) -> int: ...
    @property
    def primary(self) -> bool: ...

def cuda_contexts() -> list[CudaContext]:
    """The calling thread's current context first, then the other active primary ones.

    Empty where no CUDA driver is mapped or nobody has initialised it. Starts nothing. Raises ``CuptiError``.
    """

def driver_version() -> str:
    """The newest CUDA that the mapped driver can do, such as ``13.0``."""

class Settling:
    """Waits, on a thread of its own, until the GPU has done what was launched into these contexts."""

    def __init__(self, contexts: Sequence[CudaContext]) -> None: ...
    def done(self, patience_s: float) -> bool:
        """False where that took longer."""

class Findings:
    """What a meter found since it was last asked, in the form of a journal's lines."""

    @property
    def context(self) -> dict[str, Any]: ...
    @property
    def strata(self) -> list[dict[str, Any]]: ...
    @property
    def gaps(self) -> list[dict[str, Any]]: ...

class ContextMeter:
    """Counts on one context, on a thread of its own, from construction until it is stopped.

    ``slots_us`` are the first and the longest slot, in microseconds, for tests; ``cuda_core`` asks for windows of
    patched code. Raises ``CuptiError``; what goes wrong later is a gap. In a forked child it does nothing.
    """

    def __init__(
        self, context: CudaContext, seed: int, slots_us: tuple[int, int] | None = None, cuda_core: bool = False
    ) -> None: ...
    def await_window(self, patience_s: float) -> bool:
        """Wait until a window is open. False where that took too long, or there will be none."""

    def ask_cut(self) -> int | None:
        """Ask for the open window to be closed; ``None`` where none is open, else a ticket."""

    def await_cut(self, ticket: int, patience_s: float) -> bool:
        """Wait until that window is closed. False where that took too long."""

    def take(self) -> Findings: ...
    def stop(self) -> None:
        """Close the open window and count no more, without waiting for it."""

    def ended(self, patience_s: float) -> bool:
        """Wait for the meter's end. False where that took too long."""

    @property
    def lost(self) -> bool:
        """Whether its context was destroyed."""

class ChosenWindows:
    """Windows of chosen groups on one context, opened and closed by this thread, which alone may use it.

    No meter may be on the context meanwhile. Every call raises ``CuptiError``.
    """

    def __init__(self, context: CudaContext) -> None: ...
    @property
    def plan(self) -> dict[str, Any]:
        """The device and its groups, in the form of a journal's line of a context."""

    def begin(self, group: int) -> None:
        """Open a window of a group, by its place in the plan."""

    def end(self) -> list[int]:
        """Close it: the counts, in the order of the group's metrics. What was launched must have ended."""

    def close(self) -> None: ...

def captures_are_announced() -> None:
    """Say that ``capture_begins`` and ``capture_ends`` are called for every stream capture from now on."""

def capturing() -> bool:
    """Whether a stream capture that was announced or heard of is under way."""

def capture_begins() -> None:
    """Returns when no window of patched code is open and CUPTI is not being called, at the latest after two minutes."""

def capture_ends() -> None: ...
def set_clock_zero(zero_us: int) -> None:
    """Say what the time (microseconds since the epoch) was when the machine started. Only the first call counts."""

class ScheduleSettings:
    """See csrc/counters/schedule.h; times in microseconds."""

    first_slot_us: int
    longest_slot_us: int
    longest_cuda_core_slot_us: int
    change_us: int
    change_share: int
    slots: int
    strata_of_turn: int
    turns_of_length: int
    other_windows: int
    cuda_core_windows: int
    most_percent: int

class Schedule:
    """Which group each slot counts. ``roles`` are the groups' roles by index."""

    def __init__(self, roles: Sequence[str], settings: ScheduleSettings, seed: int) -> None: ...
    def take(self, count: int) -> list[tuple[int, int, int]]:
        """The next slots: stratum, group, length in microseconds."""

def longest_exact_slot(counts_per_second: float) -> int:
    """In microseconds."""
