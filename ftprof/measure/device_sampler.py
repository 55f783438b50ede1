"""Watches the GPUs that a run uses, once a second from the process that wraps it, with windows for the run's journal.

NVML is called on a thread of its own: a call that hangs (a GPU that fell off the bus) must not keep the wrapping
process from passing signals on. Memory is constant however long the run is.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from ftprof.measure.analytic import hook
from ftprof.measure.gpm import GpmMeter
from ftprof.measure.nvml import ComputeProcess, GpmSample, Gpu, Nvml, NvmlError, OpenNvml, beside
from ftprof.measure.peak_bound import devices_of, peak_bound_window
from ftprof.record.device_window import Device, DeviceWindow

# A window is written when it is this long: at first soon, so that a killed run keeps most of its time.
_FIRST_WINDOW_US = 10_000_000
_LONGEST_WINDOW_US = 600_000_000
_MOST_NOTES = 16
_MOST_USERS = 10_000


class RunMembers(Protocol):
    """Which processes are the run's; ``RunProcesses`` is the real one."""

    def __contains__(self, pid: object) -> bool: ...

    def holds_device_file(self, minor: int) -> bool:
        """Whether one of them has this GPU's device file open."""

    def ids_are_the_drivers(self) -> bool:
        """Whether process ids here are those that the driver tells."""


class DeviceSampler:
    """``tick`` is called about once a second, ``finish`` once the command has ended."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], object],
        members: RunMembers,
        gpm: bool = True,
        open_nvml: OpenNvml = Nvml,
    ) -> None:
        """Begin now. ``write`` gets the content of each ``device-window`` line, from within tick and finish only."""
        self._write = write
        self._results: queue.SimpleQueue[DeviceWindow | str] = queue.SimpleQueue()
        self._moments: queue.Queue[tuple[int, bool]] = queue.Queue(maxsize=1)
        self._notes: list[str] = []
        self._watch = DeviceWatch(hook.now_us(), members, gpm, open_nvml, self._results.put)
        self._thread = beside(self._run)

    def tick(self) -> None:
        """Look at the GPUs, unless the last look has not ended yet. Returns at once."""
        self._collect()
        if self._thread.is_alive() and self._moments.empty():
            self._moments.put((hook.now_us(), False))

    def finish(self, timeout_s: float = 2.0) -> list[str]:
        """Close the windows. Returns what went wrong, each as one sentence; waits ``timeout_s`` at most."""
        deadline = time.monotonic() + timeout_s
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._moments.put((hook.now_us(), True), timeout=timeout_s)
            self._thread.join(max(deadline - time.monotonic(), 0))
        self._collect()
        if self._thread.is_alive():
            self._notes.append("NVML did not answer in time")
            for window in self._watch.unfinished(hook.now_us()):
                self._write(window.to_json())
        return self._notes

    def users(self) -> set[tuple[tuple[str, ...], int]]:
        """After ``finish``: the UUIDs of each GPU and its instances with each process that NVML listed on it."""
        return set() if self._thread.is_alive() else set(self._watch.users)

    def _run(self) -> None:
        try:
            last = not self._watch.open()
            while not last:
                now_us, last = self._moments.get()
                self._watch.look(now_us, last)
        except Exception as error:
            self._results.put(f"the GPUs are watched no longer: {type(error).__name__}: {error}")

    def _collect(self) -> None:
        while not self._results.empty():
            result = self._results.get()
            if isinstance(result, DeviceWindow):
                self._write(result.to_json())
            elif result not in self._notes and len(self._notes) < _MOST_NOTES:
                self._notes.append(result)


class DeviceWatch:
    """What the sampler's thread does. Nothing that NVML answers ends it with an exception.

    ``report`` gets each window that ends, and a sentence for each thing that went wrong.
    """

    def __init__(
        self,
        begun_us: int,
        members: RunMembers,
        gpm: bool,
        open_nvml: OpenNvml,
        report: Callable[[DeviceWindow | str], None],
    ) -> None:
        self._previous_us = begun_us
        self._members = members
        self._gpm = gpm
        self._open_nvml = open_nvml
        self._report = report
        self._nvml: Nvml | None = None
        self._watched: list[tuple[Gpu, list[_Watched]]] = []
        self._ours: set[int] = set()  # the run's processes that the driver listed at the last look
        self._ids_match = False
        # The UUIDs of each GPU and its instances with each process of the run that had it.
        self.users: set[tuple[tuple[str, ...], int]] = set()

    def open(self) -> bool:
        """Find the GPUs. False where there is nothing to watch, which for want of a driver is nothing wrong."""
        try:
            self._nvml = self._open_nvml()
            for gpu in self._nvml.gpus():
                gpm = self._gpm and bool(gpu.info.gpm)
                self._watched.append((gpu, [_Watched(gpu, device, gpm) for device in devices_of(gpu.info)]))
            for _, devices in self._watched:
                for watched in devices:
                    watched.look(self._previous_us, self._previous_us, watched.use, last=False)  # the first samples
        except NvmlError as error:
            if error.code not in (NvmlError.NO_LIBRARY, NvmlError.NO_DRIVER):
                self._report(f"the GPUs cannot be watched: {error}")
            return False
        except Exception as error:  # a pynvml that is broken or missing
            self._report(f"the GPUs cannot be watched: {type(error).__name__}: {error}")
            return False
        return bool(self._watched)

    def look(self, now_us: int, last: bool) -> None:
        """One look at all GPUs; ``last`` closes every window."""
        uses = self._uses()
        for _, devices in self._watched:
            for watched in devices:
                self._look_at(watched, now_us, uses.get(watched.device.key), last)
        self._previous_us = now_us
        if last and self._nvml is not None:
            self._nvml.close()

    def unfinished(self, now_us: int) -> list[DeviceWindow]:
        """The bound over the windows that are open, for when NVML answers no more."""
        watched = [watched for _, devices in self._watched for watched in devices]
        return [window for one in watched for window in one.bound_until(now_us)]

    def _look_at(self, watched: _Watched, now_us: int, use: _Use | None, last: bool) -> None:
        try:
            for window in watched.look(self._previous_us, now_us, use or watched.use, last):
                self._report(window)
        except Exception as error:
            self._report(f"{watched.device.name} cannot be watched: {error}")

    def _uses(self) -> dict[tuple[str, int], _Use]:
        """Who uses each device now; one of which that is unknown is left out."""
        listed = [(gpu, devices, self._processes(gpu)) for gpu, devices in self._watched]
        ours = {p.pid for _, _, processes in listed for p in processes or () if p.pid in self._members}
        just_ended, self._ours = self._ours - ours, ours  # the driver may list them a moment longer
        self._ids_match = self._ids_match or bool(ours)
        uses: dict[tuple[str, int], _Use] = {}
        for gpu, devices, processes in listed:
            if processes is None:
                continue
            if len(self.users) < _MOST_USERS:
                uuids = gpu.info.uuid, *(instance.uuid for instance in gpu.info.instances)
                self.users |= {(uuids, p.pid) for p in processes if p.pid in ours}
            by_file = self._must_go_by_files() and self._holds_file(gpu)
            for watched in devices:
                instance = watched.device.gpu_instance
                here = {p.pid for p in processes if instance is None or p.gpu_instance in (None, instance)}
                others = bool(here - ours - just_ended)
                uses[watched.device.key] = _Use(run=by_file or bool(here & ours), others=others)
        return uses

    def _processes(self, gpu: Gpu) -> list[ComputeProcess] | None:
        try:
            return gpu.compute_processes()
        except Exception as error:
            self._report(f"who uses {gpu.info.name} cannot be seen: {error}")
            return None

    def _must_go_by_files(self) -> bool:
        """In most containers NVML's process ids mean nothing: there an open device file is the sign of use."""
        return not self._ids_match and not self._members.ids_are_the_drivers()

    def _holds_file(self, gpu: Gpu) -> bool:
        return gpu.info.minor is not None and self._members.holds_device_file(gpu.info.minor)


