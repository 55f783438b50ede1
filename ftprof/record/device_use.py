"""How long a run used each GPU, and the energy that the GPU took in that time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftprof.record.fields import parse_count, parse_object, parse_optional_whole, parse_text, parse_whole

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


def added_uses(uses: Iterable[DeviceUse]) -> tuple[DeviceUse, ...]:
    """Those of several runs: the times of a GPU add up."""
    sums: dict[tuple[str, int | None], DeviceUse] = {}
    for use in uses:
        before = sums.get((use.uuid, use.gpu_instance))
        if before is not None:
            energies = before.energy_mj, use.energy_mj
            known = None if None in energies else sum(e for e in energies if e is not None)
            use = DeviceUse(use.uuid, use.gpu_instance, use.name, before.time_us + use.time_us, known)
        sums[use.uuid, use.gpu_instance] = use
    return tuple(sums.values())
