"""The estimates of Annex A.2, on the worked examples of Annex A.3, through the options that a user has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ftprof.cli import main
from ftprof.errors import UsageProblem
from ftprof.policy.choice import PolicyOptions, read_policy_options
from ftprof.policy.derivation import GPU_HOURS, SIX_PD

PEAK = "989e12 dense BF16, H100 SXM"


@dataclass(frozen=True)
class Example:
    """A worked example: the options, the exact product, and the published value with its significant figures."""

    model: str
    options: dict[str, str]
    exact: str
    published: str
    figures: int
    truncated: bool = False


def _six_pd(params: str, tokens: str) -> dict[str, str]:
    return {"--pretrain-params": params, "--pretrain-tokens": tokens}


EXAMPLES = [
    Example("A", _six_pd("3.8e9", "3.3e12"), "7.524e22", "7.5e22", 2),
    Example("C", _six_pd("600e6", "36e12"), "1.296e23", "1.3e23", 2),
    Example("D", _six_pd("1.54e9", "18e12"), "1.6632e23", "1.663e23", 4),
    Example("E", _six_pd("1.7e9", "36e12"), "3.672e23", "3.7e23", 2),
    Example(
        "H",
        {"--pretrain-gpu-hours": "370000", "--pretrain-gpu-peak": PEAK, "--pretrain-utilization": "0.5"},
        "6.58674e23",
        "6.5e23",
        2,
        truncated=True,
    ),
]


def to_figures(exact: Fraction, figures: int, truncated: bool) -> Fraction:
    """The number with so many significant figures, rounded half up or cut off."""
    unit = Fraction(10) ** (len(str(exact.numerator // exact.denominator)) - figures)
    return (exact / unit + (0 if truncated else Fraction(1, 2))).__floor__() * unit


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as raised:
        main(["check", *arguments, "--policy", "ec-2025", "--json"])
    out, err = capsys.readouterr()
    assert isinstance(raised.value.code, int)
    return raised.value.code, json.loads(out) if out else err


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRETRAIN_FLOPS", raising=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"Model_{example.model}")
def test_a_worked_example_is_computed_from_its_inputs(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    options = [part for option in example.options.items() for part in option]
    code, answer = check(capsys, "--flops", "1e20", *options)
    exact = Fraction(example.exact)
    assert code == 0
    assert Fraction(answer["verdicts"][0]["threshold_flops"]) == exact / 3
    assert answer["verdicts"][0]["scenario"] == "relative"
    assert f"= {exact} FLOP (Guidelines C(2025) 5045, Annex A.2, paragraph 1" in answer["notes"][0]
    assert to_figures(exact, example.figures, example.truncated) == Fraction(example.published)
    if example.truncated:
        assert to_figures(exact, example.figures, truncated=False) != Fraction(example.published)


@pytest.mark.parametrize(("model", "published"), [("B", "1e23"), ("F", "1.8e23"), ("G", "1.5e23")])
def test_an_example_without_inputs_is_a_stated_base_compute(
    model: str, published: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = check(capsys, "--flops", f"{published}/3", "--pretrain-flops", published)
    (verdict,) = answer["verdicts"]
    assert (code, verdict["verdict"]) == (0, "below")
    assert Fraction(verdict["threshold_flops"]) == Fraction(published) / 3
    assert "is known, as stated by the user" in verdict["why"]
    assert ("paragraph 17 presumes it is not" in verdict["why"]) == (model == "B")


# Section 5 of the law notes: options, threshold, and the verdict exactly at it.
THRESHOLDS = [
    ("unknown, ordinary", [], Fraction(10**23, 3)),
    ("unknown, systemic", ["--systemic-risk"], Fraction(10**25, 3)),
    ("7.5e22", ["--pretrain-flops", "7.5e22"], Fraction("2.5e22")),
    ("exactly 1e23", ["--pretrain-flops", "1e23"], Fraction(10**23, 3)),
    ("3.8e25", ["--pretrain-flops", "3.8e25"], Fraction("3.8e25") / 3),
    ("Llama-3.2-3B, 6PD", ["--pretrain-params", "3.21e9", "--pretrain-tokens", "9e12"], Fraction("1.7334e23") / 3),
    (
        "Llama-3.2-3B, hardware",
        ["--pretrain-gpu-hours", "460e3", "--pretrain-gpu-peak", PEAK, "--pretrain-utilization", "0.5"],
        Fraction("8.18892e23") / 3,
    ),
]


@pytest.mark.parametrize(("name", "options", "threshold"), THRESHOLDS, ids=[case[0] for case in THRESHOLDS])
def test_a_threshold_case_is_exact_and_strict(
    name: str, options: list[str], threshold: Fraction, capsys: pytest.CaptureFixture[str]
) -> None:
    at, over = (
        check(capsys, "--flops", str(threshold), *options),
        check(capsys, "--flops", str(threshold + 1), *options),
    )
    assert Fraction(at[1]["verdicts"][0]["threshold_flops"]) == threshold
    assert [code for code, _ in (at, over)] == [0, 3], name


def test_the_method_alone_flips_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama-3.2-1B: below 10^23 by 6PD, above it by the Commission's own hardware example."""
    code, answer = check(capsys, "--flops", "1e23", "--base-model", "Llama-3.2-1B")
    (verdict,) = answer["verdicts"]
    assert (code, verdict["verdict"]) == (5, "undetermined")
    assert "is estimated, by 6PD" in verdict["why"]
    assert "By another derivation (estimated, regulator's example)" in verdict["why"]
    assert "9.8 times apart, more than the Guidelines' 30 % margin" in answer["notes"][0]


