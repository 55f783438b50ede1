"""What a whole GPU can have done in a while: the ``device-window`` lines of a run's journal, and their sums.

These figures belong to a device, not to a process: however many processes and journals speak of a GPU, each moment of
it is taken once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

from ftprof.record.fields import parse_count, parse_list, parse_text, parse_whole
from ftprof.record.peaks import peak_flops_per_second

METHODS = ("peak-bound", "gpm")


def bare_uuid(uuid: str) -> str:
    """Without the prefix: the driver writes that of a divided GPU's instance as if it were a GPU's."""
    return uuid.removeprefix("GPU-").removeprefix("MIG-")


@dataclass(frozen=True)
class Device:
    """A GPU, or a GPU instance of a divided one. ``clock_khz`` is its highest SM clock; ``None`` is unknown.

    ``instances`` are the UUIDs of what CUDA sees of a divided GPU's instance: its compute instances.
    """

    uuid: str
    gpu_instance: int | None
    name: str
    capability: str | None
    multiprocessors: int | None
    clock_khz: int | None
    instances: tuple[str, ...] = ()

    def is_one_of(self, uuids: Iterable[str]) -> bool:
        """Whether one of these, as CUDA tells them, is its own or an instance's."""
        mine = {bare_uuid(uuid) for uuid in self.instances or (self.uuid,)}
        return not mine.isdisjoint(map(bare_uuid, uuids))

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from every other device; sorts."""
        return self.uuid, -1 if self.gpu_instance is None else self.gpu_instance

    def bound_over(self, begin_us: int, end_us: int) -> int | None:
        """The most that it can have done in this time, in operations; ``None`` where nothing is known to bound it."""
        rate = peak_flops_per_second(self.capability, self.multiprocessors, self.clock_khz)
        return None if rate is None else ceil(Fraction(rate * max(end_us - begin_us, 0), 1_000_000))

    def to_json(self) -> dict[str, Any]:
        """As the journal's schema has it."""
        return {
            "uuid": self.uuid,
            "gpu_instance": self.gpu_instance,
            "name": self.name,
            "capability": self.capability,
            "multiprocessors": self.multiprocessors,
            "clock_khz": self.clock_khz,
            **({"instances": list(self.instances)} if self.instances else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Device:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        capability = data["capability"]
        return cls(
            uuid=parse_text(data["uuid"]),
            gpu_instance=_optional_whole(data["gpu_instance"]),
            name=parse_text(data["name"]),
            capability=None if capability is None else parse_text(capability),
            multiprocessors=_optional_whole(data["multiprocessors"]),
            clock_khz=_optional_whole(data["clock_khz"]),
            instances=tuple(parse_text(uuid) for uuid in parse_list(data.get("instances", []))),
        )


@dataclass(frozen=True)
class Estimate:
    """Operations between ``low`` and ``high``; ``flops`` is the best figure. ``None``: nothing bounds them."""

    low: int
    flops: int | None
    high: int | None

    def __post_init__(self) -> None:
        if self.low > (self.low if self.flops is None else self.flops):
            raise ValueError("low is above flops")
        if self.high is not None and self.high < (self.low if self.flops is None else self.flops):
            raise ValueError("high is below flops")

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.low + other.low, _sum(self.flops, other.flops), _sum(self.high, other.high))

    def share(self, part: Fraction) -> Estimate:
        """What falls into a part of the time, as if the rate had been the same throughout."""
        flops = None if self.flops is None else floor(self.flops * part)
        high = None if self.high is None else ceil(self.high * part)
        return Estimate(floor(self.low * part), flops, high)

    def to_json(self) -> dict[str, Any]:
        """As the journal's schema has it: counts are decimal strings."""
        return {"low": str(self.low), "flops": _optional_text(self.flops), "high": _optional_text(self.high)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        """Raises ``KeyError`` or ``ValueError`` where the form is not the schema's."""
        flops, high = data["flops"], data["high"]
        return cls(
            parse_count(data["low"]),
            None if flops is None else parse_count(flops),
            None if high is None else parse_count(high),
        )


NOTHING = Estimate(0, 0, 0)


@dataclass(frozen=True)
class DeviceWindow:
    """What one method says of a device between two moments (microseconds since the epoch).

    ``classes`` splits the estimate by kind of unit, where the method can. ``unmeasured_us`` is time of the window that
    the method did not see; ``high`` holds the most that can have been done in it. ``note`` is empty or one sentence.
    ``energy_mj`` is what the whole GPU took in it, in millijoules, where NVML says that.
    """

    method: str
    device: Device
    begin_us: int
    end_us: int
    estimate: Estimate
    classes: dict[str, Estimate] = field(default_factory=dict)
    unmeasured_us: int = 0
    note: str = ""
    energy_mj: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of a ``device-window`` line, but for ``kind`` and the chain."""
        return {
            "method": self.method,
            "device": self.device.to_json(),
            "begin_us": self.begin_us,
            "end_us": self.end_us,
            **self.estimate.to_json(),
            "classes": [{"class": name, **part.to_json()} for name, part in sorted(self.classes.items())],
            "unmeasured_us": self.unmeasured_us,
            "note": self.note,
            "energy_mj": _optional_text(self.energy_mj),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DeviceWindow:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        if data["method"] not in METHODS:
            raise ValueError(f"{data['method']!r:.40} is no method of a device")
        window = cls(
            method=data["method"],
            device=Device.from_json(data["device"]),
            begin_us=parse_whole(data["begin_us"]),
            end_us=parse_whole(data["end_us"]),
            estimate=Estimate.from_json(data),
            classes={parse_text(row["class"]): Estimate.from_json(row) for row in parse_list(data["classes"])},
            unmeasured_us=parse_whole(data["unmeasured_us"]),
            note=parse_text(data["note"]),
            energy_mj=None if data.get("energy_mj") is None else parse_count(data["energy_mj"]),
        )
        if window.end_us < window.begin_us:
            raise ValueError("a device window ends before it begins")
        return window

    def after(self, moment_us: int) -> DeviceWindow | None:
        """The part of it that lies after a moment, or ``None``."""
        if moment_us <= self.begin_us:
            return self
        if moment_us >= self.end_us:
            return None
        part = Fraction(self.end_us - moment_us, self.end_us - self.begin_us)
        return replace(
            self,
            begin_us=moment_us,
            estimate=self._estimate_after(self.estimate, moment_us),
            classes={name: self._estimate_after(one, moment_us) for name, one in self.classes.items()},
            unmeasured_us=floor(self.unmeasured_us * part),
            energy_mj=None if self.energy_mj is None else floor(self.energy_mj * part),
        )

    def _estimate_after(self, estimate: Estimate, moment_us: int) -> Estimate:
        """What of it falls behind a moment. A bound grows with time; when a GPU was active in a window is not known.

        So all of its activity may lie on either side, up to what the GPU can do there.
        """
        share = estimate.share(Fraction(self.end_us - moment_us, self.end_us - self.begin_us))
        if self.method == "peak-bound":
            return share
        before = self.device.bound_over(self.begin_us, moment_us)
        behind = self.device.bound_over(moment_us, self.end_us)
        low = 0 if before is None else max(estimate.low - before, 0)
        high = estimate.high if estimate.high is None or behind is None else min(estimate.high, behind)
        flops = share.flops
        if flops is not None:
            flops = max(flops, low)
            high = None if high is None else max(high, flops)
        return Estimate(low, flops, high)


@dataclass
class DeviceTotal:
    """All of one method's windows of one device, each moment taken once. Times in microseconds."""

    method: str
    device: Device
    begin_us: int
    end_us: int
    time_us: int = 0
    unmeasured_us: int = 0
    estimate: Estimate = NOTHING
    classes: dict[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    energy_mj: int | None = 0

    def add(self, window: DeviceWindow) -> None:
        """Take what this window says of the time after all that was taken before it."""
        part = window.after(self.end_us)
        if window.note and window.note not in self.notes:
            self.notes += (window.note,)
        if part is None:
            return
        self.end_us = part.end_us
        self.time_us += part.end_us - part.begin_us
        self.unmeasured_us += part.unmeasured_us
        self.estimate += part.estimate
        self.energy_mj = _sum(self.energy_mj, part.energy_mj)
        for name, estimate in part.classes.items():
            self.classes[name] = self.classes.get(name, NOTHING) + estimate


def device_totals(windows: Iterable[DeviceWindow]) -> list[DeviceTotal]:
    """One total for each method and device, in the order of methods and devices."""
    totals: dict[tuple[int, tuple[str, int]], DeviceTotal] = {}
    for window in sorted(windows, key=lambda window: (window.begin_us, window.end_us)):
        key = METHODS.index(window.method), window.device.key
        if key not in totals:
            totals[key] = DeviceTotal(window.method, window.device, window.begin_us, window.begin_us)
        totals[key].add(window)
    return [totals[key] for key in sorted(totals)]


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _optional_text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _optional_whole(value: Any) -> int | None:
    return None if value is None else parse_whole(value)
