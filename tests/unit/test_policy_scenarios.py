"""The scenarios of both policies, cell by cell, and the threshold cases of law and of the AWS meter."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ftprof.errors import UsageProblem
from ftprof.policy.amount import Amount
from ftprof.policy.base_models import find_base_model
from ftprof.policy.derivation import GPU_HOURS, SIX_PD, Derivation
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.open_points import general_notes, notes_on
from ftprof.policy.policy import load_policy
from ftprof.policy.verdict import Verdict, judge
from ftprof.quantity import TIMES, parse_base_compute, two_figures

AWS = load_policy("aws-2026")
EC = load_policy("ec-2025")
POLICIES = {policy.name: policy for policy in (AWS, EC)}
SYSTEMIC = Fraction(10**25, 3)
ORDINARY = Fraction(10**23, 3)


def given(flops: str | Fraction, error: str = "0") -> Amount:
    return Amount.given(Fraction(flops), Fraction(error))


def base(compute: str | Fraction | None, **flags: bool) -> PolicyInputs:
    flops = None if compute is None else Fraction(compute)
    return PolicyInputs(flops, flops, **flags)


def ends(name: str) -> tuple[Derivation, Derivation]:
    model = find_base_model(name)
    assert model.lowest is not None
    assert model.highest is not None
    return model.lowest, model.highest


# Policy, base compute, the systemic-risk flag, scenario, its number, threshold.
CELLS = [
    ("aws-2026", "1e23", None, "relative", 1, Fraction(3 * 10**22)),
    ("aws-2026", "100000000000000000000001", None, "relative", 1, Fraction(300000000000000000000003, 10)),
    ("aws-2026", "5e24", None, "relative", 1, Fraction(15 * 10**23)),
    ("aws-2026", "5e24", True, "relative", 1, Fraction(15 * 10**23)),
    ("aws-2026", "5e24", False, "relative", 1, Fraction(15 * 10**23)),
    ("aws-2026", "9999999999999999999999999", None, "relative", 1, Fraction(29999999999999999999999997, 10)),
    ("aws-2026", None, None, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", None, False, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", "1", None, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", "7.5e22", None, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", "7.5e22", True, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", "99999999999999999999999", None, "default", 2, Fraction(33 * 10**21)),
    ("aws-2026", "1e25", None, "systemic-risk", 3, Fraction(33 * 10**23)),
    ("aws-2026", "1e25", False, "systemic-risk", 3, Fraction(33 * 10**23)),
    ("aws-2026", "3.8e25", None, "systemic-risk", 3, Fraction(33 * 10**23)),
    ("aws-2026", None, True, "systemic-risk", 3, Fraction(33 * 10**23)),
    ("ec-2025", "1", None, "relative", 1, Fraction(1, 3)),
    ("ec-2025", "7.5e22", None, "relative", 1, Fraction(25 * 10**21)),
    ("ec-2025", "1e23", None, "relative", 1, ORDINARY),
    ("ec-2025", "5e24", None, "relative", 1, Fraction(5 * 10**24, 3)),
    ("ec-2025", "5e24", True, "relative", 1, Fraction(5 * 10**24, 3)),
    ("ec-2025", "1e25", None, "relative", 1, SYSTEMIC),
    ("ec-2025", "3.8e25", True, "relative", 1, Fraction(38 * 10**24, 3)),
    ("ec-2025", None, None, "default", 2, ORDINARY),
    ("ec-2025", None, False, "default", 2, ORDINARY),
    ("ec-2025", None, True, "systemic-risk", 3, SYSTEMIC),
]


@pytest.mark.parametrize(("policy", "compute", "flag", "scenario", "number", "threshold"), CELLS)
def test_every_cell_of_the_scenario_table(
    policy: str, compute: str | None, flag: bool | None, scenario: str, number: int, threshold: Fraction
) -> None:
    inputs = PolicyInputs(compute and Fraction(compute), compute and Fraction(compute), systemic_risk=flag)  # type: ignore[arg-type]
    verdict = judge(POLICIES[policy], inputs, given(threshold))
    assert (verdict.scenario, verdict.scenario_number, verdict.threshold_flops) == (scenario, number, threshold)
    assert verdict.verdict == "below"
    assert judge(POLICIES[policy], inputs, given(threshold + 1)).verdict == "above"


PRESUMED = "paragraph 17 presumes it is not"


@pytest.mark.parametrize(
    ("compute", "presumed"), [("1", True), ("7.5e22", True), ("1e23", True), ("100000000000000000000001", False)]
)
def test_at_most_1e23_the_guidelines_verdict_says_what_paragraph_17_presumes(compute: str, presumed: bool) -> None:
    assert (PRESUMED in judge(EC, base(compute), given("1e22")).why) is presumed


@pytest.mark.parametrize("compute", ["7.5e22", "1e23", "5e23", None])
@pytest.mark.parametrize("flops", ["1", "1e24"])
def test_no_gpai_leaves_the_guidelines_undetermined_and_aws_as_it_is(compute: str | None, flops: str) -> None:
    verdict = judge(EC, base(compute, gpai=False), given(flops))
    assert verdict.verdict == "undetermined"
    assert "no general-purpose model" in verdict.why
    assert verdict.threshold_flops == judge(EC, base(compute), given(flops)).threshold_flops
    assert judge(AWS, base(compute, gpai=False), given(flops)) == judge(AWS, base(compute), given(flops))


@pytest.mark.parametrize("compute", ["10000000000000000000000001", "3.8e25"])
def test_no_systemic_risk_with_more_than_1e25_is_wrong_usage(compute: str) -> None:
    with pytest.raises(UsageProblem, match=r"--no-systemic-risk .* 51\(2\)"):
        base(compute, systemic_risk=False)
    assert base("1e25", systemic_risk=False).systemic_risk is False


def test_a_model_with_systemic_risk_is_a_general_purpose_model() -> None:
    with pytest.raises(UsageProblem, match="--systemic-risk contradicts --no-gpai"):
        base(None, systemic_risk=True, gpai=False)


# Section 5 of the law notes: base compute, systemic-risk flag, threshold, and as it is printed.
LAW_CASES = [
    (None, None, ORDINARY, "3.3e22"),
    (None, True, SYSTEMIC, "3.3e24"),
    ("7.5e22", None, Fraction(25 * 10**21), "2.5e22"),
    ("1e23", None, ORDINARY, "3.3e22"),
    ("3.8e25", None, Fraction(38 * 10**24, 3), "1.3e25"),
    ("1.73e23", None, Fraction(173 * 10**21, 3), "5.8e22"),
    ("8.2e23", None, Fraction(82 * 10**22, 3), "2.7e23"),
]


@pytest.mark.parametrize(("compute", "flag", "threshold", "printed"), LAW_CASES)
def test_the_threshold_cases_of_annex_a3(
    compute: str | None, flag: bool | None, threshold: Fraction, printed: str
) -> None:
    flops = None if compute is None else Fraction(compute)
    verdict = judge(EC, PolicyInputs(flops, flops, systemic_risk=flag), given(threshold))
    assert verdict.threshold_flops == threshold
    assert two_figures(verdict.threshold_flops) == printed.replace("e", f"{TIMES}10^")
    assert verdict.verdict == "below"


def test_the_method_alone_flips_the_base_of_llama_3_2_1b() -> None:
    low, high = ends("Llama-3.2-1B")
    assert low.flops < 10**23 < high.flops
    inputs = PolicyInputs(low.flops, high.flops)
    assert [judge(policy, inputs, given("1e23")).verdict for policy in (AWS, EC)] == ["undetermined"] * 2


def test_a_derivation_between_two_others_decides_too() -> None:
    """By AWS's rules the threshold falls where the base reaches 10^23, so that the ends alone would agree."""
    low, middle, high = (Fraction(text) for text in ("5e22", "1.05e23", "1e24"))
    assert judge(AWS, PolicyInputs(low, high), given("3.2e22")).verdict == "below"
    inputs = PolicyInputs(low, high, pretrain_high_kind=GPU_HOURS, pretrain_between=((middle, SIX_PD),))
    verdict = judge(AWS, inputs, given("3.2e22"))
    assert (verdict.verdict, verdict.threshold_flops) == ("undetermined", Fraction("3.15e22"))
    assert verdict.why.count("verdict below instead of above") == 2
    assert "another derivation (estimated, derived from hardware hours) the base compute is 1.0" in verdict.why
    agreed = judge(AWS, inputs, given("1e22")).why
    assert agreed.count("also where the base compute is") == 2


