"""The operations of a whole fine-tune by one method: each step shape counted once, times its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ftprof.estimate.method import TuningMethod
from ftprof.estimate.reference_formulas import ReferenceFigure, aws_formula, six_pd
from ftprof.estimate.workload import StepShape, Workload

if TYPE_CHECKING:
    from ftprof.estimate.operations import StepOperations


@dataclass(frozen=True)
class MethodEstimate:
    """What a fine-tune executes, in FLOP: exact integers, by the operators' formulas.

    ``recomputed`` (activation checkpointing) is in ``executed`` and not in ``guidelines_basis``. ``scores_again`` and
    ``attention`` are parts of ``executed``. The figures a token are those of a full step and count a position of
    padding as a token. ``parameters`` has the adapters, ``model_parameters`` has not.
    """

    method: TuningMethod
    attention_kind: str
    model_parameters: int
    parameters: int
    trainable: int
    forward: int
    backward: int
    recomputed: int
    attention: int
    scores_again: int
    by_operator: Mapping[str, int]
    not_counted: tuple[str, ...]
    executed_a_token: Fraction
    guidelines_basis_a_token: Fraction
    steps: tuple[tuple[StepShape, int], ...]
    references: tuple[ReferenceFigure, ...]

    @property
    def executed(self) -> int:
        """All that executes."""
        return self.forward + self.backward + self.recomputed

    @property
    def guidelines_basis(self) -> int:
        """Less the recomputation of activations, which Annex A.1 of the Guidelines need not count."""
        return self.forward + self.backward


@dataclass(frozen=True)
class ModelOptions:
    """What decides how the model runs: the config's content, the attention and whether activations are recomputed."""

    config: Mapping[str, Any]
    attention: str
    checkpointing: bool


def estimate_method(model_options: ModelOptions, method: TuningMethod, workload: Workload) -> MethodEstimate:
    """Build the model without weights, apply the method, and count one step of each shape.

    Needs torch, transformers and peft; call it under ``quiet_libraries``. Raises FtprofError for an architecture that
    cannot be built or run so, UsageProblem for targets and patterns that match nothing.
    """
    from ftprof.estimate import meta_model
    from ftprof.estimate.step import count_step

    model, attention = meta_model.build_model(
        model_options.config, "eager" if model_options.attention == "eager" else "sdpa"
    )
    model_parameters, _ = meta_model.parameters(model)
    model = meta_model.apply_method(model, method)
    if model_options.checkpointing:
        meta_model.enable_checkpointing(model)
    fused = attention == "sdpa"
    counted = [(shape, count_step(model, shape.batch, shape.length, fused)) for shape in workload.shapes]
    total, trainable = meta_model.parameters(model)
    return _sum(
        method, _kind(model_options.attention, attention), (model_parameters, total, trainable), counted, workload
    )


def _kind(wanted: str, has: str) -> str:
    if wanted != "eager" and has == "eager":
        return "eager (this architecture has no other)"
    return wanted


def _sum(
    method: TuningMethod,
    attention_kind: str,
    sizes: tuple[int, int, int],
    counted: list[tuple[StepShape, StepOperations]],
    workload: Workload,
) -> MethodEstimate:
    model_parameters, total, trainable = sizes

    def whole(part: str) -> int:
        return sum(shape.steps * sum(getattr(step, part).values()) for shape, step in counted)

    by_operator: dict[str, int] = {}
    for shape, step in counted:
        for operator, flops in step.by_operator().items():
            by_operator[operator] = by_operator.get(operator, 0) + shape.steps * flops
    first, step = counted[0]
    again = sum(step.recomputed.values())
    return MethodEstimate(
        method=method,
        attention_kind=attention_kind,
        model_parameters=model_parameters,
        parameters=total,
        trainable=trainable,
        forward=whole("forward"),
        backward=whole("backward"),
        recomputed=whole("recomputed"),
        attention=by_operator.get("attention", 0),
        scores_again=sum(shape.steps * step.scores_again for shape, step in counted),
        by_operator=by_operator,
        not_counted=tuple(sorted({name for _, step in counted for name in step.not_counted})),
        executed_a_token=Fraction(step.executed, first.batch * first.length),
        guidelines_basis_a_token=Fraction(step.executed - again, first.batch * first.length),
        steps=tuple((shape, step.executed) for shape, step in counted),
        references=(
            six_pd(model_parameters, workload.positions),
            aws_formula(total, trainable, workload.positions),
        ),
    )
