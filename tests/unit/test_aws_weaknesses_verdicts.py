"""Each weakness of the AWS Fine-Tuning FLOPs Meter about peaks, thresholds and wording, and that ftprof has it not.

The ids (D1, T1, R5, ...) are those of the list of weaknesses that ftprof was built against; what needs a run is in
tests/integration/test_aws_weaknesses_runs.py. D is devices, P parameters and tokens, T thresholds, R records.
"""

from __future__ import annotations

import ast
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, clean_environment, ftprof

from ftprof.quantity import two_figures
from ftprof.record.peaks import chip_peaks, peak_flops_per_second

PACKAGE = REPOSITORY / "ftprof"
ORDINARY, SYSTEMIC = Fraction(10**23, 3), Fraction(10**25, 3)


def check(*arguments: str, **environment: str) -> tuple[int, Any]:
    done = ftprof("check", *arguments, "--json", env=clean_environment(**environment))
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def guidelines(*arguments: str) -> dict[str, Any]:
    _, answer = check(*arguments, "--policy", "ec-2025")
    return dict(answer["verdicts"][0])


@pytest.mark.parametrize(
    ("name", "capability", "multiprocessors", "clock_mhz", "dense_bf16"),
    [
        ("NVIDIA H200", "9.0", 132, 1830, 989e12),  # AWS: that of an H20, 148e12
        ("NVIDIA GH200 480GB", "9.0", 132, 1830, 989e12),  # AWS: the same
        ("NVIDIA H100 PCIe", "9.0", 114, 1620, 756e12),  # AWS: that of the SXM
        ("NVIDIA L40S", "8.9", 142, 2520, 362e12),  # AWS: half of it, that of an L40
        ("NVIDIA A40", "8.6", 84, 1740, 149.7e12),
    ],
)
def test_d1_d2_a_peak_is_that_of_the_chips_size_and_capability(
    name: str, capability: str, multiprocessors: int, clock_mhz: int, dense_bf16: float
) -> None:
    """No name goes in, so none is matched by a part of it and none borrows a sibling's peak."""
    chip = chip_peaks(capability)
    assert chip is not None
    dense = chip.tensor["bf16"] * multiprocessors * clock_mhz * 10**6
    assert dense == pytest.approx(dense_bf16, rel=0.02), name
    bound = peak_flops_per_second(capability, multiprocessors, clock_mhz * 1000)
    assert bound is not None
    assert bound > dense
    assert chip_peaks(name) is None


@pytest.mark.parametrize("capability", ["7.0", "6.1", "13.0", None])
def test_d3_an_unknown_chip_has_no_peak(capability: str | None) -> None:
    assert peak_flops_per_second(capability, 80, 1_530_000) is None


def test_d3_a_stated_peak_says_which_it_is() -> None:
    hours = ("--pretrain-gpu-hours", "1e6", "--pretrain-utilization", "0.5")
    code, said = check("--flops", "1", *hours, "--pretrain-gpu-peak", "989e12")
    assert code == 2
    assert "does not say on what basis" in said
    code, answer = check("--flops", "1", *hours, "--pretrain-gpu-peak", "989e12 dense BF16")
    assert code == 0
    assert "989000000000000 FLOP/s (dense BF16)" in answer["notes"][0]


def test_d4_fp8_has_a_peak_and_a_counter_of_its_own() -> None:
    chip = chip_peaks("9.0")
    assert chip is not None
    assert chip.tensor["fp8"] == 2 * chip.tensor["bf16"]
    assert chip.bound > chip.tensor["fp8"]
    rows = (REPOSITORY / "csrc" / "counters" / "metric_table.inc").read_text()
    assert '{"sm__ops_path_tensor_src_fp8", "fp8",' in rows.replace("_dst_fp32", "")


