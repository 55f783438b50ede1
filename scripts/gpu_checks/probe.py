"""The probe on the first device, with the groups of ftprof's own plan for its chip."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from gpu_checks import place
from gpu_checks.findings import Findings, Refused
from gpu_checks.gpu import torch_on_gpu

CALLS = ("configure", "start", "push", "pop", "stop", "decode", "evaluate")
REFUSED = {26, 33, 35, 40, 41, 42, 43, 44, 45}  # CUPTI's codes for counters that nobody may read here


def module() -> Any:
    """The built probe."""
    folder = os.environ.get(place.PROBE)
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("ftprof_probe")


def roots() -> list[tuple[str, str]]:
    """Where CUPTI may lie."""
    from ftprof.measure.cupti_search import search_roots

    standins = os.environ.get(place.STANDINS)
    return [(standins, "stand-in")] if standins else search_roots()


class Bench:
    """The device and its plan. Raises :class:`Refused` where the counters are."""

    def __init__(self) -> None:
        torch_on_gpu()  # it maps its CUPTI first, as in a training
        from ftprof import _native

        self.module = module()
        with self._refusals():
            self.device = self.module.Device(roots())
            self.availability = self.device.availability()
        if self.device.obstacle:
            raise Refused(f"cuptiProfilerDeviceSupported: {self.device.obstacle}")
        _native.load_cupti(roots())
        self._native = _native
        self.groups = _native.plan(self.device.chip).groups
        self.base = list(next(group for group in self.groups if group.role == "base").metrics)

    def metrics(self, *roles: str) -> list[list[str]]:
        """The metrics of each group of these roles."""
        return [list(group.metrics) for group in self.groups if group.role in roles]

    def kind(self, metric: str) -> str:
        """``floating``, ``integer``, ``cuda-core``, ``cycles`` and so on."""
        found = self._native.find_metric(metric)
        return found.kind if found else ""

    def weight(self, metric: str) -> int:
        """Operations for each count."""
        found = self._native.find_metric(metric)
        return found.weight if found else 0

    @contextlib.contextmanager
    def window(self, metrics: Sequence[str], ranges: int = 1) -> Iterator[Window]:
        """A session that counts these metrics; one at a time."""
        with self._refusals():
            session = self.module.Session(self.device, list(metrics), ranges)
        try:
            yield Window(session, list(metrics), self.module.Error)
        finally:
            session.disable()

    def count_all(self, act: Callable[[], object], roles: Sequence[str] = ("base", "rotating")) -> dict[str, int]:
        """What each metric of operations in some groups counts of the same work, which is done once for each group."""
        found: dict[str, int] = {}
        for metrics in self.metrics(*roles):
            with self.window(metrics) as window:
                counts = window.count(act)
            found |= {m: n for m, n in counts.items() if self.kind(m) in ("floating", "integer", "cuda-core")}
        return found

    def save(self, findings: Findings, name: str, window: Window, values: dict[str, int]) -> None:
        """The last decoded image of a window as a fixture."""
        chip = self.device.chip
        content = {
            "chip": chip,
            "device": self.device.name,
            "capability": self.device.capability,
            "cupti": self.device.cupti_version,
            "driver": self.device.driver_version,
            "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
            "rehearsal": place.rehearsal(),
            "metrics": list(values),
            "values": [str(value) for value in values.values()],
        }
        image = window.image()
        findings.fixture(f"{chip.lower()}-{name}", content, image, self.availability)
        findings.claim(f"the recorded image {name} is decoded to its counts", *self._decodes(values, image))

    def _decodes(self, values: dict[str, int], image: bytes) -> tuple[bool, str]:
        """Whether the code that tests without a GPU call gives the same counts here, and if not, what it gives."""
        digest = hashlib.sha256(image).hexdigest()
        try:
            counts = self._native.evaluate(self.device.chip, list(values), image, digest, self.availability)
        except self._native.CuptiError as error:
            return False, str(error)
        return counts == list(values.values()), f"{counts}"

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except self.module.Error as error:
            raise _as_refused(error) from error


def _as_refused(error: Any) -> BaseException:
    """A refusal, where the code is one; else the error itself."""
    if error.code not in REFUSED:
        return RuntimeError(str(error))
    from ftprof.record.explanation import explain

    why = explain(error.call, error.code)
    return Refused(f"{error.call}: error {error.code} {why.reason}; {why.remedy}")


class Window:
    """Windows of one session, and what each of their calls cost."""

    def __init__(self, session: Any, metrics: list[str], error: type[BaseException]) -> None:
        self.session = session
        self.metrics = metrics
        self.error = error
        self.edges: list[dict[str, float]] = []
        self._edge: dict[str, float] = {}
        self._pushed = 0

    def begin(self, configure: bool = True) -> None:
        """Open one; without ``configure`` the image is emptied and the configuration stays."""
        try:
            first = self.session.configure() if configure else self.session.initialize_image()
            self._edge = {"configure": first, "start": self.session.start(), "push": self.session.push()}
        except self.error as error:
            raise _as_refused(error) from error
        self._pushed = 1

    def split(self) -> tuple[float, float]:
        """Pop and push: an edge inside the session. Milliseconds of both."""
        both = self.session.pop(), self.session.push()
        self._pushed += 1
        return both

    def end_all(self) -> list[dict[str, int]]:
        """Close it. Raises ``RuntimeError`` unless all passes were submitted and every range came back."""
        self._edge["pop"] = self.session.pop()
        stopped = self.session.stop()
        decoded = self.session.decode()
        began = time.perf_counter()
        rows = self.session.values()
        self._edge |= {"stop": stopped.ms, "decode": decoded.ms, "evaluate": 1e3 * (time.perf_counter() - began)}
        self.edges.append(self._edge)
        if not stopped.all_passes_submitted or decoded.ranges_dropped or len(rows) != self._pushed:
            raise RuntimeError(
                f"all passes submitted: {stopped.all_passes_submitted}, dropped: {decoded.ranges_dropped}, "
                f"{len(rows)} of {self._pushed} ranges came back"
            )
        return [dict(zip(self.metrics, map(_whole, row), strict=True)) for row in rows]

    def end(self) -> dict[str, int]:
        """Close it: the counts of its one range."""
        return self.end_all()[0]

    def count(self, act: Callable[[], object], configure: bool = True) -> dict[str, int]:
        """What is counted of some work, all of it waited for."""
        torch = torch_on_gpu()
        torch.cuda.synchronize()
        self.begin(configure)
        try:
            act()
            torch.cuda.synchronize()
        finally:
            counts = self.end()
        return counts

    def image(self) -> bytes:
        """The last decoded image."""
        return bytes(self.session.image())


class Rolling(threading.Thread):
    """Opens and closes windows on a thread of its own, as ftprof's meter does."""

    def __init__(self, bench: Bench, window: Window, period_s: float, relaxed: bool = True) -> None:
        super().__init__(daemon=True)
        self._bench, self._window, self._period_s, self._relaxed = bench, window, period_s, relaxed
        self._ended = threading.Event()
        self.windows: list[dict[str, int]] = []
        self.error: str | None = None

    def run(self) -> None:
        """Until finished."""
        try:
            self._bench.device.attach(self._relaxed)
            while not self._ended.is_set():
                self._window.begin()
                self._ended.wait(self._period_s)
                self.windows.append(self._window.end())
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def finish(self) -> None:
        """End it. Raises ``RuntimeError`` with what went wrong in it."""
        self._ended.set()
        self.join(30)
        if self.is_alive():
            raise RuntimeError("the thread that opens windows is stuck")
        if self.error:
            raise RuntimeError(f"after {len(self.windows)} windows: {self.error}")

    def total(self, metric: str) -> int:
        """Of all windows."""
        return sum(window[metric] for window in self.windows)


def _whole(value: float) -> int:
    """A count. Raises ``RuntimeError`` where CUPTI gives no number."""
    if value != value or value in (float("inf"), float("-inf")):
        raise RuntimeError(f"CUPTI gave {value} for a count")
    return round(value)
