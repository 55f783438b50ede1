"""The most that a GPU can do: FLOP a clock an SM by compute capability and precision, from sourced data.

A chip is known by its compute capability alone, never by its name. Where none is listed there is no figure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_DATA = Path(__file__).parent / "data" / "peaks.json"
# Four warp schedulers an SM, each issuing to 32 threads a clock, on every chip from Turing on.
THREAD_INSTRUCTIONS_PER_CLOCK = 128

_TENSOR = re.compile(
    r"sm__ops_path_tensor_(?:op_[a-z]+_)?src_(?P<sources>[a-z0-9_]+?)(?:_dst_[a-z0-9]+)?(?P<half>_sparsity_(?:on|off))?"
)
_CUDA_CORE = re.compile(r"smsp__sass_thread_inst_executed_op_(?P<type>[dfhq])(?:add|mul|fma)(?P<lanes>[24]?)_pred_on")
_INSTRUCTIONS = re.compile(r"smsp__(?:sass_)?thread_inst_executed")
_CYCLES = re.compile(r"sm__cycles_active")
_TYPES: Mapping[str, tuple[tuple[str, ...], int]] = {  # of an instruction: precisions and lanes by default
    "d": (("fp64",), 1),
    "f": (("fp32",), 1),
    "h": (("fp16", "bf16"), 2),
    "q": (("fp8", "fp4"), 4),
}


@dataclass(frozen=True)
class ChipPeaks:
    """The peaks of one compute capability, in FLOP a clock an SM (a multiply-add is two).

    ``cores`` is how many of what NVML calls cores one SM has. A precision that is missing has no published figure.
    """

    capability: str
    cores: int
    cuda_core: Mapping[str, int]
    tensor: Mapping[str, int]
    tensor_sparse: Mapping[str, int]

    @property
    def bound(self) -> int:
        """Nothing this chip does is faster: the fastest tensor peak, sparse too, and the fastest CUDA-core peak."""
        return self.tensor_bound + max(self.cuda_core.values())

    @property
    def tensor_bound(self) -> int:
        """The fastest that its tensor cores are, at any precision, sparse too."""
        return max([*self.tensor.values(), *self.tensor_sparse.values()])

    def fastest(self, precision: str) -> int | None:
        """Tensor cores (sparse where the chip has it) and CUDA cores together at one precision, or ``None``."""
        tensor = max(self.tensor.get(precision, 0), self.tensor_sparse.get(precision, 0))
        return tensor + self.cuda_core.get(precision, 0) or None


def chip_peaks(capability: str | None) -> ChipPeaks | None:
    """The peaks of a compute capability such as "9.0", or ``None`` where it is not one of those listed."""
    return _chips().get(capability or "")


@lru_cache(maxsize=4096)
def peak_flops_per_second(
    capability: str | None, multiprocessors: int | None, clock_khz: int | None, precision: str | None = None
) -> int | None:
    """What a GPU cannot exceed, in FLOP a second, at one precision (such as "bf16") or at any.

    ``clock_khz`` is its highest SM clock. ``None`` where the chip, its size, its clock or the precision's figure is
    unknown: nothing bounds such a GPU.
    """
    chip = chip_peaks(capability)
    if chip is None or not multiprocessors or not clock_khz:
        return None
    per_clock = chip.bound if precision is None else chip.fastest(precision)
    return None if per_clock is None else per_clock * multiprocessors * clock_khz * 1000


@lru_cache(maxsize=4096)
def peak_counts_per_second(
    metric: str, capability: str | None, multiprocessors: int | None, clock_khz: int | None
) -> int | None:
    """The most that one of ftprof's CUPTI metrics can count in a second on a GPU, in the metric's own unit.

    Where the metric's precision has no published figure of its own, the chip's fastest one bounds it. ``None`` for an
    unknown chip, and for what counts no floating-point work and is no denominator (integer tensor operations).
    """
    chip = chip_peaks(capability)
    if chip is None or not multiprocessors or not clock_khz:
        return None
    per_clock = _counts_per_clock(chip, metric.partition(".")[0].removesuffix("_realtime"))
    return None if per_clock is None else per_clock * multiprocessors * clock_khz * 1000


def _counts_per_clock(chip: ChipPeaks, name: str) -> int | None:
    if _CYCLES.fullmatch(name):
        return 1
    if _INSTRUCTIONS.fullmatch(name):
        return THREAD_INSTRUCTIONS_PER_CLOCK
    if match := _CUDA_CORE.fullmatch(name):
        precisions, lanes = _TYPES[match["type"]]
        flop = [chip.cuda_core[precision] for precision in precisions if precision in chip.cuda_core]
        # An add or a multiplication is issued as often as a multiply-add, which is two operations a lane.
        issued = max(flop) // (2 * int(match["lanes"] or lanes)) if flop else THREAD_INSTRUCTIONS_PER_CLOCK
        return min(issued, THREAD_INSTRUCTIONS_PER_CLOCK)
    if match := _TENSOR.fullmatch(name):
        return _tensor_per_clock(chip, match["sources"].split("_"), dense=match["half"] == "_sparsity_off")
    return None


def _tensor_per_clock(chip: ChipPeaks, sources: list[str], dense: bool) -> int | None:
    """Several sources: the fastest of them.

    CUPTI's own peak of a metric that takes dense and sparse products is the sparse rate, so what these skip counts.
    """
    if not all(source.startswith(("fp", "bf", "tf")) for source in sources):
        return None
    rates = [chip.tensor.get(source, 0) for source in sources]
    if not dense:
        rates += [chip.tensor_sparse.get(source, 0) for source in sources]
    return max(rates) or chip.tensor_bound


@lru_cache(maxsize=1)
def _chips() -> dict[str, ChipPeaks]:
    def figures(row: dict[str, list[int]]) -> dict[str, int]:
        return {precision: flop for precision, (flop, _source) in row.items()}

    return {
        chip["capability"]: ChipPeaks(
            capability=chip["capability"],
            cores=chip["cores"],
            cuda_core=figures(chip["cuda_core"]),
            tensor=figures(chip["tensor"]),
            tensor_sparse=figures(chip["tensor_sparse"]),
        )
        for chip in json.loads(_DATA.read_text(encoding="ascii"))["chips"]
    }
