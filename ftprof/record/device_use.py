"""How long a run used each GPU, and the energy that the GPU took in that time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ftprof.record.fields import parse_count, parse_object, parse_optional_whole, parse_text, parse_whole

if TYPE_CHECKING:
    from ftprof.record.device_window import DeviceTotal

Span: TypeAlias = tuple[int, int]  # when a run began and ended, in microseconds since the epoch


@dataclass(frozen=True)
class DeviceUse:
    """A GPU, or a GPU instance of a divided one. ``time_us`` in microseconds, ``energy_mj`` in millijoules.

    The energy is the whole GPU's, whoever else worked on it meanwhile; ``None`` where NVML does not say.
    """

    uuid: str
    gpu_instance: int | None
    name: str
    time_us: int
    energy_mj: int | None

    def to_json(self) -> dict[str, Any]:
        """As the record's schema has it."""
        return {
            "uuid": self.uuid,
            "gpu_instance": self.gpu_instance,
            "name": self.name,
            "time_us": self.time_us,
            "energy_mj": None if self.energy_mj is None else str(self.energy_mj),
        }

    @classmethod
    def from_json(cls, data: Any) -> DeviceUse:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        row = parse_object(data)
        return cls(
            uuid=parse_text(row["uuid"]),
            gpu_instance=parse_optional_whole(row["gpu_instance"]),
            name=parse_text(row["name"]),
            time_us=parse_whole(row["time_us"]),
            energy_mj=None if row["energy_mj"] is None else parse_count(row["energy_mj"]),
        )


def device_uses(totals: Iterable[DeviceTotal]) -> tuple[DeviceUse, ...]:
    """One for each device, from the windows that every GPU in use has: those of the peak-bound."""
    return tuple(
        DeviceUse(t.device.uuid, t.device.gpu_instance, t.device.name, t.time_us, t.energy_mj)
        for t in totals
        if t.method == "peak-bound"
    )


def added_uses(parts: Iterable[tuple[Span | None, Iterable[DeviceUse]]]) -> tuple[DeviceUse, ...]:
    """Those of several runs, each with its time: what a GPU did for one after the other adds up.

    Of runs that had a GPU at the same time, such as ranks that share one, only such are taken as did not overlap: time
    and energy are the whole GPU's. A run of unknown time (``None``) counts as one that had it alone.
    """
    by_device: dict[tuple[str, int | None], list[tuple[Span, DeviceUse]]] = {}
    for span, uses in parts:
        for use in uses:
            by_device.setdefault((use.uuid, use.gpu_instance), []).append((span or (0, 0), use))
    return tuple(_added(_one_at_a_time(uses)) for uses in by_device.values())


def _one_at_a_time(uses: Iterable[tuple[Span, DeviceUse]]) -> list[DeviceUse]:
    """Of uses whose spans overlap, those that do not and have the most time together."""
    rows = sorted(uses, key=lambda one: one[0][1])
    ends = [end_us for (_, end_us), _ in rows]
    best: list[list[DeviceUse]] = [[]]  # of the first so many
    for number, ((begin_us, _), use) in enumerate(rows):
        with_it = [*best[bisect_right(ends, begin_us, hi=number)], use]
        best.append(max(best[-1], with_it, key=_time_us))
    return best[-1]


def _time_us(uses: list[DeviceUse]) -> int:
    return sum(use.time_us for use in uses)


def _added(uses: list[DeviceUse]) -> DeviceUse:
    energies = [use.energy_mj for use in uses if use.energy_mj is not None]
    energy_mj = sum(energies) if len(energies) == len(uses) else None
    return replace(uses[0], time_us=sum(use.time_us for use in uses), energy_mj=energy_mj)