def test_t1_unknown_ordinary_base() -> None:
    verdict = judge(EC, base(None), given("3.31e22"))
    assert (verdict.threshold_flops, verdict.verdict) == (Fraction(10**23, 3), "below")


def test_t2_unknown_base_with_systemic_risk() -> None:
    verdict = judge(EC, base(None, systemic_risk=True), given("3.3e24"))
    assert (verdict.threshold_flops, verdict.verdict) == (Fraction(10**25, 3), "below")


def test_t3_an_estimable_base_is_estimated_and_its_source_kept() -> None:
    model = find_base_model("Llama-3.2-3B")
    assert [two_figures(d.flops / 3) for d in model.derivations] == [f"5.8{TIMES}10^22", f"2.7{TIMES}10^23"]
    low, high = ends("Llama-3.2-3B")
    assert (low.kind, high.kind) == (SIX_PD, GPU_HOURS)
    assert "MODEL_CARD" in low.source
    inputs = PolicyInputs(
        low.flops, high.flops, model.describe(), model.name, pretrain_low_kind=low.kind, pretrain_high_kind=high.kind
    )
    assert "is estimated, by 6PD" in judge(EC, inputs, given("5e22")).why
    assert "also where the base compute is 8.2" in judge(EC, inputs, given("5e22")).why
    assert judge(EC, inputs, given("5e22")).verdict == "below"
    assert judge(EC, inputs, given("1e23")).verdict == "undetermined"
    assert judge(EC, inputs, given("3e23")).verdict == "above"


