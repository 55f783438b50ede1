"""An estimate from NVML's GPU performance monitoring (Hopper and newer): activity x clock x dense peak.

Not yet measured on hardware. NVML says in what share of the time a kind of unit worked, not at what, so that every
class has a range:

- ``tensor``: the metric for HMMA holds fp16, bf16, tf32, fp8 and what is smaller. The figure is the rate of fp16 and
  bf16, in which nearly all training multiplies, and which lies in the middle: tf32 at half of it is the low end, the
  chip's fastest dense precision (fp8 at twice, fp4 at four to six times) the high one. Structured sparsity would be
  faster still, is rare in training, and is not in the range.
- ``tensor-fp64``: its own metric, one rate.
- ``fp64``, ``fp16`` outside the tensor cores: from all additions (half the rate) to all multiply-adds, the figure is
  the middle. ``fp32``: that pipe multiplies integers too, so from nothing to all multiply-adds.

Integer tensor work is no floating-point work and is left out. On top of each range come the spread of the SM clock
between two samples and ``ERROR_PERCENT``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftprof.record.device_window import NOTHING, Device, DeviceWindow, Estimate
from ftprof.record.peaks import ChipPeaks, chip_peaks

# The largest difference between activity x clock and the executed operations of matrix products that "Instant GPU
# Efficiency Visibility at Fleet Scale" (arXiv 2605.20799) reports, on H100 and GB200; ftprof has not measured it.
ERROR_PERCENT = 6

SHARED = "other processes worked on this GPU too: their operations are in this estimate"
_PARTS_PER_MILLION = 1_000_000
# Rates are kept in quarters; microseconds x kHz are thousandths of a cycle.
_UNITS = 4 * _PARTS_PER_MILLION * 1000 * 100


@dataclass(frozen=True)
class _Rate:
    """Quarters of a FLOP a clock an SM while a kind of unit works: at least, most likely, at most."""

    low: int
    middle: int
    high: int


@dataclass
class _Sum:
    low: int = 0
    middle: int = 0
    high: int = 0


class GpmMeter:
    """Adds up the samples of one device between two moments."""

    def __init__(self, device: Device, chip: ChipPeaks) -> None:
        self._device = device
        self._rates = _rates(chip)
        self._forget()

    @classmethod
    def of(cls, device: Device) -> GpmMeter | None:
        """A meter for this device, or ``None`` where its peak is unknown."""
        chip = chip_peaks(device.capability)
        known = chip is not None and device.multiprocessors and device.clock_khz
        return cls(device, chip) if chip is not None and known else None

    def add(
        self, time_us: int, utilisation: Mapping[str, float], clocks_khz: tuple[int, int], shared: bool = False
    ) -> None:
        """What NVML said of ``time_us``: the share of it in which units worked (0 to 1), the SM clock at both ends."""
        busy = _busy(utilisation)
        if busy is None:
            self.missed(time_us, "NVML gave no activity of the tensor cores")
            return
        clock_low, clock_high = sorted(clocks_khz)
        for name, share in busy.items():
            rate, entry = self._rates[name], self._sums[name]
            thousandths = time_us * (self._device.multiprocessors or 0) * round(share * _PARTS_PER_MILLION)
            if not shared:
                entry.low += thousandths * clock_low * rate.low * (100 - ERROR_PERCENT)
            entry.middle += thousandths * (clock_low + clock_high) // 2 * rate.middle * 100
            entry.high += thousandths * clock_high * rate.high * (100 + ERROR_PERCENT)
        if shared and SHARED not in self._notes:
            self._notes.append(SHARED)

    def missed(self, time_us: int, why: str) -> None:
        """Time without a sample: nothing is known of it but the peak."""
        self._unmeasured_us += max(time_us, 0)
        if why not in self._notes:
            self._notes.append(why)

    def take(self, begin_us: int, end_us: int) -> DeviceWindow:
        """The estimate of all that was added since the last one, which is what these two moments enclose."""
        classes = {}
        for name, entry in self._sums.items():
            middle = entry.middle // _UNITS
            classes[name] = Estimate(min(entry.low // _UNITS, middle), middle, max(-(-entry.high // _UNITS), middle))
        total = sum(classes.values(), NOTHING)
        lost = self._device.bound_over(0, self._unmeasured_us)
        peak = self._device.bound_over(begin_us, end_us)
        if lost is not None and peak is not None and total.high is not None and total.flops is not None:
            total = Estimate(total.low, total.flops, max(min(total.high + lost, peak), total.flops))
        window = DeviceWindow(
            "gpm", self._device, begin_us, end_us, total, classes, self._unmeasured_us, "; ".join(self._notes)
        )
        self._forget()
        return window

    def _forget(self) -> None:
        self._sums = {name: _Sum() for name in self._rates}
        self._unmeasured_us = 0
        self._notes: list[str] = []


def _rates(chip: ChipPeaks) -> dict[str, _Rate]:
    dense = {precision: flop for precision, flop in chip.tensor.items() if precision != "fp64"}
    middle = dense["fp16"]
    fp64 = chip.tensor.get("fp64", chip.cuda_core.get("fp64", 0))
    cores = chip.cuda_core
    half = max(cores.get("fp16", 0), cores.get("bf16", 0))
    return {
        "tensor": _Rate(4 * min(dense.values()), 4 * middle, 4 * max(dense.values())),
        "tensor-fp64": _Rate(4 * fp64, 4 * fp64, 4 * fp64),
        "fp64": _adds_to_multiply_adds(cores.get("fp64", 0)),
        "fp16": _adds_to_multiply_adds(half),
        "fp32": _Rate(0, 2 * cores["fp32"], 4 * cores["fp32"]),
    }


def _adds_to_multiply_adds(flop: int) -> _Rate:
    return _Rate(2 * flop, 3 * flop, 4 * flop)


def _busy(utilisation: Mapping[str, float]) -> dict[str, float] | None:
    """By class. Newer drivers name FP64 tensor work twice; what is in no named kind of tensor work is no integer's."""
    if "hmma" not in utilisation and "any-tensor" not in utilisation:
        return None
    fp64 = max(utilisation.get("dfma", 0.0), utilisation.get("dmma", 0.0))
    rest = utilisation.get("any-tensor", 0.0) - utilisation.get("imma", 0.0) - fp64
    return {
        "tensor": min(max(utilisation.get("hmma", 0.0), rest, 0.0), 1.0),
        "tensor-fp64": fp64,
        **{name: utilisation.get(name, 0.0) for name in ("fp64", "fp32", "fp16")},
    }
