"""The verdict on an interval: exact, strict, and the same as an oracle that was written apart from it."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.policy.amount import Amount
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import load_policy, policy_names
from ftprof.policy.verdict import (
    EXIT_CODES,
    MILDEST_FIRST,
    Outcome,
    Verdict,
    compare,
    deciding_verdict,
    difference_notice,
    judge,
    worst_first,
)
from ftprof.record.interval import NOTHING_COUNTED, Interval

POLICIES = {name: load_policy(name) for name in policy_names()}
ORDER: list[Outcome] = ["below", "undetermined", "within-margin", "above"]
FLOPS = st.one_of(
    st.integers(0, 10**27).map(Fraction),
    st.fractions(0, 10**26),
    st.sampled_from([Fraction(10**n) / d + e for n in (22, 23, 25) for d in (1, 3) for e in (-1, 0, 1)]),
)
BASES = st.one_of(
    st.integers(1, 10**27).map(Fraction),
    st.sampled_from([Fraction(10**n + e) for n in (23, 25) for e in (-1, 0, 1)]),
)
ERRORS = st.fractions(0, Fraction(99, 100))


def oracle(low: int, value: int | None, high: int | None, method: str, threshold: int) -> str:
    """The contract, by trying every total that the interval leaves possible on a small number line."""
    if value is None:
        return "undetermined"
    ceiling = 20 if high is None else high
    floor = 0 if method == "peak-bound" else low
    exceeds = {total > threshold for total in range(floor, ceiling + 1)}
    if exceeds == {True}:
        return "above"
    if exceeds == {False}:
        return "below"
    return "undetermined" if high is None or method == "peak-bound" else "within-margin"


def test_every_small_interval_agrees_with_the_oracle() -> None:
    seen = set()
    ends = [*range(7), None]
    for low, value, high, threshold, method in itertools.product(
        range(7), ends, ends, range(7), ("counters", "analytic", "peak-bound", "given")
    ):
        if (value is not None and value < low) or (high is not None and high < (low if value is None else value)):
            continue
        amount = Amount.measured(Interval(low, value, high), method)
        outcome = compare(amount, Fraction(threshold))
        assert outcome == oracle(low, value, high, method, threshold), (low, value, high, threshold, method)
        seen.add(outcome)
    assert seen == set(ORDER)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Amount(Fraction(10), Fraction(10), Fraction(10), "given"), "below"),
        (Amount(Fraction(10), Fraction(10), Fraction(21, 2), "counters"), "within-margin"),
        (Amount(Fraction(21, 2), Fraction(11), Fraction(12), "counters"), "above"),
        (Amount(Fraction(9), Fraction(9), None, "counters"), "undetermined"),
        (Amount(Fraction(11), Fraction(11), None, "counters"), "above"),
        (Amount(Fraction(0), None, None, "counters"), "undetermined"),
        (Amount(Fraction(0), None, Fraction(1), "counters"), "undetermined"),
        (Amount(Fraction(0), Fraction(10), Fraction(10), "peak-bound"), "below"),
        (Amount(Fraction(0), Fraction(11), Fraction(11), "peak-bound"), "undetermined"),
        (Amount(Fraction(11), Fraction(11), Fraction(11), "peak-bound"), "undetermined"),
        (Amount(Fraction(0), Fraction(11), None, "peak-bound"), "undetermined"),
    ],
)
def test_intervals_against_a_threshold_of_ten(amount: Amount, expected: str) -> None:
    assert compare(amount, Fraction(10)) == expected


def test_a_measured_peak_bound_starts_at_zero() -> None:
    amount = Amount.measured(Interval(11, 11, 11), "peak-bound")
    assert amount.low == 0
    assert Amount.measured(Interval(11, 11, 11), "counters").low == 11


def test_nothing_counted_is_undetermined_with_the_reason() -> None:
    amount = Amount.measured(NOTHING_COUNTED, "analytic", ("no process imported torch.",))
    for policy in POLICIES.values():
        verdict = judge(policy, PolicyInputs(), amount)
        assert verdict.verdict == "undetermined"
        assert verdict.why.endswith("Nothing was counted: no process imported torch.")
        assert verdict.ratio is None
        assert verdict.to_json()["ratio"] is None


@given(st.sampled_from(sorted(POLICIES)), FLOPS, BASES, ERRORS)
def test_the_verdict_is_what_exact_fractions_say(name: str, flops: Fraction, base: Fraction, error: Fraction) -> None:
    amount = Amount.given(flops, error)
    verdict = judge(POLICIES[name], PolicyInputs(base, base), amount)
    if name == "ec-2025":
        threshold = base / 3
    elif base < 10**23:
        threshold = Fraction(33 * 10**21)
    else:
        threshold = Fraction(33 * 10**23) if base >= 10**25 else base * 3 / 10
    assert verdict.threshold_flops == threshold
    assert verdict.ratio == flops / threshold
    assert (verdict.verdict == "above") == (flops - flops * error > threshold)
    assert (verdict.verdict == "below") == (flops + flops * error <= threshold)
    assert verdict.verdict != "undetermined"


@given(st.sampled_from(sorted(POLICIES)), BASES)
def test_one_operation_more_than_the_threshold_is_above_and_the_threshold_is_not(name: str, base: Fraction) -> None:
    def outcome(flops: Fraction) -> str:
        return judge(POLICIES[name], inputs, Amount.given(flops, Fraction(0))).verdict

    inputs = PolicyInputs(base, base)
    threshold = judge(POLICIES[name], inputs, Amount.given(Fraction(0), Fraction(0))).threshold_flops
    assert outcome(threshold) == "below"
    assert outcome(threshold + Fraction(1, 10**30)) == "above"


@given(st.sampled_from(sorted(POLICIES)), FLOPS, FLOPS, st.one_of(st.none(), BASES), ERRORS, st.booleans())
def test_more_compute_never_gets_a_milder_verdict(
    name: str, one: Fraction, other: Fraction, base: Fraction | None, error: Fraction, systemic_risk: bool
) -> None:
    inputs = PolicyInputs(base, base, systemic_risk=systemic_risk or None)
    less, more = (judge(POLICIES[name], inputs, Amount.given(flops, error)).verdict for flops in sorted((one, other)))
    assert ORDER.index(less) <= ORDER.index(more)


@given(st.sampled_from(sorted(POLICIES)), FLOPS, BASES, BASES, ERRORS)
def test_a_range_of_base_compute_is_judged_at_both_ends(
    name: str, flops: Fraction, one: Fraction, other: Fraction, error: Fraction
) -> None:
    policy, amount = POLICIES[name], Amount.given(flops, error)
    low, high = sorted((one, other))
    ends = [judge(policy, PolicyInputs(end, end), amount) for end in (low, high)]
    verdict = judge(policy, PolicyInputs(low, high), amount)
    if ends[0].verdict == ends[1].verdict:
        assert verdict.verdict == ends[0].verdict
    else:
        assert verdict.verdict == "undetermined"
    assert verdict.threshold_flops == min(end.threshold_flops for end in ends)
    assert verdict.scenario in {end.scenario for end in ends}


def test_a_range_names_the_other_derivation() -> None:
    inputs = PolicyInputs(Fraction("6.64e22"), Fraction("6.5e23"))
    open_answer = judge(POLICIES["ec-2025"], inputs, Amount.given(Fraction(10**23), Fraction(0)))
    assert open_answer.verdict == "undetermined"
    assert "verdict below instead of above" in open_answer.why
    agreed = judge(POLICIES["ec-2025"], inputs, Amount.given(Fraction(10**20), Fraction(0)))
    assert agreed.verdict == "below"
    assert "by another derivation" in agreed.why


def _verdict(policy: str, outcome: Outcome) -> Verdict:
    return Verdict(policy, "default", 2, Fraction(10), "executed", Fraction(1), outcome, "why", "source")


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ORDER, ORDER)))
def test_the_worst_verdict_decides_unless_policies_are_named(first: Outcome, second: Outcome) -> None:
    verdicts = [_verdict("a", first), _verdict("b", second)]
    worst = max(first, second, key=ORDER.index)
    assert deciding_verdict(verdicts, named=False).verdict == worst
    assert deciding_verdict(verdicts, named=True).policy == "a"
    notice = difference_notice(verdicts)
    assert notice == (None if first == second else f"The policies differ: a says {first}, b says {second}.")


def test_exit_codes_and_order_are_those_of_the_contract() -> None:
    assert EXIT_CODES == {"below": 0, "above": 3, "within-margin": 4, "undetermined": 5}
    assert list(MILDEST_FIRST) == ORDER
    assert sorted(ORDER, key=worst_first) == ["above", "within-margin", "undetermined", "below"]


def test_a_verdict_in_json_has_the_keys_of_the_contract() -> None:
    amount = Amount.given(Fraction(1234), Fraction(0))
    assert list(judge(POLICIES["aws-2026"], PolicyInputs(), amount).to_json().items())[:7] == [
        ("policy", "aws-2026"),
        ("scenario", "default"),
        ("scenario_number", 2),
        ("threshold_flops", "33000000000000000000000"),
        ("flops_compared", "executed"),
        ("ratio", "3.7e-20"),
        ("verdict", "below"),
    ]
    assert list(_verdict("a", "above").to_json())[7:] == ["why", "source"]


@pytest.mark.parametrize(
    ("flops", "error", "sentence"),
    [
        ("1e22", "0", "At 1.0\u00d710^22 FLOP, the figure is less than the threshold."),
        ("3.3e22", "0", "At 33000000000000000000000 FLOP, the figure equals the threshold."),
        ("3.31e22", "0", "At 33100000000000000000000 FLOP, the figure is more than the threshold."),
        ("1e22", "1/10", "At 1.1\u00d710^22 FLOP, even the interval's high end is less than the threshold."),
        ("1e23", "1/10", "At 9.0\u00d710^22 FLOP, even the interval's low end is more than the threshold."),
        ("3.3e22", "1/10", "The threshold lies within the interval of 3.0\u00d710^22 to 3.6\u00d710^22 FLOP."),
    ],
)
def test_why_ends_in_the_comparison(flops: str, error: str, sentence: str) -> None:
    amount = Amount.given(Fraction(flops), Fraction(error))
    assert judge(POLICIES["aws-2026"], PolicyInputs(), amount).why.endswith(sentence)


def test_why_says_what_leaves_a_verdict_open() -> None:
    unbounded = Amount(Fraction(0), Fraction(1), None, "counters")
    assert "nothing bounds" in judge(POLICIES["aws-2026"], PolicyInputs(), unbounded).why
    bound = Amount.measured(Interval(0, 10**24, 10**24), "peak-bound")
    assert "does not show what was executed" in judge(POLICIES["aws-2026"], PolicyInputs(), bound).why
