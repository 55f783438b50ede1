"""Runs torch's own database of operators and prints, a line an operator, a digest of every result and gradient.

With the hook and without it the lines must be the same: the meter changes nothing that a training computes.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import warnings
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves

SAMPLES = 6
# Results that differ from run to run without any meter: uninitialised memory, or the order of threads.
UNSTABLE = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "empty_permuted",
    "resize_",
    "linalg.lstsq",
}


def digest(value: Any) -> str:
    """Dtype, shape and bytes of every tensor in a result."""
    parts = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            dense = leaf.detach()
            if dense.layout != torch.strided:
                dense = dense.to_dense()
            plain = dense.resolve_conj().resolve_neg().contiguous()
            data = plain.view(torch.uint8).numpy().tobytes() if plain.numel() and plain.dim() else repr(plain)
            parts.append((str(leaf.dtype), tuple(leaf.shape), hashlib.sha256(repr(data).encode()).hexdigest()))
        else:
            parts.append(repr(leaf))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def run_sample(op: Any, sample: Any, dtype: torch.dtype) -> str:
    torch.manual_seed(0)
    try:
        out = op(sample.input, *sample.args, **sample.kwargs)
        result = digest(out)
        losses = [t.real.sum() if t.is_complex() else t.sum() for t in tree_leaves(out) if needs_grad(t)]
        if losses:
            sum(losses[1:], losses[0]).backward()
            leaves = [t for t in tree_leaves((sample.input, sample.args)) if isinstance(t, torch.Tensor)]
            result += digest([t.grad for t in leaves if t.requires_grad])
        return result
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"


def needs_grad(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wanted = set(sys.argv[1:])
    for op, dtype in itertools.product(op_db, (torch.float32, torch.int64, torch.complex64, torch.bfloat16)):
        if op.name in UNSTABLE or (wanted and op.name not in wanted) or not op.supports_dtype(dtype, "cpu"):
            continue
        torch.manual_seed(0)
        grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
        samples = itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=grad), SAMPLES)
        results = [run_sample(op, sample, dtype) for sample in samples]
        print(f"{op.name}.{op.variant_test_name} {dtype} {' '.join(results)}", flush=True)


main()
