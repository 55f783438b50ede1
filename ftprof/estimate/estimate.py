"""The whole answer of ``ftprof estimate``: every method compared, each policy's threshold, hours and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ftprof.estimate.chip import MachineUse, PlannedChip
from ftprof.estimate.method import TuningMethod, compared_methods
from ftprof.estimate.method_estimate import MethodEstimate, ModelOptions, estimate_method
from ftprof.estimate.threshold_distance import ThresholdDistance, distances
from ftprof.estimate.workload import Workload, WorkloadOptions, plan_workload
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import Policy
from ftprof.quantity import to_json

SCHEMA = "ftprof.estimate/1"
CONVENTION = (
    "attention is the full square, also under a causal mask, as wrap's analytic method counts it; fused GPU kernels "
    "skip up to half of that, so hardware counters find less"
)


@dataclass(frozen=True)
class Estimate:
    """The chosen method's estimate first, then those beside it; ``machine`` has one use for each, or none."""

    model_type: str
    workload: Workload
    workload_options: WorkloadOptions
    checkpointing: bool
    methods: tuple[MethodEstimate, ...]
    distances: tuple[ThresholdDistance, ...]
    machine: tuple[MachineUse, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> MethodEstimate:
        """The estimate of the method that was asked for."""
        return self.methods[0]

    def to_json(self) -> dict[str, Any]:
        """The answer as schema ``ftprof.estimate/1``: counts as decimal strings, exact fractions as "n/d"."""
        workload = self.workload
        return {
            "schema": SCHEMA,
            "model_type": self.model_type,
            "flops": str(self.chosen.executed),
            "method": "analytic",
            "workload": {
                "sequence_length": self.workload_options.sequence_length,
                "batch_size": self.workload_options.batch_size,
                "packing": workload.packing,
                "gradient_checkpointing": self.checkpointing,
                "positions": str(workload.positions),
                "tokens": None if workload.tokens is None else str(workload.tokens),
                "padding": None if workload.padding is None else str(workload.padding),
                "steps": str(workload.steps),
                "assumptions": [*workload.assumptions, CONVENTION],
            },
            "methods": [self._method(index) for index in range(len(self.methods))],
            "notes": list(self.notes),
        }

    def _method(self, index: int) -> dict[str, Any]:
        estimate = self.methods[index]
        label = estimate.method.describe()
        return {
            "name": estimate.method.name,
            "description": label,
            "attention_kind": estimate.attention_kind,
            "parameters": {
                "model": str(estimate.model_parameters),
                "total": str(estimate.parameters),
                "trainable": str(estimate.trainable),
            },
            "executed": str(estimate.executed),
            "guidelines_basis": str(estimate.guidelines_basis),
            "forward": str(estimate.forward),
            "backward": str(estimate.backward),
            "recomputed": str(estimate.recomputed),
            "attention_scores_computed_again": str(estimate.scores_again),
            "executed_a_token": to_json(estimate.executed_a_token),
            "guidelines_basis_a_token": to_json(estimate.guidelines_basis_a_token),
            "steps": [
                {"batch": shape.batch, "length": shape.length, "steps": str(shape.steps), "flops_a_step": str(flops)}
                for shape, flops in estimate.steps
            ],
            "by_operator": {name: str(flops) for name, flops in sorted(estimate.by_operator.items())},
            "not_counted": list(estimate.not_counted),
            "references": [
                {"name": figure.name, "flops": str(figure.flops), "source": figure.source}
                for figure in estimate.references
            ],
            "verdicts": [
                {
                    **found.verdict.to_json(),
                    "flops": str(found.flops_compared),
                    "largest_tokens_below": None if found.largest_tokens is None else str(found.largest_tokens),
                }
                for found in self.distances
                if found.method == label
            ],
            "machine": _machine(self.machine[index]) if self.machine else None,
        }


def _machine(use: MachineUse) -> dict[str, Any]:
    energy = use.energy_kwh
    return {
        "chip": use.chip.name,
        "peak_flops_per_second": to_json(use.chip.peak),
        "peak_basis": use.chip.basis,
        "utilization": to_json(use.utilization),
        "gpu_hours": to_json(use.gpu_hours),
        "power_w": use.chip.power_w,
        "source": use.chip.source,
        "energy_kwh": None if energy is None else to_json(energy),
    }


@dataclass(frozen=True)
class PolicyQuestion:
    """By which policies to judge, and what is known of the base model."""

    policies: Sequence[Policy]
    inputs: PolicyInputs
    notes: tuple[str, ...] = ()


def estimate(
    config: Mapping[str, Any],
    method: TuningMethod,
    workload_options: WorkloadOptions,
    question: PolicyQuestion,
    *,
    attention: str = "sdpa",
    checkpointing: bool = False,
    chip: PlannedChip | None = None,
    utilization: Fraction = Fraction(2, 5),
) -> Estimate:
    """Estimate a fine-tune of the model that ``config`` (a ``config.json``'s content) describes.

    Raises UsageProblem, UntrustedInput and FtprofError as its parts do; the parts that need torch come last.
    """
    from ftprof.estimate.meta_model import quiet_libraries

    workload = plan_workload(workload_options)
    options = ModelOptions(config, attention, checkpointing)
    with quiet_libraries():
        methods = tuple(estimate_method(options, each, workload) for each in compared_methods(method))
    machine = () if chip is None else tuple(MachineUse(chip, utilization, each.executed) for each in methods)
    found = distances(methods, question.policies, question.inputs)
    notes = (*question.notes, *_notes(config, methods[0]))
    model_type = str(config["model_type"])
    return Estimate(model_type, workload, workload_options, checkpointing, methods, found, machine, notes)


def _notes(config: Mapping[str, Any], chosen: MethodEstimate) -> list[str]:
    notes = []
    if any(part in config for part in ("vision_config", "audio_config")):
        notes.append("Text only: what its parts for images or sound would execute is not in the number.")
    if any("grouped_mm" in operator for operator in chosen.by_operator):
        notes.append("A mixture of experts: the count has the active experts only; 6PD and the AWS formula take all.")
    if chosen.not_counted:
        names = ", ".join(chosen.not_counted)
        notes.append(f"Not counted, since no formula fits: {names}; the compute is more than the figure shown.")
    return notes