def test_d5_what_is_stated_wins() -> None:
    peak = ("--pretrain-gpu-hours", "1", "--pretrain-utilization", "1", "--pretrain-gpu-peak", "67e12 NVIDIA H100")
    assert Fraction(guidelines("--flops", "1", *peak)["threshold_flops"]) == 67 * 10**12 * 3600 // 3
    stated = check("--flops", "1", "--pretrain-flops", "3e24", "--base-model", "Qwen2.5-14B", PRETRAIN_FLOPS="9e24")[1]
    assert [verdict["threshold_flops"] for verdict in stated["verdicts"]] == [f"9{'0' * 23}", f"1{'0' * 24}"]


def test_t1_unknown_and_ordinary_is_a_third_of_1e23() -> None:
    verdict = guidelines("--flops", "3.32e22")
    assert Fraction(verdict["threshold_flops"]) == ORDINARY
    assert verdict["verdict"] == "below"  # AWS: above 3.3e22


def test_t2_unknown_and_systemic_is_a_third_of_1e25() -> None:
    verdict = guidelines("--flops", "3.3e24", "--systemic-risk")
    assert Fraction(verdict["threshold_flops"]) == SYSTEMIC
    assert verdict["verdict"] == "below"  # AWS's code: above 3.3e22


GPU_HOURS = (
    "--pretrain-gpu-hours",
    "460e3",
    "--pretrain-gpu-peak",
    "989e12 dense BF16",
    "--pretrain-utilization",
    ".5",
)
ESTIMATES = {
    "6PD": (("--pretrain-params", "3.21e9", "--pretrain-tokens", "9e12"), "5.8e22", "6 x 3210000000 parameters"),
    "hardware": (GPU_HOURS, "2.7e23", "460000 h x 3600 s/h"),
}


@pytest.mark.parametrize("way", ESTIMATES)
def test_t3_what_can_be_estimated_is_estimated_first(way: str) -> None:
    options, expected, how = ESTIMATES[way]
    _, answer = check("--flops", "1e20", "--policy", "ec-2025", *options)
    (verdict,) = answer["verdicts"]
    assert two_figures(Fraction(verdict["threshold_flops"])) == two_figures(Fraction(expected))
    assert verdict["scenario"] == "relative"
    assert "is estimated, " in verdict["why"]
    assert how in answer["notes"][0]


def test_t3_a_base_model_whose_parameters_and_tokens_are_known_is_not_unknown() -> None:
    _, answer = check("--flops", "1e20", "--base-model", "Llama-3.2-3B", "--policy", "ec-2025")
    assert answer["verdicts"][0]["scenario"] == "relative"
    assert "MODEL_CARD.md" in answer["notes"][0]


def test_t4_known_and_below_1e23() -> None:
    verdict = guidelines("--flops", "2.6e22", "--pretrain-flops", "7.5e22")
    assert Fraction(verdict["threshold_flops"]) == Fraction("2.5e22")
    assert verdict["verdict"] == "above"  # AWS: below 3.3e22


def test_t5_exactly_1e23_is_not_more_than_it() -> None:
    verdict = guidelines("--flops", "1e23/3", "--pretrain-flops", "1e23")
    assert (Fraction(verdict["threshold_flops"]), verdict["verdict"]) == (ORDINARY, "below")
    assert "paragraph 17 presumes it is not at 10^23 FLOP or less" in verdict["why"]


@pytest.mark.parametrize("base", ["1e25", "3.8e25"])
def test_t6_a_base_of_systemic_size_keeps_a_third(base: str) -> None:
    assert Fraction(guidelines("--flops", "1", "--pretrain-flops", base)["threshold_flops"]) == Fraction(base) / 3


def test_t6_exactly_1e25_is_not_more_than_it() -> None:
    assert check("--flops", "1", "--pretrain-flops", "1e25", "--no-systemic-risk")[0] == 0
    assert check("--flops", "1", "--pretrain-flops", "10000000000000000000000001", "--no-systemic-risk")[0] == 2


