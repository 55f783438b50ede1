"""The peak-bound: what a GPU cannot have exceeded in the time in which the run used it."""

from __future__ import annotations

from ftprof.measure.nvml import GpuInfo
from ftprof.record.device_window import Device, DeviceWindow, Estimate


def devices_of(gpu: GpuInfo) -> list[Device]:
    """The devices that a run's processes can use of a GPU: itself, or, where it is divided, its GPU instances.

    Compute instances of one GPU instance are one device: activity is sampled for the GPU instance.
    """
    if not gpu.mig:
        return [_device(gpu, None, gpu.multiprocessors)]
    sizes: dict[int, list[int | None]] = {}
    for instance in gpu.instances:
        sizes.setdefault(instance.gpu_instance, []).append(instance.multiprocessors)
    return [_device(gpu, number, _sum(parts)) for number, parts in sorted(sizes.items())]


def peak_bound_window(device: Device, begin_us: int, end_us: int) -> DeviceWindow:
    """At least nothing, at most all that the device could do at its highest clock."""
    high = device.bound_over(begin_us, end_us)
    note = "" if high is not None else f"{device.name}: nothing bounds it, {_unknown(device)}"
    return DeviceWindow("peak-bound", device, begin_us, end_us, Estimate(0, high, high), note=note)


def _unknown(device: Device) -> str:
    if device.capability is None:
        return "NVML does not say its compute capability"
    if device.clock_khz is None:
        return "NVML does not say its highest SM clock"
    if device.multiprocessors is None:
        return f"its number of SMs is not known (compute capability {device.capability})"
    return f"ftprof has no published peak for compute capability {device.capability}"


def _device(gpu: GpuInfo, gpu_instance: int | None, multiprocessors: int | None) -> Device:
    instances = tuple(i.uuid for i in gpu.instances if i.gpu_instance == gpu_instance)
    return Device(gpu.uuid, gpu_instance, gpu.name, gpu.capability, multiprocessors, gpu.max_sm_clock_khz, instances)


def _sum(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
