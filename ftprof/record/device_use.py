"""How long a run used each GPU, and the energy that the GPU took in that time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftprof.record.fields import parse_count, parse_object, parse_optional_whole, parse_text, parse_whole
from ftprof.record.run_times import Span, groups_at_once, joined_times

if TYPE_CHECKING:
    from ftprof.record.device_window import DeviceTotal


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


def added_uses(parts: Iterable[tuple[Sequence[Span], Iterable[DeviceUse]]]) -> tuple[DeviceUse, ...]:
    """Those of several records, each with the times of its runs: what a GPU did for one after the other adds up.

    Time and energy are the whole GPU's. So runs that had a GPU at the same time, such as ranks that share one, had it
    no longer than their times cover together, and each moment of it is taken to have drawn what all did on average.
    """
    by_device: dict[tuple[str, int | None], list[tuple[Sequence[Span], tuple[Sequence[Span], DeviceUse]]]] = {}
    for times, uses in parts:
        for use in uses:
            by_device.setdefault((use.uuid, use.gpu_instance), []).append((times, (times, use)))
    return tuple(_added([_at_once(group) for group in groups_at_once(uses)]) for uses in by_device.values())


def _at_once(uses: Sequence[tuple[Sequence[Span], DeviceUse]]) -> DeviceUse:
    """One use of those whose times overlap."""
    one = _added([use for _, use in uses])
    if len(uses) == 1 or not one.time_us:
        return one
    covered = joined_times(span for times, _ in uses for span in times)
    covered_us = sum(end_us - begin_us for begin_us, end_us in covered)
    time_us = min(one.time_us, max(covered_us, *(use.time_us for _, use in uses)))
    energy_mj = None if one.energy_mj is None else one.energy_mj * time_us // one.time_us
    return replace(one, time_us=time_us, energy_mj=energy_mj)


def _added(uses: Sequence[DeviceUse]) -> DeviceUse:
    energies = [use.energy_mj for use in uses if use.energy_mj is not None]
    energy_mj = sum(energies) if len(energies) == len(uses) else None
    return replace(uses[0], time_us=sum(use.time_us for use in uses), energy_mj=energy_mj)