def test_t7_between_30_percent_and_a_third() -> None:
    _, answer = check("--flops", "3.2e23", "--pretrain-flops", "1e24")
    outcomes = {verdict["policy"]: verdict["verdict"] for verdict in answer["verdicts"]}
    assert outcomes == {"aws-2026": "above", "ec-2025": "below"}
    assert answer["notes"][0] == "The policies differ: aws-2026 says above, ec-2025 says below."


def test_t8_exactly_a_third_is_not_exceeded() -> None:
    assert guidelines("--flops", "1e24/3", "--pretrain-flops", "1e24")["verdict"] == "below"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "garbage"])
@pytest.mark.parametrize("way", ["option", "variable"])
def test_t9_a_base_compute_that_is_none_is_an_error(text: str, way: str) -> None:
    """No verdict and no silent default, of one that stands in the environment either."""
    option = (f"--pretrain-flops={text}",) if way == "option" else ()
    environment = {"PRETRAIN_FLOPS": text} if way == "variable" else {}
    done = ftprof("check", "--flops", "1", *option, "--json", env=clean_environment(**environment))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


BRANCHES = [(), ("--systemic-risk",), *(("--pretrain-flops", base) for base in ("7.5e22", "1e23", "1e24", "3.8e25"))]


@pytest.mark.parametrize("branch", BRANCHES, ids=" ".join)
def test_t10_threshold_and_ratio_mean_one_thing_in_every_branch(branch: tuple[str, ...]) -> None:
    """The threshold is what the compute is compared with, and the ratio is the compute over it: 1 is the limit."""
    for verdict in check("--flops", "1", *branch)[1]["verdicts"]:
        threshold, policy = verdict["threshold_flops"], ("--policy", verdict["policy"])
        code, at = check("--flops", threshold, *branch, *policy)
        assert (code, at["verdicts"][0]["ratio"]) == (0, "1.0e0")
        assert check("--flops", str(Fraction(threshold) + 1), *branch, *policy)[0] == 3


@pytest.mark.parametrize(
    ("flops", "outcome"),
    [("2.5e23", "below"), ("3e23", "within-margin"), ("4.7e23", "within-margin"), ("5e23", "above")],
)
def test_t11_thirty_percent_is_the_margin(flops: str, outcome: str) -> None:
    verdict = guidelines("--flops", flops, "--error", "0.3", "--pretrain-flops", "1e24")
    assert (verdict["verdict"], Fraction(verdict["threshold_flops"])) == (outcome, Fraction(10**24, 3))


@pytest.mark.parametrize("flops", ["1", "3.31e22", "1e26"])
def test_r5_the_wording_is_indicative(flops: str) -> None:
    done = ftprof("check", "--flops", flops)
    words = set(done.stdout.lower().replace(",", " ").replace(".", " ").split())
    assert not words & {"you", "you're", "your", "classified", "obligations", "illegal", "compliant"}
    assert done.stdout.splitlines()[-1].startswith("Indicative, case by case")


def test_r6_nothing_is_sent_anywhere() -> None:
    """No module of ftprof imports what talks to a network; what is written is one record, where it was asked for."""
    networks = {"boto3", "botocore", "requests", "urllib", "http", "httpx", "aiohttp", "ftplib", "smtplib", "socket"}
    imported: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert "json" in imported
    assert not imported & networks


def test_r6_no_target_in_the_environment_is_no_target(tmp_path: Path) -> None:
    variable = "TRAINING_PIPELINE_OUTPUT_S3_BASE"
    for number, base in enumerate(({}, {variable: ""}, {variable: "s3://x"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = ["wrap", "-q", "-o", "record.json", "--", sys.executable, "-c", ""]
        done = ftprof(*command, cwd=folder, env=clean_environment(**base))
        assert (done.returncode, done.stderr) == (0, "")
        assert [path.name for path in folder.iterdir()] == ["record.json"]
