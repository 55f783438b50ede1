"""PTX kernels that do a known number of operations, for programs that use nothing but the CUDA driver.

Assembled by the driver for the GPU at hand. Every accumulator is stored, so that no operation can be left out, and
every operation names its rounding, so that none is contracted with another. Loops stay rolled: an unrolled one's
remainder is predicated, and whether a counter takes what a predicate switched off is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 128
ACCUMULATORS = 8  # independent ones, so that the units can be kept busy
MMA_OPERATIONS = 2 * 16 * 8 * 16  # of one mma.m16n8k16 of a warp: a multiply-add is two


@dataclass(frozen=True)
class Kernel:
    """A kernel of ``NAME(u64 out, u32 rounds)``, with what one thread counts of ``metric`` in one round."""

    name: str
    metric: str
    per_round: int
    per_warp: bool = False

    def count(self, blocks: int, rounds: int) -> int:
        """What the metric counts in one launch."""
        units = blocks * (THREADS // 32 if self.per_warp else THREADS)
        return units * rounds * self.per_round


# What the machine code adds to a loop is integer work, but constants may be loaded with HFMA2: hfma can count more.
_CORE = {
    "fadd": ("f32", "add.rn.f32 {r}, {r}, {k};"),
    "fmul": ("f32", "mul.rn.f32 {r}, {r}, {k};"),
    "ffma": ("f32", "fma.rn.f32 {r}, {r}, {k}, {k};"),
    "dadd": ("f64", "add.rn.f64 {r}, {r}, {k};"),
    "dmul": ("f64", "mul.rn.f64 {r}, {r}, {k};"),
    "dfma": ("f64", "fma.rn.f64 {r}, {r}, {k}, {k};"),
    "hfma": ("b32", "fma.rn.f16x2 {r}, {r}, {k}, {k};"),
}
KERNELS = {
    "bf16": Kernel("bf16", "sm__ops_path_tensor_src_bf16_dst_fp32.sum", MMA_OPERATIONS, per_warp=True),
    **{name: Kernel(name, f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum", ACCUMULATORS) for name in _CORE},
    "integer": Kernel("integer", "", 0),
}


def ptx() -> str:
    """The text of a module that holds them all."""
    bodies = [_kernel("bf16", *_mma()), _kernel("integer", *_core("b32", "mad.lo.s32 {r}, {r}, {k}, {k};"))]
    bodies += [_kernel(name, *_core(kind, line)) for name, (kind, line) in _CORE.items()]
    return ".version 7.0\n.target sm_80\n.address_size 64\n" + "\n".join(bodies)


def _kernel(name: str, registers: str, before: str, once: str, after: str) -> str:
    return f"""
.visible .entry {name}(.param .u64 out, .param .u32 rounds)
{{
  .reg .pred %p; .reg .b32 %i, %n, %t, %c, %d; .reg .b64 %o, %x;
  {registers}
  ld.param.u64 %o, [out];
  ld.param.u32 %n, [rounds];
  cvta.to.global.u64 %o, %o;
  mov.u32 %t, %tid.x;
  mov.u32 %c, %ctaid.x;
  mov.u32 %d, %ntid.x;
  mad.lo.u32 %t, %c, %d, %t;
  {before}
  mov.u32 %i, 0;
LOOP:
  .pragma "nounroll";
  {once}
  add.u32 %i, %i, 1;
  setp.lt.u32 %p, %i, %n;
  @%p bra LOOP;
  {after}
  ret;
}}"""


def _core(kind: str, line: str) -> tuple[str, str, str, str]:
    """The accumulators begin at values that nobody knows when the code is assembled: those of the output array."""
    size = 8 if kind == "f64" else 4
    registers = f".reg .{kind} %r<{ACCUMULATORS}>, %k;"
    address = f"mul.wide.u32 %x, %t, {size * ACCUMULATORS}; add.u64 %x, %o, %x;"
    names = [f"%r{i}" for i in range(ACCUMULATORS)]
    load = [f"ld.global.{kind} {name}, [%x+{i * size}];" for i, name in enumerate(names)]
    store = [f"st.global.{kind} [%x+{i * size}], {name};" for i, name in enumerate(names)]
    once = " ".join(line.format(r=name, k="%k") for name in names)
    return registers, f"{address} {' '.join(load)} ld.global.{kind} %k, [%o];", once, " ".join(store)


def _mma() -> tuple[str, str, str, str]:
    registers = ".reg .b32 %a<4>, %b<2>; .reg .f32 %f<4>;"
    loads = [f"ld.global.b32 %a{i}, [%x+{4 * i}];" for i in range(4)]
    loads += [f"ld.global.b32 %b{i}, [%x+{16 + 4 * i}];" for i in range(2)]
    zeros = [f"mov.f32 %f{i}, 0f00000000;" for i in range(4)]
    once = (
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, {%b0, %b1}, {%f0, %f1, %f2, %f3};"
    )
    store = [f"st.global.f32 [%x+{4 * i}], %f{i};" for i in range(4)]
    before = "mul.wide.u32 %x, %t, 32; add.u64 %x, %o, %x; " + " ".join([*loads, *zeros])
    return registers, before, once, " ".join(store)


def output_bytes(blocks: int) -> int:
    """How large the output array must be."""
    return blocks * THREADS * ACCUMULATORS * 8
