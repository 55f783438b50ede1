"""One forward and backward pass of a model on the meta device, counted."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ftprof.errors import FtprofError
from ftprof.estimate.operations import StepOperations

ATTENTION = ("sdpa", "flash", "eager")


def count_step(model: Any, batch: int, length: int, fused: bool) -> StepOperations:
    """The operations of one pass over ``batch`` sequences of ``length`` tokens with a loss on every token.

    ``fused``: attention by a kernel that keeps no scores. Raises FtprofError where the architecture cannot be run
    without data.
    """
    import torch

    from ftprof.estimate.meta_stand_ins import autocast_on_meta, fused_attention
    from ftprof.estimate.operations import OperationCounter

    counter = OperationCounter()
    tokens = torch.empty((batch, length), dtype=torch.long, device="meta")
    try:
        with ExitStack() as stack:
            if fused:
                stack.enter_context(fused_attention(counter))
            stack.enter_context(autocast_on_meta())
            stack.enter_context(counter)
            loss = model(input_ids=tokens, labels=tokens).loss
            torch.autograd.backward([loss])
    except FtprofError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise FtprofError(
            f"this architecture does not run without data ({type(error).__name__}: {reason:.300})"
        ) from error
    finally:
        model.zero_grad(set_to_none=True)
    return counter.step
