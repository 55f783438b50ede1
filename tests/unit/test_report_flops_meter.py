"""The JSON fields of the AWS Fine-Tuning FLOPs Meter: its names, its types, and right values."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from report_records import (
    RECORDS,
    analytic,
    declared,
    judged,
    killed,
    nothing,
    peak_bound,
    process,
    run_info,
    sampled,
    unbounded,
)

from ftprof.policy.inputs import PolicyInputs
from ftprof.record.launch import Launch
from ftprof.record.record import Record
from ftprof.report.flops_meter import flops_meter, flops_meter_json, scientific

# By flops_meter.py at commit 6c37b2a: what it writes in each field; every one of ours may be null.
TYPES: dict[str, type | tuple[type, ...]] = {
    "N_total": int, "N_trainable": int, "tokens_processed": int, "Flops_architecture": str, "Flops_hardware": str,
    "pct_of_pretrain": float, "exceeds_30pct": bool, "model_name": str, "num_epochs": float,
    "training_duration_seconds": float, "gpu_size": int, "gpu_rank": int, "Flops_original": str, "threshold_type": str,
    "threshold_value": str, "training_job_name": str, "training_id": str, "recipe_config": str,
    "recipe_config_details": dict, "gpu_name": str, "instance_type": str, "model_package_group_name": str,
}  # fmt: skip


def fields(record: Record) -> dict[str, Any]:
    return dict(json.loads(flops_meter_json(judged(record))))


def with_base(base: str | None, systemic_risk: bool | None = None, record: Record | None = None) -> dict[str, Any]:
    flops = None if base is None else Fraction(int(Fraction(base)))
    inputs = PolicyInputs(flops, flops, None if base is None else "given", None, systemic_risk)
    return fields(replace(record or sampled(), policy_inputs=inputs.to_json()))


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_field_has_its_name_and_type_or_a_reason(name: str) -> None:
    record = RECORDS[name]()
    answer = fields(record)
    assert list(answer) == [*TYPES, "ftprof"]
    own = answer["ftprof"]
    for field, kind in TYPES.items():
        if answer[field] is None:
            assert own["fields"][field], field
        else:
            assert isinstance(answer[field], kind), field
            assert not (kind is int and isinstance(answer[field], bool))
    for field in ("Flops_architecture", "Flops_hardware", "Flops_original", "threshold_value"):
        if answer[field] is not None:
            assert answer[field].startswith(" ")
            float(answer[field])
    interval = record.interval
    assert own["flops"] == (None if interval.value is None else str(interval.value))
    assert own["high"] == (None if interval.high is None else str(interval.high))
    assert (own["low"], own["method"], own["complete"]) == (str(interval.low), record.method, record.complete)
    assert own["record_digest"] == record.to_json()["digest"]


def test_the_compute_is_the_one_that_is_compared() -> None:
    counted = fields(sampled())
    assert counted["Flops_architecture"] == counted["Flops_hardware"] == " 2.40e+19"
    assert "not by a formula" in counted["ftprof"]["fields"]["Flops_architecture"]
    formula = fields(analytic())
    assert (formula["Flops_architecture"], formula["Flops_hardware"]) == (" 1.00e+17", None)
    bound = fields(peak_bound())
    assert (bound["Flops_architecture"], bound["Flops_hardware"]) == (None, " 9.00e+19")
    empty = fields(nothing())
    assert (empty["Flops_architecture"], empty["Flops_hardware"], empty["exceeds_30pct"]) == (None, None, None)


@pytest.mark.parametrize(
    ("base", "risk", "kind", "threshold", "share"),
    [
        (None, None, "default_3.3e22", " 3.30e+22", None),
        (None, True, "systemic_risk_3.3e24", " 3.30e+24", None),
        ("75e21", None, "default_3.3e22", " 3.30e+22", 2.4e19 / 7.5e22),
        ("1e23", None, "30pct_of_actual_pretraining", " 3.00e+22", 2.4e-4),
        ("38e24", None, "systemic_risk_3.3e24", " 3.30e+24", 2.4e19 / 3.8e25),
    ],
)
def test_one_meaning_in_every_branch(
    base: str | None, risk: bool | None, kind: str, threshold: str, share: float | None
) -> None:
    """The threshold is the one that is compared, and the share is that of the base model's compute."""
    answer = with_base(base, risk)
    assert (answer["threshold_type"], answer["threshold_value"]) == (kind, threshold)
    assert answer["pct_of_pretrain"] == (None if share is None else pytest.approx(share))
    assert answer["exceeds_30pct"] is False
    exact = Fraction(answer["ftprof"]["threshold_flops"])
    assert scientific(exact) == threshold


