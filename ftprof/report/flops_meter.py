"""The JSON fields of the AWS Fine-Tuning FLOPs Meter, for pipelines that read those.

Names and types are those of ``flops_meter.json`` as ``flops_meter.py`` of aws-samples/amazon-sagemaker-generativeai
writes it (commit 6c37b2a). A field that a record cannot truthfully fill is null, and ``ftprof.fields`` says why; exact
numbers are in ``ftprof`` too. Each field means one thing in every case: docs/report.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ftprof.policy.policy import load_policy
from ftprof.policy.verdict import Verdict, judge
from ftprof.quantity import ratio_text, to_json
from ftprof.report.judged_run import JudgedRun
from ftprof.report.plain import plain
from ftprof.report.run_use import RunUse, run_use

SCHEMA = "ftprof.flops-meter/1"
POLICY = "aws-2026"
THRESHOLD_TYPES = {
    "default": "default_3.3e22",
    "relative": "30pct_of_actual_pretraining",
    "systemic-risk": "systemic_risk_3.3e24",  # the meter has no such branch, the AWS blog has
}
_HARDWARE = ("counters", "sampled", "gpm", "peak-bound")
_NOT_IN_A_RECORD = {
    "N_total": "ftprof counts operations, not parameters",
    "N_trainable": "ftprof counts operations, not parameters",
    "tokens_processed": "ftprof counts operations, not tokens",
    "num_epochs": "ftprof does not see epochs",
    "gpu_rank": "the record is of all ranks",
    "recipe_config": "the record does not hold the recipe; the command is in it",
    "recipe_config_details": "the record does not hold the recipe; the command is in it",
}


@dataclass(frozen=True)
class _Value:
    """A field's value; ``why`` is set where it is null or not what the name says at first sight."""

    value: Any
    why: str | None = None


def flops_meter_json(run: JudgedRun) -> str:
    """The whole file, in ASCII."""
    return json.dumps(flops_meter(run), indent=2)


def flops_meter(run: JudgedRun) -> dict[str, Any]:
    """The fields in the meter's order, and the object ``ftprof``."""
    verdict, use = _verdict(run), run_use(run.record)
    fields = _fields(run, verdict, use)
    return {
        **{name: field.value for name, field in fields.items()},
        "ftprof": _own(run, verdict, use, {name: field.why for name, field in fields.items() if field.why}),
    }


def _fields(run: JudgedRun, verdict: Verdict, use: RunUse) -> dict[str, _Value]:
    def unknown(name: str) -> _Value:
        return _Value(None, _NOT_IN_A_RECORD[name])

    launches = [part.launch for part in run.record.runs if part.launch is not None]
    base = run.inputs.pretrain_flops_low
    job = _label((launch.job for launch in launches), "jobs", "TRAINING_JOB_NAME")
    return {
        "N_total": unknown("N_total"),
        "N_trainable": unknown("N_trainable"),
        "tokens_processed": unknown("tokens_processed"),
        "Flops_architecture": _compute(run),
        "Flops_hardware": _hardware(run),
        "pct_of_pretrain": _share_of_base(run, base),
        "exceeds_30pct": _exceeds(verdict),
        "model_name": _model(run),
        "num_epochs": unknown("num_epochs"),
        "training_duration_seconds": _duration(use),
        "gpu_size": _world_size(run),
        "gpu_rank": unknown("gpu_rank"),
        "Flops_original": _base(run, base),
        "threshold_type": _Value(THRESHOLD_TYPES[verdict.scenario]),
        "threshold_value": _Value(scientific(verdict.threshold_flops)),
        "training_job_name": job,
        # As the meter makes it: what follows the last hyphen of the job's name.
        "training_id": _Value(job.value and job.value.rpartition("-")[2], job.why),
        "recipe_config": unknown("recipe_config"),
        "recipe_config_details": unknown("recipe_config_details"),
        "gpu_name": _gpu_name(run, use),
        "instance_type": _label(
            (launch.instance_type for launch in launches), "types of instance", "TRAINING_INSTANCE_TYPE"
        ),
        "model_package_group_name": _label(
            (launch.model_package_group for launch in launches), "model package groups", "MODEL_PACKAGE_GROUP_NAME"
        ),
    }


def scientific(flops: Fraction) -> str:
    """As the meter writes FLOPs: a leading space, three significant figures."""
    return f"{float(flops): .2e}"


def _verdict(run: JudgedRun) -> Verdict:
    """That of the meter's own policy, whichever policies the report shows."""
    for verdict in run.verdicts:
        if verdict.policy == POLICY:
            return verdict
    return judge(load_policy(POLICY), run.inputs, run.executed, run.basis.amount)


