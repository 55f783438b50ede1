"""Plays torch: see playing.py."""

from types import SimpleNamespace
from typing import Any

from playing import Matrix, launch

bfloat16, float16, float32, float64 = "bf16", "fp16", "fp32", "fp64"
float8_e4m3fn, float4_e2m1fn_x2, uint8 = "fp8", "fp4", "uint8"
backends = SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)))
cuda = SimpleNamespace(is_available=lambda: True)


def ones(shape: Any, device: str, dtype: str = float32) -> Matrix:
    assert device == "cuda"
    return Matrix(shape, dtype)


def mm(a: Matrix, b: Matrix) -> None:
    precision = "tf32" if a.dtype == float32 and backends.cuda.matmul.allow_tf32 else a.dtype
    launch(f"torch_{precision}_{a.shape[0]}")


def _scaled_mm(a: Matrix, b: Matrix, *, scale_a: Matrix, scale_b: Matrix, out_dtype: str) -> None:
    assert (a.dtype, out_dtype) == (b.dtype, bfloat16)
    assert scale_a.dtype == scale_b.dtype == (float32 if a.dtype == "fp8" else float8_e4m3fn)
    launch(f"torch_{a.dtype}_{a.shape[0]}")