def test_two_estimates_are_the_ends_of_a_range() -> None:
    options = PolicyOptions(
        pretrain_params="1.23e9", pretrain_tokens="9e12",
        pretrain_gpu_hours="370000", pretrain_gpu_peak=PEAK, pretrain_utilization="0.5",
    )  # fmt: skip
    inputs = read_policy_options(options, environment={"PRETRAIN_FLOPS": "1e30"}).inputs
    assert inputs.base_figures() == (Fraction("6.642e22"), Fraction("6.58674e23"))
    assert inputs.base_kinds() == (SIX_PD, GPU_HOURS)


def test_an_estimate_is_kept_with_its_formula_and_paragraph() -> None:
    options = PolicyOptions(pretrain_gpu_hours="10", pretrain_gpu_peak="1e15 dense FP8", pretrain_utilization="1/3")
    inputs = read_policy_options(options, environment={}).inputs
    assert inputs.to_json()["pretrain_source"] == (
        "estimated, GPU hours: C = H x 3600 x X x U = 10 h x 3600 s/h x 1000000000000000 FLOP/s (dense FP8) x 1/3 = "
        "12000000000000000000 FLOP (Guidelines C(2025) 5045, Annex A.2, paragraph 126; in C(2025) 7719: 123); given "
        "with --pretrain-gpu-hours, --pretrain-gpu-peak and --pretrain-utilization"
    )
    assert inputs.to_json()["pretrain_low_kind"] == "derived from hardware hours"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pretrain_params": "1e9"}, "--pretrain-params needs --pretrain-tokens too"),
        ({"pretrain_tokens": "1e9"}, "--pretrain-tokens needs --pretrain-params too"),
        ({"pretrain_gpu_hours": "1"}, "needs --pretrain-gpu-peak and --pretrain-utilization too"),
        ({"pretrain_utilization": "1"}, "needs --pretrain-gpu-hours and --pretrain-gpu-peak too"),
        ({"pretrain_params": "1", "pretrain_tokens": "1", "pretrain_flops": "1"}, "contradicts --pretrain-flops"),
        ({"pretrain_params": "1", "pretrain_tokens": "1", "base_model": "x"}, "contradicts --base-model"),
        ({"pretrain_gpu_hours": "1", "base_model": "x"}, "--pretrain-gpu-hours contradicts --base-model"),
        ({"pretrain_params": "0", "pretrain_tokens": "1"}, "--pretrain-params '0' is zero"),
        ({"pretrain_params": "8B", "pretrain_tokens": "1"}, "--pretrain-params '8B' is no quantity"),
        ({"pretrain_params": "1", "pretrain_tokens": "inf"}, "--pretrain-tokens 'inf' is not a finite number"),
    ],
)
def test_an_estimate_that_is_half_or_beside_another_figure_is_wrong_usage(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageProblem, match=said) as raised:
        read_policy_options(PolicyOptions(**options), environment={})  # type: ignore[arg-type]
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("peak", "utilization", "said"),
    [
        ("H100", "0.5", "--pretrain-gpu-peak 'H100' is no quantity"),
        ("NVIDIA H200", "0.5", "--pretrain-gpu-peak 'NVIDIA' is no quantity"),
        ("989e12", "0.5", "'989e12' does not say on what basis; write"),
        ("989e12 \t", "0.5", "does not say on what basis"),
        ("989e12 dense\x1b[2J BF16", "0.5", "does not say on what basis"),
        ("989 dense BF16", "0.5", "'989 dense BF16' is less than 10\\^11"),
        (PEAK, "50", "--pretrain-utilization '50' is above 1; write 0.5 for 50 %"),
        (PEAK, "0", "--pretrain-utilization '0' is zero"),
        (PEAK, "nan", "--pretrain-utilization 'nan' is not a finite number"),
    ],
)
def test_a_peak_is_a_number_with_its_basis_and_a_utilization_a_share(peak: str, utilization: str, said: str) -> None:
    options = PolicyOptions(pretrain_gpu_hours="1", pretrain_gpu_peak=peak, pretrain_utilization=utilization)
    with pytest.raises(UsageProblem, match=said):
        read_policy_options(options, environment={})