class _Use(NamedTuple):
    """Whether the run's processes, and whether others, have a context on a device."""

    run: bool
    others: bool


class _Watched:
    """One device, and its window while the run uses it."""

    def __init__(self, gpu: Gpu, device: Device, gpm: bool) -> None:
        self.device = device
        self._gpu = gpu
        self.use = _Use(run=False, others=False)  # at the last look
        self._begin_us: int | None = None
        self._longest_us = _FIRST_WINDOW_US
        self._meter = GpmMeter.of(device) if gpm else None
        self._buffers: list[GpmSample] = []
        self._sampled = False  # whether the first of them holds the state at the look before
        self._clock_khz = 0
        self._energy_mj: int | None = None  # of the whole GPU, at the last look
        self._begin_mj: int | None = None  # when the window began

    def bound_until(self, now_us: int) -> list[DeviceWindow]:
        """The bound over the open window, if there is one."""
        return [] if self._begin_us is None else [peak_bound_window(self.device, self._begin_us, now_us)]

    def _energy_until(self, now_mj: int | None) -> int | None:
        """What the GPU took in the open window; nothing is known of a part of a divided one."""
        if now_mj is None or self._begin_mj is None or self.device.gpu_instance is not None:
            return None
        return now_mj - self._begin_mj if now_mj >= self._begin_mj else None  # the driver was loaded anew

    def look(self, previous_us: int, now_us: int, use: _Use, last: bool) -> list[DeviceWindow]:
        """Returns the windows that end here.

        The run may have begun to use it just after the look before, and stopped just before this one.
        """
        others = use.others or self.use.others
        self.use = use
        before_mj, self._energy_mj = self._energy_mj, self._gpu.energy_mj()
        if use.run and self._begin_us is None:
            self._begin_us, self._begin_mj = previous_us, before_mj
        active = self._begin_us is not None
        if self._meter is not None:
            self._sample_activity(self._meter, now_us - previous_us, active, others)
        if self._begin_us is None or (use.run and not last and now_us - self._begin_us < self._longest_us):
            return []
        energy_mj = self._energy_until(self._energy_mj)
        windows = [replace(window, energy_mj=energy_mj) for window in self.bound_until(now_us)]
        if self._meter is not None:
            windows.append(self._meter.take(self._begin_us, now_us))
        self._begin_us, self._begin_mj = (now_us, self._energy_mj) if use.run else (None, None)
        self._longest_us = min(2 * self._longest_us, _LONGEST_WINDOW_US)
        return windows

    def _sample_activity(self, meter: GpmMeter, time_us: int, active: bool, shared: bool) -> None:
        """Take a sample at every look, so that there is one from before the run began to use the device."""
        try:
            while len(self._buffers) < 2:
                self._buffers.append(self._gpu.gpm_sample(self.device.gpu_instance))
            earlier, taken = self._buffers
            had_sample, self._sampled = self._sampled, False
            taken.take()
            clock_khz, self._clock_khz = self._clock_khz, self._gpu.sm_clock_khz()
            if active and had_sample:
                meter.add(time_us, taken.utilisation_since(earlier), (clock_khz, self._clock_khz), shared)
            elif active:
                meter.missed(time_us, "no sample of its activity from before")
            self._buffers = [taken, earlier]
            self._sampled = True
        except NvmlError as error:
            if active:
                meter.missed(time_us, f"no sample of its activity ({error})")