def _compute(run: JudgedRun) -> _Value:
    value, method = run.executed.value, run.record.method
    if value is None:
        return _Value(None, "nothing was counted")
    if method == "peak-bound":
        return _Value(None, "there is an upper bound only, which is in Flops_hardware; a bound is no compute")
    if method == "analytic":
        return _Value(scientific(value))
    return _Value(scientific(value), f"the compute that is compared with the threshold: by {method}, not by a formula")


def _hardware(run: JudgedRun) -> _Value:
    value, method = run.executed.value, run.record.method
    if value is None:
        return _Value(None, "nothing was counted")
    if method not in _HARDWARE:
        return _Value(None, f"the method {method} does not ask the hardware")
    what = {"gpm": "an estimate from the GPUs' activity", "peak-bound": "an upper bound: time at peak rate"}
    return _Value(scientific(value), what.get(method, "what the hardware counters counted"))


def _share_of_base(run: JudgedRun, base: Fraction | None) -> _Value:
    value = run.executed.value
    if base is None:
        return _Value(None, "the base model's compute is not known; ftprof.ratio is the share of the threshold")
    if value is None or run.record.method == "peak-bound":
        return _Value(None, "there is no figure of the compute")
    return _Value(float(value / base), _range_note(run))


def _exceeds(verdict: Verdict) -> _Value:
    if verdict.verdict in ("above", "below"):
        return _Value(verdict.verdict == "above")
    return _Value(None, f"the verdict is {verdict.verdict}: see ftprof.why")


def _model(run: JudgedRun) -> _Value:
    model = run.inputs.base_model
    return _Value(None, "the run did not state its base model") if model is None else _Value(plain(model))


def _duration(use: RunUse) -> _Value:
    if use.wall_us is None:
        return _Value(None, "the end of the run is not known")
    return _Value(round(use.wall_us / 1_000_000, 2))


def _world_size(run: JudgedRun) -> _Value:
    """The launcher's number of ranks; a single process is a world of its own."""
    ranks = [process.rank or {} for process in run.record.processes]
    sizes = [size for rank in ranks if isinstance(size := rank.get("world_size"), int)]
    if sizes:
        return _Value(max(sizes))
    if len({process.identity for process in run.record.processes}) == 1:
        return _Value(1)
    return _Value(None, "no process stated a number of ranks; ftprof.gpus is the number of GPUs")


def _label(said: Iterable[str | None], what: str, variable: str) -> _Value:
    """What the run's environment said of itself, where all its parts say the same."""
    names = {text for text in said if text is not None}
    if len(names) != 1:
        return _Value(
            None, f"the record names several {what}" if names else f"{variable} was not set where the run began"
        )
    return _Value(plain(names.pop()))


def _base(run: JudgedRun, base: Fraction | None) -> _Value:
    if base is None:
        return _Value(None, "the base model's compute is not known")
    return _Value(scientific(base), _range_note(run))


def _range_note(run: JudgedRun) -> str | None:
    if run.inputs.pretrain_flops_low == run.inputs.pretrain_flops_high:
        return None
    return "the base model's compute has several derivations; this is the lowest, and ftprof.why says which one decides"


def _gpu_name(run: JudgedRun, use: RunUse) -> _Value:
    names = [kind.name for kind in use.types] or sorted(
        {
            str(device["name"])
            for process in run.record.processes
            for device in process.devices
            if device.get("name") and str(device.get("device")).startswith("cuda")
        }
    )
    if not names:
        return _Value(None, "no GPU was seen in use")
    several = "GPUs of several names" if len(names) > 1 else None
    return _Value(plain(", ".join(names)), several)


def _own(run: JudgedRun, verdict: Verdict, use: RunUse, fields: dict[str, str | None]) -> dict[str, Any]:
    amount, basis = run.executed, run.basis.amount
    return {
        "schema": SCHEMA,
        "version": run.record.runs[0].ftprof if run.record.runs else None,
        "record_digest": run.digest,
        "method": run.record.method,
        "complete": run.record.complete,
        "flops": _exact(amount.value),
        "low": _exact(amount.low),
        "high": _exact(amount.high),
        "guidelines_basis": {"flops": _exact(basis.value), "low": _exact(basis.low), "high": _exact(basis.high)},
        "pretrain_flops_low": _exact(run.inputs.pretrain_flops_low),
        "pretrain_flops_high": _exact(run.inputs.pretrain_flops_high),
        "policy": verdict.policy,
        "scenario": verdict.scenario,
        "threshold_flops": _exact(verdict.threshold_flops),
        "ratio": None if verdict.ratio is None else ratio_text(verdict.ratio),
        "verdict": verdict.verdict,
        "why": verdict.why,
        "verdicts": {other.policy: other.verdict for other in run.verdicts},
        "gpus": use.devices,
        "reasons": [plain(reason) for reason in run.record.reasons],
        "fields": fields,
    }


def _exact(flops: Fraction | None) -> str | None:
    return None if flops is None else to_json(flops)