def test_t4_known_base_below_1e23() -> None:
    inputs = base("7.5e22")
    assert judge(EC, inputs, given("2.5e22")).verdict == "below"
    assert judge(EC, inputs, given("25000000000000000000001")).verdict == "above"
    assert judge(AWS, inputs, given("25000000000000000000001")).verdict == "below"


def test_t5_exactly_1e23_is_no_general_purpose_model_by_paragraph_17() -> None:
    verdict = judge(EC, base("1e23"), given(ORDINARY))
    assert (verdict.threshold_flops, verdict.verdict) == (Fraction(10**23, 3), "below")
    assert PRESUMED in verdict.why


@pytest.mark.parametrize(("compute", "threshold"), [("1e25", SYSTEMIC), ("3.8e25", Fraction(38 * 10**24, 3))])
def test_t6_bases_of_systemic_size_keep_a_third(compute: str, threshold: Fraction) -> None:
    assert judge(EC, base(compute), given("1e20")).threshold_flops == threshold


def test_t7_between_30_percent_and_a_third_is_not_exceeded() -> None:
    inputs, between = base("1e24"), given("3.1e23")
    assert judge(EC, inputs, between).verdict == "below"
    assert judge(AWS, inputs, between).verdict == "above"


def test_t8_exactly_a_third_is_not_exceeded() -> None:
    assert judge(EC, base("1e24"), given(Fraction(10**24, 3))).verdict == "below"
    assert judge(AWS, base("1e24"), given("3e23")).verdict == "below"


@pytest.mark.parametrize("text", ["0", "-1", "-1e23", "nan", "inf", "garbage", ""])
def test_t9_a_base_compute_that_is_none_gets_an_error_and_no_verdict(text: str) -> None:
    with pytest.raises(UsageProblem, match="PRETRAIN_FLOPS"):
        parse_base_compute(text, "PRETRAIN_FLOPS")


@pytest.mark.parametrize(("policy", "compute", "flag", "scenario", "number", "threshold"), CELLS)
def test_t10_threshold_and_ratio_mean_one_thing_in_every_branch(
    policy: str, compute: str | None, flag: bool | None, scenario: str, number: int, threshold: Fraction
) -> None:
    flops = None if compute is None else Fraction(compute)
    verdict = judge(POLICIES[policy], PolicyInputs(flops, flops, systemic_risk=flag), given(threshold / 2))
    assert verdict.ratio == Fraction(1, 2)
    assert verdict.to_json()["ratio"] == "5.0e-1"


@pytest.mark.parametrize(
    ("flops", "expected"),
    [("2e23", "below"), ("2.5e23", "below"), ("3e23", "within-margin"), ("4.5e23", "within-margin"), ("5e23", "above")],
)
def test_t11_thirty_percent_is_the_margin_and_never_the_threshold(flops: str, expected: str) -> None:
    assert judge(EC, base("1e24"), given(flops, "0.3")).verdict == expected


def _every_verdict() -> list[Verdict]:
    amounts = [given("1e20"), given("1e26"), given("3e22", "0.3"), Amount(Fraction(0), None, None, "analytic")]
    inputs = [base(None), base(None, systemic_risk=True), base(None, gpai=False), base("7.5e22"), base("5e24")]
    inputs += [base("3.8e25"), PolicyInputs(Fraction(10**22), Fraction(10**26))]
    return [judge(policy, given_base, amount) for policy in (AWS, EC) for given_base in inputs for amount in amounts]


def test_every_why_is_one_or_two_sentences_and_classifies_nobody() -> None:
    for verdict in _every_verdict():
        sentences = verdict.why.count(". ") + verdict.why.endswith(".")
        assert 1 <= sentences <= 2, verdict.why
        assert "{" not in verdict.why
        assert not {"you", "your", "classified"} & set(verdict.why.lower().replace(",", " ").split())
        anchor = "paragraph" if verdict.policy == "ec-2025" else "AWS"
        assert anchor in verdict.why
        assert anchor in verdict.source


def test_open_points_are_noted_where_they_bear_on_the_answer() -> None:
    def notes(compute: str | None, amount: Amount) -> str:
        inputs = base(compute)
        return " ".join(notes_on(EC, inputs, amount, judge(EC, inputs, amount)))

    assert "10^23" in notes("9e22", given("1.1e22"))
    assert notes("9e22", given("1e22")) == ""
    assert notes("1.1e23", given("1e22")) == ""
    assert "10^23" in notes("1e23", given("1"))
    assert "10^25" in notes("9.9e24", given("2e23"))
    assert "error margin" in notes("1e24", given("3e23", "0.3"))
    assert notes(None, given("1e26")) == ""
    assert notes("9e22", Amount(Fraction(0), None, None, "analytic")) == ""
    assert "10^23" in notes("9e22", Amount(Fraction(0), Fraction("1.1e22"), None, "analytic"))
    always = " ".join(general_notes(EC))
    for point in ("several runs", "multiply-add", "integer tensor", "sparsity", "padding", "Recomputation"):
        assert point in always
    assert general_notes(AWS) == []
