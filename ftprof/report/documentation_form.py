"""The fields of the EU Model Documentation Form that a record can fill, and those that only the provider can.

The form is that of the Code of Practice's transparency chapter (AI Act, Annex XI, section 1, points 2(d) and 2(e)). Its
official wording was not checked; the fields are those on which several public copies of it agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ftprof.policy.amount import Amount
from ftprof.record.record import COUNTER_METHODS
from ftprof.report.amounts import day_text, decade_text, flop_text, form_energy_text, order_of_magnitude
from ftprof.report.judged_run import JudgedRun
from ftprof.report.methodology import methodology
from ftprof.report.run_use import DeviceType, RunUse, run_use

WORDING = (
    "The official wording of the form was not checked: the names of the fields, who reads which, and how they are "
    "rounded follow public copies of it. Compare them with the form before you send it. The figures are of this record "
    "alone; add other runs of the same modification (ftprof merge)."
)
NCAS = "national competent authorities"
AIO = "AI Office"
_BOTH = (NCAS, AIO)
BY_YOU = (
    "legal name of the provider, model name and version, release dates",
    "model authenticity, such as a hash of the weights",
    "model architecture, design specifications, and number of parameters (two significant figures or more)",
    "input and output modalities, distribution channels, licence, acceptable and intended uses",
    "training data: type, provenance, curation, size",
    "benchmarked amount of computation for inference, and how it was measured",
)
_TIME, _COMPUTE, _ENERGY = "Training time", "Amount of computation used for training", "Energy used for training"
_ENERGY_METHOD = (
    "The difference of the GPUs' own counters of energy (NVML total energy consumption, of the whole GPU whoever else "
    "used it) from when the run was first seen on a GPU until it was last seen there, looked at once a second. The "
    "rest of the machine, cooling and networks are not in it."
)


@dataclass(frozen=True)
class FormField:
    """A field for some readers, its answer in one or more lines; ``known`` is False where the record cannot tell."""

    name: str
    readers: tuple[str, ...]
    lines: tuple[str, ...]
    known: bool = True


def documentation_form(run: JudgedRun) -> tuple[FormField, ...]:
    """The fields that a record can fill, in the form's order."""
    use = run_use(run.record)
    return (
        _dependencies(run),
        _time_range(use),
        _time_value(run, use),
        _compute_order(run),
        _compute_value(run),
        FormField("How the amount of computation was measured", _BOTH, methodology(run)),
        *_energy(use, _no_device_seen(run)),
    )


def _dependencies(run: JudgedRun) -> FormField:
    name = "Model dependencies (the models that were modified)"
    model = run.inputs.base_model
    if model is None:
        return FormField(name, _BOTH, ("to be filled in by you: the run did not state its base model",), known=False)
    return FormField(name, _BOTH, (model,))


def _time_range(use: RunUse) -> FormField:
    if not use.wall_us:
        return FormField(_TIME, (NCAS,), (_unknown_end(use),), known=False)
    return FormField(_TIME, (NCAS,), (f"{decade_text(use.wall_us)} (a range of ours: take the form's own)",))


def _time_value(run: JudgedRun, use: RunUse) -> FormField:
    wall = f"{day_text(use.wall_us)} of wall-clock time" if use.wall_us else _unknown_end(use)
    lines = [wall, *(_hardware(kind) for kind in use.types)]
    if not use.types:
        processors = sorted(
            {str(device.get("name") or "") for p in run.record.processes for device in p.devices} - {""}
        )
        names = f" (devices of its processes: {', '.join(processors[:3])})" if processors else ""
        lines.append(f"hardware days: {_no_device_seen(run)}{names}; to be filled in by you")
    return FormField(_TIME, (AIO,), tuple(lines), known=bool(use.wall_us))


def _no_device_seen(run: JudgedRun) -> str:
    """``ftprof.count()`` does not watch whole devices: there that none was seen says nothing."""
    devices = [str(device["device"]) for process in run.record.processes for device in process.devices]
    if any(device.startswith("cuda") for device in devices) or run.record.method in COUNTER_METHODS:
        return "this record has no time of whole GPUs, as it was not made by ftprof wrap or NVML was not to be had"
    return "no GPU was seen in use"


def _hardware(kind: DeviceType) -> str:
    divided = f", of which {kind.instances} parts of divided GPUs" if kind.instances else ""
    return f"{day_text(kind.time_us)} of {kind.name} ({kind.count:,} used{divided})"


def _unknown_end(use: RunUse) -> str:
    return "to be filled in by you: when the run ended is not known" if use.began_us else "to be filled in by you"


def _compute_order(run: JudgedRun) -> FormField:
    value = run.executed.value
    if not value or run.record.method == "peak-bound":
        return FormField(_COMPUTE, (NCAS,), _no_compute(run), known=False)
    lines = [f"in the order of 10^{order_of_magnitude(value)} FLOP executed"]
    basis = run.basis.amount.value
    if run.basis_differs and basis and order_of_magnitude(basis) != order_of_magnitude(value):
        lines.append(f"in the order of 10^{order_of_magnitude(basis)} FLOP on guidelines-basis")
    lines += _incomplete(run)
    return FormField(_COMPUTE, (NCAS,), tuple(lines))


def _compute_value(run: JudgedRun) -> FormField:
    value = run.executed.value
    if not value or run.record.method == "peak-bound":
        return FormField(_COMPUTE, (AIO,), _no_compute(run), known=False)
    lines = [f"{_amount_text(run.executed)} executed"]
    if run.basis_differs and run.basis.amount.value is not None:
        lines.append(f"{_amount_text(run.basis.amount)} on guidelines-basis (Annex A.1)")
    lines += _incomplete(run)
    return FormField(_COMPUTE, (AIO,), tuple(lines))


def _amount_text(amount: Amount) -> str:
    """The figure; that it may be any more where nothing bounds it."""
    value = amount.value or Fraction(0)
    if amount.high is not None:
        return flop_text(value)
    if amount.low == value:
        return f"at least {flop_text(value)}"
    return f"{flop_text(value)}, at least {flop_text(amount.low)} and with no upper end,"


def _incomplete(run: JudgedRun) -> list[str]:
    """A figure goes into a form alone: what is wrong with it goes with it."""
    return [] if run.record.complete else ["the record is incomplete: how the amount was measured says what is missing"]


def _no_compute(run: JudgedRun) -> tuple[str, ...]:
    bound = run.executed.value
    if bound:
        return (f"to be filled in by you: the record has an upper bound only, {flop_text(bound)}",)
    return ("to be filled in by you: nothing was counted",)


def _energy(use: RunUse, no_device: str) -> tuple[FormField, FormField]:
    method = FormField("How the energy was measured", _BOTH, (_ENERGY_METHOD,))
    if use.energy_mj:
        return FormField(_ENERGY, _BOTH, (f"{form_energy_text(use.energy_mj)}, of the GPUs alone",)), method
    silent = sum(kind.silent for kind in use.types)
    told = sum(kind.energy_mj for kind in use.types)
    if not use.types:
        why = f"{no_device}, and ftprof measures no other energy"
    elif told:
        why = (
            f"{silent:,} of {use.devices:,} devices did not tell their energy; the others took {form_energy_text(told)}"
        )
    elif silent:
        why = "the GPUs do not tell their energy, or were parts of divided ones"
    else:
        why = "the GPUs' counters of energy did not move in that time"
    not_measured = FormField("How the energy was measured", _BOTH, (f"not measured: {why}",), known=False)
    return FormField(_ENERGY, _BOTH, (f"N/A: {why}",), known=False), not_measured
