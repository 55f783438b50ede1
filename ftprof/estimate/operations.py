"""Counts the operations of a pass over meta tensors, by the formulas that ``wrap`` applies to real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ftprof.errors import FtprofError
from ftprof.measure.analytic.hook import all_formulas, unbounded_family

if TYPE_CHECKING:
    from typing import TypeAlias

    Formula: TypeAlias = Callable[..., int]

# One kernel's formula stands for all that keep no matrix of scores: they do the same products.
_FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"
_ATTENTION = "attention"
# transformers' way around a grouped product that is missing: an operator of its own around plain products.
_SAME_AS = {"transformers::grouped_mm_fallback": "aten::_grouped_mm"}


@dataclass
class StepOperations:
    """The operations (FLOP) of one step, by operator, in three parts that do not overlap; and what has no formula.

    ``recomputed`` is the forward done again by activation checkpointing. ``scores_again`` is a part of ``backward``:
    fused attention kernels compute the scores anew.
    """

    forward: dict[str, int] = field(default_factory=dict)
    backward: dict[str, int] = field(default_factory=dict)
    recomputed: dict[str, int] = field(default_factory=dict)
    scores_again: int = 0
    not_counted: dict[str, int] = field(default_factory=dict)

    def add(self, operator: str, flops: int) -> None:
        """Add to the part in which the pass is."""
        part = self._part()
        part[operator] = part.get(operator, 0) + flops

    def _part(self) -> dict[str, int]:
        if torch._C._current_graph_task_id() < 0:
            return self.forward
        # Autograd's own operators run without grad mode; a forward done again runs with it.
        return self.recomputed if torch.is_grad_enabled() else self.backward

    @property
    def executed(self) -> int:
        """All of it."""
        return sum(sum(part.values()) for part in (self.forward, self.backward, self.recomputed))

    def by_operator(self) -> Mapping[str, int]:
        """All of it, by operator."""
        sums: dict[str, int] = {}
        for part in (self.forward, self.backward, self.recomputed):
            for operator, flops in part.items():
                sums[operator] = sums.get(operator, 0) + flops
        return sums


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs under it into ``step``. A question about a batch's content gets the answer yes.

    Models ask whether a mask hides nothing and whether positions simply go up; a meta tensor cannot tell. Of full
    sequences both are true.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step = StepOperations()
        self._formulas = all_formulas()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            if args[0].dtype == torch.bool:
                return True
            raise FtprofError(
                "this architecture's work depends on the data itself, so no pass without data can count it"
            )
        out = func(*args, **kwargs)
        name = func._overloadpacket._qualified_op_name
        name = _SAME_AS.get(name, name)
        formula = self._formulas.get(name)
        if formula is None:
            if unbounded_family(("operator", name)):
                self.step.not_counted[name] = self.step.not_counted.get(name, 0) + 1
            return out
        number = next((a for a in args if isinstance(a, torch.Tensor) and not _is_integer(a)), None)
        if number is None:
            return out
        try:
            flops = int(formula(*args, **kwargs, out_val=out))
        except Exception:
            # It does not fit this call, which is then named, as in a wrapped run.
            self.step.not_counted[name] = self.step.not_counted.get(name, 0) + 1
            return out
        self.step.add(name.replace("::", "."), flops * (4 if number.is_complex() else 1))  # complex: four real ones
        return out

    def attention(self, query: Any, key: Any, value: Any) -> None:
        """Count the forward of a fused attention kernel."""
        self.step.add(_ATTENTION, self._formulas[_FUSED](query, key, value, out_val=None))

    def attention_backward(self, grad: Any, query: Any, key: Any, value: Any) -> None:
        """Count its backward: five products, the scores once more among them."""
        flops = self._formulas[_FUSED + "_backward"](grad, query, key, value, out_val=None)
        self.step.add(_ATTENTION, flops)
        self.step.scores_again += flops - 2 * self._formulas[_FUSED](query, key, value, out_val=None)


def _is_integer(tensor: Any) -> bool:
    return not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
