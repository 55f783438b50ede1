"""What the kernels of ``kernels/known.cu`` execute: the one table that the proof and the self-test both go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).parent / "kernels"
SOURCE = KERNELS / "known.cu"
THREADS = 128  # of a block
THREADS_OF_WARP = 32
BLOCKS = 1024  # several for each multiprocessor of any chip, so that all of them have work to count
BYTES_OF_THREAD = 16


@dataclass(frozen=True)
class Instruction:
    """A floating-point instruction. ``flops`` are the operations of one thread, or of a warp where it is a product.

    ``counter`` is the part of the CUDA-core metric's name that tells the instruction; products have none, since the
    tensor cores' metrics count operations. A metric of the CUDA cores counts the instruction once for each thread.
    """

    opcode: str
    precision: str
    flops: int
    counter: str | None = None

    @property
    def metric(self) -> str | None:
        """The CUDA-core metric that counts it, without rollup."""
        return None if self.counter is None else f"smsp__sass_thread_inst_executed_op_{self.counter}_pred_on"

    @property
    def is_product(self) -> bool:
        """Whether the tensor cores do it, for a whole warp at once."""
        return self.counter is None


# By the opcode in the machine code, up to its last part that matters: HFMA2 is HFMA2.MMA too, but HMMA.1688.F32 is a
# product of 16 x 8 x 8, and HMMA.16816.F32.BF16 one of 16 x 8 x 16. HFMA2 holds two multiply-adds.
INSTRUCTIONS: Mapping[str, Instruction] = {
    row.opcode: row
    for row in (
        Instruction("FADD", "fp32", 1, "fadd"),
        Instruction("FMUL", "fp32", 1, "fmul"),
        Instruction("FFMA", "fp32", 2, "ffma"),
        Instruction("DFMA", "fp64", 2, "dfma"),
        Instruction("HFMA2", "fp16", 4, "hfma"),
        Instruction("HMMA.1688.F32", "fp16", 2 * 16 * 8 * 8),
        Instruction("HMMA.16816.F32.BF16", "bf16", 2 * 16 * 8 * 16),
    )
}


@dataclass(frozen=True)
class KnownKernel:
    """A kernel, and how often each thread executes each floating-point instruction; all others are integer ones."""

    name: str
    title: str
    executes: Mapping[str, int]
    least_capability: tuple[int, int] = (7, 5)

    @property
    def uses_tensor_cores(self) -> bool:
        """Whether its operations are products."""
        return any(INSTRUCTIONS[opcode].is_product for opcode in self.executes)

    @property
    def flops(self) -> dict[str, int]:
        """The operations of one launch by precision."""
        total: Counter[str] = Counter()
        for opcode, times in self.executes.items():
            instruction = INSTRUCTIONS[opcode]
            who = THREADS // THREADS_OF_WARP if instruction.is_product else THREADS
            total[instruction.precision] += instruction.flops * times * who * BLOCKS
        return dict(total)

    @property
    def core_counts(self) -> dict[str, int]:
        """What each CUDA-core metric counts in one launch: instructions of threads. The metrics left out count zero."""
        return {
            metric: times * THREADS * BLOCKS
            for opcode, times in self.executes.items()
            if (metric := INSTRUCTIONS[opcode].metric) is not None
        }


_MIXED = {"FADD": 48, "FMUL": 32, "FFMA": 64, "DFMA": 16, "HFMA2": 80}
NOTHING = KnownKernel("known_nothing", "empty kernel", {})
INTEGER = KnownKernel("known_integer", "integer kernel", {})
FFMA = KnownKernel("known_ffma", "FFMA", {"FFMA": 128})
MIXED = KnownKernel("known_mixed", "FADD, FMUL, FFMA, DFMA and HFMA2 mixed", _MIXED)
TENSOR_FP16 = KnownKernel("known_tensor_fp16", "HMMA fp16", {"HMMA.1688.F32": 16})
TENSOR_BF16 = KnownKernel("known_tensor_bf16", "HMMA bf16", {"HMMA.16816.F32.BF16": 8}, (8, 0))
KNOWN_KERNELS = (
    NOTHING,
    INTEGER,
    KnownKernel("known_fadd", "FADD", {"FADD": 96}),
    KnownKernel("known_fmul", "FMUL", {"FMUL": 64}),
    FFMA,
    KnownKernel("known_dfma", "DFMA", {"DFMA": 48}),
    KnownKernel("known_hfma2", "HFMA2", {"HFMA2": 160}),
    MIXED,
    TENSOR_FP16,
    TENSOR_BF16,
)


def kernels_of(capability: tuple[int, int]) -> tuple[KnownKernel, ...]:
    """The kernels that a chip of this compute capability can execute."""
    return tuple(kernel for kernel in KNOWN_KERNELS if capability >= kernel.least_capability)
