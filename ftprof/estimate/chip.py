"""The GPU that a fine-tune is planned on: dense bf16 peak and power, from sourced data, never by a part of a name."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftprof.errors import UsageProblem
from ftprof.quantity import shown
from ftprof.record.peaks import chip_peaks

_DATA = Path(__file__).parent / "data" / "chips.json"
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


@dataclass(frozen=True)
class PlannedChip:
    """One GPU: dense bf16 peak of its tensor cores in FLOP a second, and power in watts (None: not known).

    ``source`` is that of peak and power, where the chip is in the table.
    """

    name: str
    capability: str
    peak: Fraction
    basis: str
    power_w: int | None
    source: str


@dataclass(frozen=True)
class MachineUse:
    """What a number of FLOP takes on one kind of GPU at one utilisation of its dense bf16 peak."""

    chip: PlannedChip
    utilization: Fraction
    flops: int

    @property
    def gpu_hours(self) -> Fraction:
        """Hours of one GPU."""
        return Fraction(self.flops) / (self.chip.peak * self.utilization) / 3600

    @property
    def energy_kwh(self) -> Fraction | None:
        """Kilowatt-hours of the GPUs alone at full power, or None where their power is not known."""
        return None if self.chip.power_w is None else self.gpu_hours * self.chip.power_w / 1000


def find_chip(text: str, multiprocessors: int | None = None, clock_mhz: int | None = None) -> PlannedChip:
    """The chip of a whole name (in any case), or of a compute capability with its size and clock.

    Raises UsageProblem for a name that is not in the table, for a capability whose peak is not known, and where size
    and clock are missing or beside a name.
    """
    wanted = text.strip()
    sized = multiprocessors is not None or clock_mhz is not None
    if _CAPABILITY.fullmatch(wanted):
        return _by_capability(wanted, multiprocessors, clock_mhz)
    row = _by_name().get(wanted.casefold())
    if row is None:
        near = difflib.get_close_matches(wanted, chip_names(), n=3, cutoff=0.4)
        hint = f"near it: {', '.join(near)}" if near else f"known: {', '.join(chip_names())}"
        other = "or give a compute capability such as 9.0 with --multiprocessors and --clock-mhz"
        raise UsageProblem(f"--chip {shown(text)} is not in the table, and no name is guessed; {hint}; {other}")
    if sized:
        raise UsageProblem("--multiprocessors and --clock-mhz go with a compute capability; a named chip has its own")
    return _of_row(row)


def chip_names() -> list[str]:
    """The products' names, one each."""
    return [row["names"][0] for row in _rows()["chips"]]


def _by_capability(capability: str, multiprocessors: int | None, clock_mhz: int | None) -> PlannedChip:
    peaks = chip_peaks(capability)
    per_clock = peaks.tensor.get("bf16") if peaks else None
    if per_clock is None:
        what = "no chip of that compute capability is known" if peaks is None else "its tensor cores have no bf16"
        raise UsageProblem(f"--chip {capability}: {what}, so there is no dense bf16 peak to plan with")
    if multiprocessors is None or clock_mhz is None:
        names = [row["names"][0] for row in _rows()["chips"] if row["capability"] == capability]
        hint = f", or name one of {', '.join(names)}" if names else ""
        raise UsageProblem(
            f"--chip {capability} is a compute capability: add --multiprocessors and --clock-mhz{hint}; chips of one "
            "capability differ in both"
        )
    size = f"x {multiprocessors} x {clock_mhz} MHz"
    basis = f"dense bf16: {per_clock} FLOP a clock an SM, the fastest of this capability, {size}"
    peak = Fraction(per_clock * multiprocessors * clock_mhz * 10**6)
    return PlannedChip(f"compute capability {capability}", capability, peak, basis, None, "ftprof's table of peaks")


def _of_row(row: dict[str, Any]) -> PlannedChip:
    return PlannedChip(
        name=row["names"][0],
        capability=row["capability"],
        peak=Fraction(row["bf16_dense_tflops"]) * 10**12,
        basis="dense bf16, tensor cores, no sparsity",
        power_w=row["power_w"],
        source=_rows()["sources"][row["source"]]["title"],
    )


def _by_name() -> dict[str, dict[str, Any]]:
    return {name.casefold(): row for row in _rows()["chips"] for name in row["names"]}


@lru_cache(maxsize=1)
def _rows() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_DATA.read_text(encoding="ascii"))
    return data
