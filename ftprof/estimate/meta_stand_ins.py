"""What torch does on the meta device in another way than on the one that will run: replaced for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from ftprof.estimate.operations import OperationCounter


@contextmanager
def fused_attention(counter: OperationCounter) -> Iterator[None]:
    """Attention as the kernel that will run does it, which keeps no matrix of scores.

    torch would take ``scaled_dot_product_attention`` apart into other products. A mode for torch's functions is no way
    to catch it: inside a backward, where checkpointing runs the forward again, such modes are switched off.
    """
    functional: Any = torch.nn.functional
    original = functional.scaled_dot_product_attention

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not query.is_meta:
            return original(query, key, value, *args, **kwargs)
        counter.attention(query, key, value)  # here, since inside a Function's forward grad mode is off
        return _Kernel.apply(counter, query, key, value)  # type: ignore[no-untyped-call]

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Let ``torch.autocast`` do nothing for the meta device, which it refuses. No count hangs on it."""
    replaced: Any = torch
    original = replaced.autocast

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == "meta" else original(device_type, *args, **kwargs)

    replaced.autocast = autocast
    try:
        yield
    finally:
        replaced.autocast = original


class _Kernel(torch.autograd.Function):
    """A shape in, a shape out. Its backward gives all three gradients, as the kernels do, whichever are wanted."""

    @staticmethod
    def forward(ctx: Any, counter: OperationCounter, query: Any, key: Any, value: Any) -> Any:
        ctx.counter = counter
        ctx.save_for_backward(query, key, value)
        return query.new_empty((*query.shape[:-1], value.shape[-1]))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        query, key, value = ctx.saved_tensors
        ctx.counter.attention_backward(grad, query, key, value)
        return None, torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