def test_the_answer_says_what_is_known_estimated_or_neither(capsys: pytest.CaptureFixture[str]) -> None:
    def why(*options: str) -> str:
        return str(check(capsys, "--flops", "1e20", *options)[1]["verdicts"][0]["why"])

    assert "is known, as stated by the user" in why("--pretrain-flops", "1e24")
    assert "is known, as published by who trained it" in why("--base-model", "Falcon-40B")
    assert "is estimated, by a third party" in why("--base-model", "Qwen2.5-7B")
    assert "is estimated, in an example of the Commission's own (Annex A.3)" in why("--base-model", "Qwen3-0.6B")
    assert "is estimated, by 6PD" in why("--base-model", "Qwen3-8B")
    assert "is estimated, from hardware hours" in why("--base-model", "gpt-oss-120b")
    for unknown in (why(), why("--base-model", "Mistral-7B"), why("--systemic-risk")):
        assert "neither known nor estimated here" in unknown
        assert "6PD from parameters and training tokens, or the GPU hours, come first" in unknown


def test_the_text_says_it_too_and_what_to_try_first(capsys: pytest.CaptureFixture[str]) -> None:
    def base(*options: str) -> str:
        with pytest.raises(SystemExit):
            main(["check", "--flops", "1e20", *options])
        return " ".join(capsys.readouterr().out.partition("aws-2026")[0].split())

    assert "(estimated, derived by 6PD) or" in base("--base-model", "Llama-3.2-1B")
    assert "(estimated, regulator's example), 9.8 times apart" in base("--base-model", "Llama-3.2-1B")
    assert "(known, stated by the user)" in base("--pretrain-flops", "1e24")
    neither = base("--base-model", "Mistral-7B")
    assert (
        "Mistral-7B, compute neither known nor estimated; try first --pretrain-params N --pretrain-tokens D" in neither
    )
    assert "--pretrain-gpu-hours H --pretrain-gpu-peak X --pretrain-utilization U" in neither


def test_a_records_estimate_holds_without_options(tmp_path: Path) -> None:
    recorded = read_policy_options(PolicyOptions(pretrain_params="1e9", pretrain_tokens="1e12"), environment={}).inputs
    again = read_policy_options(PolicyOptions(), recorded=recorded, environment={})
    assert again.inputs == recorded
    assert again.notes == (f"Base compute: {recorded.pretrain_source}.",)
    stated = read_policy_options(PolicyOptions(pretrain_flops="1e24"), recorded=recorded, environment={})
    assert stated.inputs.base_kinds() == ("stated by the user",)