def test_exceeding_follows_the_verdict() -> None:
    assert with_base("1e23", record=_of(3 * 10**22))["exceeds_30pct"] is False  # equality is not more
    above = with_base("1e23", record=_of(3 * 10**22 + 1))
    assert (above["exceeds_30pct"], above["ftprof"]["verdict"]) == (True, "above")
    undetermined = fields(unbounded())
    assert undetermined["exceeds_30pct"] is None
    assert "undetermined" in undetermined["ftprof"]["fields"]["exceeds_30pct"]


def test_a_base_with_two_derivations_is_shown_by_the_lower() -> None:
    answer = fields(declared())
    assert answer["Flops_original"] == " 1.00e+23"
    assert answer["ftprof"]["pretrain_flops_high"] == "400000000000000000000000"
    assert "several derivations" in answer["ftprof"]["fields"]["Flops_original"]


def test_times_and_devices() -> None:
    answer = fields(sampled())
    assert (answer["training_duration_seconds"], answer["gpu_size"]) == (7200.0, 8)
    assert (answer["gpu_name"], answer["model_name"]) == ("NVIDIA H200", "Llama-2-7B")
    assert fields(killed())["training_duration_seconds"] is None
    resumed = run_info(began_us=run_info().began_us + 10**10, ended_us=run_info().began_us + 11 * 10**9, run="later")
    assert fields(replace(sampled(), runs=(run_info(), resumed)))["training_duration_seconds"] == 8200.0
    unranked = analytic(processes=tuple(process(n, 50 * 10**15, "analytic", rank=None) for n in (1, 2)))
    assert fields(unranked)["gpu_size"] is None
    assert fields(analytic())["gpu_size"] == 1


def test_only_what_no_record_holds_is_null() -> None:
    """Of a run with counters in a SageMaker job, whose base model is known."""
    launch = Launch(
        True, job="tune-2026-7", instance_type="ml.p5en.48xlarge", model_package_group="models"
    )  # what launch_of reads from the variables
    answer = with_base("1e23", record=replace(sampled(), runs=(run_info(launch=launch),)))
    answer["model_name"] = fields(sampled())["model_name"]
    assert {name for name in TYPES if answer[name] is None} == {
        "N_total", "N_trainable", "tokens_processed", "num_epochs", "gpu_rank",
        "recipe_config", "recipe_config_details",
    }  # fmt: skip
    assert (answer["training_job_name"], answer["training_id"]) == ("tune-2026-7", "7")
    assert (answer["instance_type"], answer["model_package_group_name"]) == ("ml.p5en.48xlarge", "models")
    other = replace(launch, instance_type="ml.g5.xlarge")
    mixed = fields(replace(sampled(), runs=(run_info(launch=launch), run_info(launch=other, run="other"))))
    assert (mixed["instance_type"], mixed["model_package_group_name"]) == (None, "models")
    assert "several types" in mixed["ftprof"]["fields"]["instance_type"]


def test_it_is_the_meter_s_policy_whatever_the_report_shows() -> None:
    run = judged(sampled())
    alone = replace(run, verdicts=tuple(verdict for verdict in run.verdicts if verdict.policy == "ec-2025"))
    assert flops_meter(alone)["threshold_value"] == flops_meter(run)["threshold_value"] == " 3.30e+22"


def _of(flops: int) -> Record:
    from ftprof.record.interval import Interval
    from ftprof.record.journal import Cell
    from ftprof.record.timeline import Timeline

    work = Timeline()
    work.add(1, 100_000, flops)
    return analytic(
        interval=Interval(flops, flops, flops), counts={Cell("aten.mm", "bf16", "cpu"): (1, flops)}, timeline=work,
        processes=(process(1, flops, "analytic", rank=None),),
    )  # fmt: skip
