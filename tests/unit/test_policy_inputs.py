"""What is known of the base model, as a record stores it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.errors import UntrustedInput, UsageProblem
from ftprof.policy.claims import DEDUCTIBLE, Claims
from ftprof.policy.derivation import GPU_HOURS, KINDS, SIX_PD
from ftprof.policy.inputs import PolicyInputs

POSITIVE = st.fractions(min_value=Fraction(1, 10**6), max_value=10**25)
TEXTS = st.one_of(st.none(), st.text())
ENDS = st.one_of(st.just((None, None)), st.tuples(POSITIVE, POSITIVE).map(lambda ends: tuple(sorted(ends))))
INPUTS = st.builds(
    lambda ends, source, model, flags, claims, kinds: PolicyInputs(*ends, source, model, *flags, claims, *kinds),
    ENDS,
    TEXTS,
    TEXTS,
    st.sampled_from([(None, True), (None, False), (True, True), (False, True), (False, False)]),
    st.builds(Claims, st.sampled_from([(), ("recompute",), DEDUCTIBLE]), st.fractions(min_value=0), st.booleans()),
    st.tuples(st.sampled_from([None, *KINDS]), st.sampled_from([None, *KINDS])),
)
STORED: dict[str, Any] = {
    "pretrain_flops_low": "84000000000000000000000",
    "pretrain_flops_high": "250000000000000000000000/3",
    "pretrain_source": "the table",
    "base_model": "Llama-2-7B",
    "systemic_risk": None,
    "gpai": True,
    "claims": {"deduct": ["recompute", "evaluate"], "generated_flops": "0", "public_generation": False},
    "pretrain_low_kind": "derived by 6PD",
    "pretrain_high_kind": None,
}


@given(INPUTS)
def test_inputs_read_back_as_they_were_stored(inputs: PolicyInputs) -> None:
    assert PolicyInputs.from_json(inputs.to_json(), "record.json") == inputs


def test_the_stored_form_has_exact_strings() -> None:
    low, high = Fraction(84 * 10**21) - 10**21, Fraction(25 * 10**22, 3)
    inputs = PolicyInputs(low, high, "the table", "Llama-2-7B", pretrain_low_kind=SIX_PD)
    assert inputs.to_json() == {**STORED, "pretrain_flops_low": "83000000000000000000000"}


@pytest.mark.parametrize(
    "change",
    [
        {"pretrain_flops_low": None},
        {"pretrain_flops_low": 84},
        {"pretrain_flops_low": "8.4e22"},
        {"pretrain_flops_low": "0", "pretrain_flops_high": "0"},
        {"pretrain_flops_high": "1"},
        {"pretrain_source": 1},
        {"base_model": []},
        {"systemic_risk": "no"},
        {"systemic_risk": 0},
        {"gpai": None},
        {"gpai": 1},
        {"gpai": False, "systemic_risk": True},
        {"pretrain_low_kind": "6PD"},
        {"pretrain_high_kind": 1},
        {"pretrain_between": None},
        {"pretrain_between": ["85000000000000000000000"]},
        {"pretrain_between": [{"flops": "85000000000000000000000"}]},
        {"pretrain_between": [{"flops": "1", "kind": None}]},
        {"pretrain_between": [{"flops": "84000000000000000000000", "kind": None}]},
        {"pretrain_high_kind": None, "pretrain_between": [{"flops": "85e21", "kind": None}]},
        {"surplus": 1},
        {"claims": None},
        {"claims": {**STORED["claims"], "deduct": ["train"]}},
        {"claims": {**STORED["claims"], "deduct": "recompute"}},
        {"claims": {**STORED["claims"], "generated_flops": "-1"}},
        {"claims": {**STORED["claims"], "public_generation": 1}},
        {"claims": {**STORED["claims"], "surplus": 1}},
    ],
)
def test_stored_inputs_that_do_not_hold_together_are_not_trusted(change: dict[str, Any]) -> None:
    good = {**STORED, "pretrain_flops_high": STORED["pretrain_flops_low"]}
    assert PolicyInputs.from_json(good, "record.json").base_model == "Llama-2-7B"
    with pytest.raises(UntrustedInput, match=r"record\.json"):
        PolicyInputs.from_json({**good, **change}, "record.json")


@pytest.mark.parametrize("data", [None, [], "x", {}, {"gpai": True}])
def test_what_is_no_set_of_inputs_is_not_trusted(data: object) -> None:
    with pytest.raises(UntrustedInput, match=r"record\.json"):
        PolicyInputs.from_json(data, "record.json")


@pytest.mark.parametrize(("low", "high"), [(None, 1), (1, None), (0, 0), (-1, 1), (2, 1)])
def test_ends_that_are_no_range_are_wrong_usage(low: int | None, high: int | None) -> None:
    with pytest.raises(UsageProblem):
        PolicyInputs(None if low is None else Fraction(low), None if high is None else Fraction(high))


def test_the_ends_are_one_figure_two_or_an_unknown() -> None:
    one, two = Fraction(1), Fraction(2)
    assert PolicyInputs().base_figures() == (None,)
    assert PolicyInputs(one, one).base_figures() == (one,)
    assert PolicyInputs(one, two).base_figures() == (one, two)


def test_figures_between_the_ends_are_stored_with_their_kinds() -> None:
    low, *between, high = (Fraction(number) for number in (1, 2, 3, 5))
    inputs = PolicyInputs(low, high, pretrain_high_kind=SIX_PD, pretrain_between=tuple((x, GPU_HOURS) for x in between))
    assert inputs.base_figures() == (low, *between, high)
    assert inputs.base_kinds() == (None, GPU_HOURS, GPU_HOURS, SIX_PD)
    stored = inputs.to_json()
    assert stored["pretrain_between"] == [{"flops": "2", "kind": GPU_HOURS}, {"flops": "3", "kind": GPU_HOURS}]
    assert PolicyInputs.from_json(stored, "record.json") == inputs
    with pytest.raises(UsageProblem, match="not in order"):
        PolicyInputs(low, high, pretrain_between=((Fraction(3), None), (Fraction(2), None)))
    for ends in ((low, low), (None, None)):
        with pytest.raises(UsageProblem, match="not in order"):
            PolicyInputs(*ends, pretrain_between=((Fraction(2), None),))


def test_inputs_that_do_not_say_how_the_compute_came_about_are_read() -> None:
    old = {key: value for key, value in STORED.items() if not key.endswith("_kind")}
    old["pretrain_flops_high"] = old["pretrain_flops_low"]
    assert PolicyInputs.from_json(old, "record.json").base_kinds() == (None,)
