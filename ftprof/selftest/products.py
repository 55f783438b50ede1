"""Matrix products of cupy and torch, in every precision that the chip's tensor cores have."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from ftprof.record.peaks import chip_peaks
from ftprof.selftest.bench import Bench, NothingToCount
from ftprof.selftest.cases import Case, Work, on_tensor_cores
from ftprof.selftest.counts import TENSOR_ROLES
from ftprof.selftest.rows import Row


@dataclass(frozen=True)
class Shape:
    """Of a product: ``edge`` rows and columns of the result, each a sum of ``depth`` products."""

    edge: int
    depth: int

    def __str__(self) -> str:
        return f"{self.edge}x{self.edge}x{self.depth}"

    @property
    def flops(self) -> int:
        """That it asks for: 2MNK."""
        return 2 * self.edge**2 * self.depth


# Whole numbers of all tiles, and of clusters of two of them. (On an H200 tf32 filled 3840 columns, fifteen tiles of
# 256, up to sixteen; of these every precision was exact; docs/evidence.)
ALIGNED = Shape(7680, 512)
# Not a whole number of any tile. The libraries take only edges that are a multiple of so many bytes in short formats.
UNALIGNED: Mapping[str, int] = {"fp8": 1008, "fp4": 1056}
UNALIGNED_ELSE = 1000
# Rows or columns of a tile, and its depth: no kernel of these libraries is known to pad a product further. (On an H200
# 8192 columns were filled up to 8320, which are whole tiles of 160 or 320; docs/evidence.)
TILE_EDGES = (256, 320, 192)
TILE_DEPTH = 128
_OF_LIBRARY: Mapping[str, tuple[str, ...]] = {
    "cupy": ("fp16", "tf32", "fp64"),
    "torch": ("bf16", "fp16", "tf32", "fp8", "fp4", "fp64"),
}
_SCALED_BLOCK = 16  # values of fp4 that share a scale
_SCALE_TILE = (128, 4)  # scales come in blocks of so many rows and columns


class Library(Protocol):
    """How a library multiplies."""

    def product(self, precision: str, shape: Shape) -> Work:
        """A product, ready to be done."""


def product_cases(bench: Bench, open_library: Callable[[str], Library]) -> list[list[Case]]:
    """Aligned and unaligned products of each library in each precision, also where the library is missing.

    A library's are together, and those in no library's precision are last.
    """
    precisions = _precisions(bench)
    batches = [
        [
            _case(bench, name, precision, shape, open_library)
            for precision in able
            if precision in precisions
            for shape in (ALIGNED, _unaligned(precision))
        ]
        for name, able in _OF_LIBRARY.items()
    ]
    known = {precision for able in _OF_LIBRARY.values() for precision in able}
    return [*batches, [_of_none(precision) for precision in sorted(precisions - known)]]


def _unaligned(precision: str) -> Shape:
    edge = UNALIGNED.get(precision, UNALIGNED_ELSE)
    return Shape(edge, edge)


def _of_none(precision: str) -> Case:
    flops = padded(ALIGNED)
    why = f"neither cupy nor torch has a product in {precision} that the self-test knows"

    def prepare() -> Work:
        raise NothingToCount(why)

    return Case(Row("product", precision, flops, flops, proved=False), TENSOR_ROLES, prepare, lambda row, _: row)


def _precisions(bench: Bench) -> set[str]:
    """Of the chip's tensor cores; where its peaks are not known, those that it has counters for."""
    counted = set(bench.counters.tensor_precisions())
    peaks = chip_peaks(".".join(map(str, bench.gpu.capability)))
    return counted if peaks is None else counted & set(peaks.tensor)


