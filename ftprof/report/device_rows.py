"""What each device did and took, from whichever part of a record tells it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ftprof.record.estimate_rows import FLOATING
from ftprof.record.record import COUNTER_METHODS, Record


@dataclass(frozen=True)
class DeviceRow:
    """A device. ``flops`` is None where the method does not tell devices apart or did not count this one."""

    label: str
    name: str
    flops: int | None = None
    time_us: int | None = None
    energy_mj: int | None = None


def device_rows(record: Record) -> tuple[DeviceRow, ...]:
    """GPUs by UUID; other devices, and GPUs whose UUID is not known, by the name that the framework gives them.

    The same framework name on several hosts is one row then. The largest come first.
    """
    rows: dict[str, DeviceRow] = {}
    for use in record.devices:
        key = _key(use.uuid, use.gpu_instance)
        rows[key] = DeviceRow(key, use.name, None, use.time_us, use.energy_mj)
    names = _names(record)
    for label, flops in _flops(record).items():
        row = rows.get(label) or DeviceRow(label, names.get(label, ""))
        rows[label] = replace(row, flops=flops)
    return tuple(sorted(rows.values(), key=lambda row: (-(row.flops or 0), -(row.time_us or 0), row.label)))


def _flops(record: Record) -> dict[str, int]:
    sums: dict[str, int] = {}
    if record.method in COUNTER_METHODS:
        for row in record.estimates:
            if row.kind in FLOATING:
                sums[row.uuid] = sums.get(row.uuid, 0) + row.flops
        return sums
    if record.method == "analytic":
        return record.by_device
    for check in record.cross_checks:
        device = check["device"]
        if check["method"] == record.method and device is not None and check["flops"] is not None:
            key = _key(str(device.get("uuid") or device["name"]), device.get("gpu_instance"))
            sums[key] = sums.get(key, 0) + int(check["flops"])
    return sums


def _names(record: Record) -> dict[str, str]:
    """What a device is called, by its UUID and by the framework's name for it."""
    names: dict[str, str] = {}
    for process in record.processes:
        for device in process.devices:
            for key in (device.get("uuid"), device.get("device")):
                if key and device.get("name"):
                    names.setdefault(str(key), str(device["name"]))
    return names


def _key(uuid: str, gpu_instance: object) -> str:
    return uuid if gpu_instance is None else f"{uuid}, GPU instance {gpu_instance}"
