"""The GPUs of a block of code: how long it had them, and the energy that they took, from NVML at the block's two edges.

Nothing looks in between: a thread of ours would take the interpreter from the training. NVML is called on a thread for
a moment, since a call that hangs (a GPU that fell off the bus) must not keep the block.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from ftprof.measure.injection import driver_is_there
from ftprof.measure.nvml import Gpu, Nvml
from ftprof.measure.peak_bound import devices_of, peak_bound_window
from ftprof.record.device_window import DeviceWindow

_PATIENCE_S = 2.0
_log = logging.getLogger("ftprof")

_Edge: TypeAlias = dict[str, tuple[Gpu, int | None]]  # by UUID: each GPU, and what it has taken so far, in mJ


class _Reader:
    """NVML of this process, opened at the first use. Where it fails or hangs, it is not asked again."""

    def __init__(self) -> None:
        self._nvml: Nvml | None = None
        self._failed = False
        self._lock = threading.Lock()

    def read(self) -> _Edge:
        """All GPUs now; none where NVML does not answer in time."""
        if self._failed or not driver_is_there():
            return {}
        found: list[_Edge] = []
        thread = threading.Thread(target=self._read, args=(found,), daemon=True, name="ftprof-nvml")
        thread.start()
        thread.join(_PATIENCE_S)
        if not found:
            self._failed = True
        return found[0] if found else {}

    def _read(self, found: list[_Edge]) -> None:
        try:
            with self._lock:
                if self._nvml is None:
                    self._nvml = Nvml()
                found.append({gpu.info.uuid: (gpu, gpu.energy_mj()) for gpu in self._nvml.gpus()})
        except Exception as problem:  # also a pynvml that is broken or missing
            _log.info("ftprof.count(): the GPUs' time and energy are not known: %s", problem)

    def forget(self) -> None:
        """In a forked child: NVML is the parent's."""
        self._nvml, self._lock = None, threading.Lock()


_READER = _Reader()
os.register_at_fork(after_in_child=_READER.forget)


class DeviceEdges:
    """What NVML says at both edges of one block. Without NVML there is nothing."""

    def __init__(self) -> None:
        self._before: _Edge = {}
        self._after: _Edge | None = None

    def begin(self) -> None:
        """The block begins."""
        self._before = _READER.read()

    def end(self) -> None:
        """The block has ended."""
        self._after = _READER.read()

    def windows(self, used: Iterable[str], begin_us: int, end_us: int) -> list[DeviceWindow]:
        """One for each GPU of these UUIDs: its time, the peak over that, and its energy, so far or in all.

        Of a divided GPU, whose parts have no energy of their own, there is none.
        """
        after = _READER.read() if self._after is None else self._after
        return [
            replace(
                peak_bound_window(devices_of(gpu.info)[0], begin_us, end_us),
                energy_mj=_taken(energy_mj, after[uuid][1]),
            )
            for uuid, (gpu, energy_mj) in self._before.items()
            if uuid in used and uuid in after and not gpu.info.mig
        ]


def _taken(before_mj: int | None, after_mj: int | None) -> int | None:
    if before_mj is None or after_mj is None or after_mj < before_mj:  # the driver was loaded anew
        return None
    return after_mj - before_mj