def _case(bench: Bench, name: str, precision: str, shape: Shape, open_library: Callable[[str], Library]) -> Case:
    row = Row(f"product {shape}, {name}", precision, shape.flops, padded(shape), proved=False)

    def prepare() -> Work:
        if find_spec(name) is None:
            raise NothingToCount(f"{name} is not installed here; pip install 'ftprof[{name}]'")
        library = open_library(name)
        bench.gpu.use()
        try:
            work = library.product(precision, shape)
            work()  # the first one chooses and loads a kernel
        except Exception as error:  # the libraries' errors have no common base
            why = " ".join(str(error).split())
            raise NothingToCount(f"{name} does not multiply in {precision} here ({why:.160})") from error
        return work

    return on_tensor_cores(bench, row, prepare)


def padded(shape: Shape) -> int:
    """The operations of a product whose sides are filled up to whole tiles; 2MNK where they are whole ones."""
    edge = max(_whole(shape.edge, tile) for tile in TILE_EDGES)
    return Shape(edge, _whole(shape.depth, TILE_DEPTH)).flops


def _whole(number: int, tile: int) -> int:
    return -(-number // tile) * tile


def _operands(shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    return (shape.edge, shape.depth), (shape.depth, shape.edge)


class Cupy:
    """cupy, which takes tf32 for single precision where CUPY_TF32 is set."""

    _TYPES: Mapping[str, str] = {"fp16": "float16", "tf32": "float32", "fp64": "float64"}

    def __init__(self) -> None:
        self._cupy: Any = importlib.import_module("cupy")
        if self._cupy.cuda.runtime.getDeviceCount() == 0:
            raise NothingToCount("cupy sees no GPU")

    def product(self, precision: str, shape: Shape) -> Work:
        """See ``Library``."""
        kind = self._TYPES[precision]
        a, b = (self._cupy.ones(sides, dtype=kind) for sides in _operands(shape))

        def work() -> None:
            self._cupy.matmul(a, b)

        return work


class Torch:
    """torch with CUDA."""

    _TYPES: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16", "tf32": "float32", "fp64": "float64"}

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")
        if not self._torch.cuda.is_available():
            raise NothingToCount("this torch has no CUDA, or does not support the GPU")

    def product(self, precision: str, shape: Shape) -> Work:
        """See ``Library``."""
        torch = self._torch
        if precision in ("fp8", "fp4"):
            return self._scaled(precision, shape)
        kind = getattr(torch, self._TYPES[precision])
        a, b = (torch.ones(sides, device="cuda", dtype=kind) for sides in _operands(shape))

        def work() -> None:
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"  # of all of torch: another case's work set it
            torch.mm(a, b)

        return work

    def _scaled(self, precision: str, shape: Shape) -> Work:
        torch = self._torch
        if precision == "fp8":
            a = torch.ones((shape.edge, shape.depth), device="cuda").to(torch.float8_e4m3fn)
            scale = torch.ones((), device="cuda")
        else:
            a = torch.ones((shape.edge, shape.depth // 2), device="cuda", dtype=torch.uint8).view(
                torch.float4_e2m1fn_x2
            )
            scales = _whole(shape.edge, _SCALE_TILE[0]) * _whole(shape.depth // _SCALED_BLOCK, _SCALE_TILE[1])
            scale = torch.ones(scales, device="cuda").to(torch.float8_e4m3fn)

        def work() -> None:
            torch._scaled_mm(a, a.t(), scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16)

        return work


LIBRARIES: Mapping[str, Callable[[], Library]] = {"cupy": Cupy, "torch": Torch}


class Libraries:
    """Imports each once, when the first case wants it."""

    def __init__(self) -> None:
        self._open: dict[str, Library | NothingToCount] = {}

    def __call__(self, name: str) -> Library:
        """Raises ``NothingToCount`` where it cannot be used here."""
        if name not in self._open:
            self._open[name] = _opened(name)
        library = self._open[name]
        if isinstance(library, NothingToCount):
            raise library
        return library


def _opened(name: str) -> Library | NothingToCount:
    try:
        return LIBRARIES[name]()
    except NothingToCount as why:
        return why
    except Exception as error:  # whatever a broken installation raises
        return NothingToCount(f"{name} cannot be used here ({' '.join(str(error).split()):.160})")
