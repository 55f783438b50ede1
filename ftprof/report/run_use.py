"""How long a record's runs took, and what their GPUs used: the times and energies that every report shows."""

from __future__ import annotations

from dataclasses import dataclass

from ftprof.record.record import Record, RunInfo


@dataclass(frozen=True)
class DeviceType:
    """GPUs of one name. ``time_us`` is their time added; ``energy_mj`` is of those that told it, ``silent`` did not."""

    name: str
    count: int
    instances: int
    time_us: int
    energy_mj: int
    silent: int


@dataclass(frozen=True)
class RunUse:
    """Times in microseconds. ``wall_us`` is None where the end of a run is not known.

    ``hosts`` are pairs of a host and its number of processes, the most first.
    """

    began_us: int | None
    ended_us: int | None
    wall_us: int | None
    types: tuple[DeviceType, ...]
    hosts: tuple[tuple[str, int], ...]

    @property
    def device_us(self) -> int:
        """The time of all GPUs, added."""
        return sum(kind.time_us for kind in self.types)

    @property
    def devices(self) -> int:
        """How many GPUs, or parts of divided ones, there were."""
        return sum(kind.count for kind in self.types)

    @property
    def energy_mj(self) -> int | None:
        """The energy of all GPUs in millijoules; None where there is none, or one of them did not tell."""
        if not self.types or any(kind.silent for kind in self.types):
            return None
        return sum(kind.energy_mj for kind in self.types)


def run_use(record: Record) -> RunUse:
    """From a record's runs, devices and processes."""
    ended = [run.ended_us for run in record.runs]
    known = [end for end in ended if end is not None]
    complete_end = max(known) if known and len(known) == len(ended) else None
    return RunUse(
        began_us=min((run.began_us for run in record.runs), default=None),
        ended_us=complete_end,
        wall_us=_wall(record.runs),
        types=_types(record),
        hosts=_hosts(record),
    )


def _wall(runs: tuple[RunInfo, ...]) -> int | None:
    """The time in which any of them ran: nodes of one run overlap, resumed runs follow each other."""
    total, reached = 0, 0
    for run in sorted(runs, key=lambda run: run.began_us):
        if run.ended_us is None:
            return None
        total += max(run.ended_us - max(run.began_us, reached), 0)
        reached = max(reached, run.ended_us)
    return total if runs else None


def _types(record: Record) -> tuple[DeviceType, ...]:
    by_name: dict[str, list[tuple[bool, int, int | None]]] = {}
    for use in record.devices:
        by_name.setdefault(use.name, []).append((use.gpu_instance is not None, use.time_us, use.energy_mj))
    types = [
        DeviceType(
            name=name,
            count=len(uses),
            instances=sum(instance for instance, _, _ in uses),
            time_us=sum(time for _, time, _ in uses),
            energy_mj=sum(energy for _, _, energy in uses if energy is not None),
            silent=sum(1 for _, _, energy in uses if energy is None),
        )
        for name, uses in by_name.items()
    ]
    return tuple(sorted(types, key=lambda kind: (-kind.time_us, kind.name)))


def _hosts(record: Record) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {run.host: 0 for run in record.runs}
    for process in record.processes:
        counts[process.identity.host] = counts.get(process.identity.host, 0) + 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
