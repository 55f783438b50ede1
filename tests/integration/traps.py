"""Counts what FlopCounterMode counts, beside it, in one process that runs under the hook.

Prints a JSON line for each program: our operations, FlopCounterMode's with the same extra formulas, and what we
name as unbounded. Run by test_analytic_traps.py.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

warnings.simplefilter("ignore")
hook = sys.modules["_ftprof_hook"]
counter = hook._meter.counter
PROGRAMS: dict[str, Callable[[], object]] = {}


class Absent(Exception):
    """This torch has no such operator."""


def program(run: Callable[[], object]) -> Callable[[], object]:
    PROGRAMS[run.__name__] = run
    return run


x = torch.randn(4, 16, 32, requires_grad=True)
image = torch.randn(2, 4, 9, 9, requires_grad=True)
query = torch.randn(2, 4, 8, 16, requires_grad=True)
key = torch.randn(2, 2, 8, 16, requires_grad=True)
linear = nn.Linear(32, 64)
convolutions = [nn.Conv2d(4, 8, 3, groups=groups, padding=1) for groups in (1, 2, 4)]
transposed = nn.ConvTranspose2d(4, 8, 3, groups=2)
recurrent = [nn.LSTM(32, 8, 2, bidirectional=True), nn.GRU(32, 8), nn.RNN(32, 8)]
layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)


@program
def linear_forward_backward() -> object:
    return linear(x).sum().backward()


@program
def grad_of_one_weight() -> object:
    return torch.autograd.grad(linear(x).sum(), linear.weight)


@program
def convolution_of_one_two_and_four_groups() -> object:
    return [convolution(image).sum().backward() for convolution in convolutions]


@program
def transposed_convolution() -> object:
    return transposed(image).sum().backward()


@program
def double_backward() -> object:
    weight, image = torch.ones(8, 4, 3, 3, requires_grad=True), torch.randn(2, 4, 9, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(functional.conv2d(image, weight).pow(2).sum(), image, create_graph=True)
    return grad.pow(2).sum().backward()


@program
def recurrent_layers() -> object:
    return [net(x)[0].sum().backward() for net in recurrent]


@program
def transformer_layer() -> object:
    return layer(x).sum().backward()


@program
def attention_with_grouped_heads() -> object:
    if "enable_gqa" not in (functional.scaled_dot_product_attention.__doc__ or ""):
        raise Absent("torch before 2.5")
    return functional.scaled_dot_product_attention(query, key, key, enable_gqa=True).sum().backward()


@program
def attention_with_masks() -> object:
    mask = torch.zeros(8, 8)
    functional.scaled_dot_product_attention(query, query, query, attn_mask=mask).sum().backward()
    return functional.scaled_dot_product_attention(query, query, query, is_causal=True).sum().backward()


@program
def attention_by_products() -> object:
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(query, query, query).sum().backward()


@program
def vectors() -> object:
    v, m = torch.ones(6), torch.ones(5, 6)
    return torch.mv(m, v), torch.dot(v, v), torch.vdot(v, v), torch.addmv(torch.ones(5), m, v)


@program
def stacks() -> object:
    a, b = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    return a @ b, torch.baddbmm(torch.ones(2, 3, 5), a, b), torch.einsum("bij,bjk->bik", a, b)


@program
def experts() -> object:
    if not hasattr(torch, "_grouped_mm"):
        raise Absent("torch before 2.8")
    tokens, weights = torch.ones(16, 8, dtype=torch.bfloat16), torch.ones(2, 8, 16, dtype=torch.bfloat16)
    return torch._grouped_mm(tokens, weights, torch.tensor([8, 16], dtype=torch.int32))


@program
def into_given_memory() -> object:
    return torch.mm(torch.ones(3, 5), torch.ones(5, 6), out=torch.empty(3, 6))


@program
def transforms() -> object:
    torch.func.vmap(lambda a: a @ torch.ones(4, 5))(torch.ones(3, 2, 4))
    return torch.func.jacrev(lambda a: (a @ torch.ones(4, 5)).sum())(torch.ones(2, 4))


def ours(run: Callable[[], object]) -> tuple[int, list[str]]:
    before = counter.totals()
    run()
    new = counter.totals().since(before)
    return sum(flops for _, flops in new.cells.values()), sorted(
        name for kind, name in new.others if hook.unbounded_family((kind, name))
    )


for name, run in PROGRAMS.items():
    try:
        run()  # the first call of some kernels prepares weights
    except Absent as absent:
        print(json.dumps({"program": name, "absent": str(absent)}))
        continue
    counted, unbounded = ours(run)
    with FlopCounterMode(display=False, custom_mapping=hook.extra_formulas()) as reference:
        run()
    print(json.dumps({"program": name, "ours": counted, "reference": reference.get_total_flops(), "open": unbounded}))
