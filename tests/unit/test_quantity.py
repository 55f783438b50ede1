"""The number parser and the forms in which quantities are stored and shown."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftprof.errors import UntrustedInput, UsageProblem
from ftprof.quantity import (
    MAX_DIGITS,
    TIMES,
    from_json,
    parse_base_compute,
    parse_quantity,
    parse_relative_error,
    ratio_text,
    to_json,
    two_figures,
)

ARABIC_INDIC_33 = "\N{ARABIC-INDIC DIGIT THREE}" * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("33000000000000000000000", Fraction(33 * 10**21)),
        ("3.3e22", Fraction(33 * 10**21)),
        ("3.3E+22", Fraction(33 * 10**21)),
        (f"3.3{TIMES}10^22", Fraction(33 * 10**21)),
        (f"3.3 {TIMES} 10^22", Fraction(33 * 10**21)),
        ("3.3x10^22", Fraction(33 * 10**21)),
        ("3.3*10^22", Fraction(33 * 10**21)),
        ("1e23/3", Fraction(10**23, 3)),
        ("1e25/3", Fraction(10**25, 3)),
        ("100000000000000000000000/3", Fraction(10**23, 3)),
        (" 1.45e+13", Fraction(145 * 10**11)),
        ("1e23\n", Fraction(10**23)),
        ("0", Fraction(0)),
        ("0.3", Fraction(3, 10)),
        (".3", Fraction(3, 10)),
        ("1e-2", Fraction(1, 100)),
        ("007", Fraction(7)),
        ("1e0000000022", Fraction(10**22)),
        ("1e" + "0" * 5000, Fraction(1)),
        ("9007199254740993", Fraction(2**53 + 1)),
        ("1e60", Fraction(10**60)),
    ],
)
def test_accepted_forms_are_read_exactly(text: str, expected: Fraction) -> None:
    assert parse_quantity(text, "--flops") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("nan", "not a finite number"),
        ("-NaN", "not a finite number"),
        ("inf", "not a finite number"),
        ("+Infinity", "not a finite number"),
        ("-1", "minus sign"),
        ("-0", "minus sign"),
        ("1e23/-3", "minus sign"),
        ("\N{MINUS SIGN}1", "minus sign"),
        (ARABIC_INDIC_33, "digits other than 0-9"),
        (f"3.{ARABIC_INDIC_33}e22", "digits other than 0-9"),
        ("\N{FULLWIDTH DIGIT THREE}e22", "digits other than 0-9"),
        ("10\N{SUPERSCRIPT TWO}", "digits other than 0-9"),
        ("1_000", "groups its digits"),
        ("1,000", "groups its digits"),
        ("3,3e22", "groups its digits"),
        ("0x10", "hexadecimal"),
        ("1/0", "divides by zero"),
        ("1e23/0.0", "divides by zero"),
        ("1e61", "exponent beyond 60"),
        ("1e-61", "exponent beyond 60"),
        ("1e999999999999999999", "exponent beyond 60"),
        ("1/1e999999999999999999", "exponent beyond 60"),
        (f"1{TIMES}10^99999", "exponent beyond 60"),
        ("1" * 61, "more than 60 digits"),
        ("1." + "0" * 60, "more than 60 digits"),
        ("1e23/3/2", "no quantity"),
        ("+1", "no quantity"),
        ("1.", "no quantity"),
        (".", "no quantity"),
        ("e22", "no quantity"),
        ("1e", "no quantity"),
        ("1e2.5", "no quantity"),
        ("1 000", "no quantity"),
        ("3.3\N{NO-BREAK SPACE}", "no quantity"),
        ("--", "minus sign"),
        ("1e23 FLOP", "no quantity"),
        ("1e23\n1", "no quantity"),
        ("0b1", "no quantity"),
        ("one", "no quantity"),
        ("True", "no quantity"),
    ],
)
def test_everything_else_is_refused_with_the_reason_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageProblem, match=reason) as raised:
        parse_quantity(text, "--flops")
    assert raised.value.exit_code == 2
    assert raised.value.message.startswith("--flops ")
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 250


@pytest.mark.parametrize("text", ["1e" + "9" * 1_000_000, "9" * 1_000_000, "1" + " " * 100_000 + "x"])
def test_huge_input_is_refused_at_once(text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(UsageProblem) as raised:
        parse_quantity(text, "--flops")
    assert time.monotonic() - begin < 1
    assert len(raised.value.message) < 250


def test_a_base_compute_of_zero_is_refused() -> None:
    for zero in ("0", "0e10", "0.00", "0/5"):
        with pytest.raises(UsageProblem, match=r"--pretrain-flops .* is zero"):
            parse_base_compute(zero, "--pretrain-flops")
    assert parse_base_compute("1e-60", "--pretrain-flops") == Fraction(1, 10**60)


@pytest.mark.parametrize(("text", "expected"), [("0", Fraction(0)), ("0.3", Fraction(3, 10)), ("1/3", Fraction(1, 3))])
def test_relative_errors_from_zero_to_below_one_are_read_exactly(text: str, expected: Fraction) -> None:
    assert parse_relative_error(text, "--error") == expected


@pytest.mark.parametrize("text", ["1", "1.0", "30", "3/3", "-0.1", "nan", "30%", ""])
def test_other_relative_errors_are_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="--error"):
        parse_relative_error(text, "--error")


@given(st.text())
@example("1e")
@example("\ud800")
def test_garbage_never_raises_anything_but_a_usage_problem(text: str) -> None:
    try:
        quantity = parse_quantity(text, "--flops")
    except UsageProblem:
        return
    assert quantity >= 0


@given(st.text(alphabet="0123456789.eE+-/*x^ \u00d7_,naifINF\u0663"))
def test_near_quantities_never_raise_anything_but_a_usage_problem(text: str) -> None:
    try:
        quantity = parse_quantity(text, "--flops")
    except UsageProblem:
        return
    assert from_json(to_json(quantity), "stored") == quantity


@given(st.integers(0, 10**30 - 1), st.integers(0, 29), st.integers(-MAX_DIGITS, MAX_DIGITS))
def test_decimal_notation_is_read_without_rounding(digits: int, decimals: int, power: int) -> None:
    text = str(digits).rjust(decimals + 1, "0")
    mantissa = f"{text[: len(text) - decimals]}.{text[len(text) - decimals :]}" if decimals else text
    expected = Fraction(digits) * Fraction(10) ** (power - decimals)
    assert parse_quantity(f"{mantissa}e{power}", "--flops") == expected
    assert parse_quantity(f"{mantissa}{TIMES}10^{power}", "--flops") == expected


@given(st.fractions(min_value=0))
def test_the_stored_form_reads_back_exactly(quantity: Fraction) -> None:
    stored = to_json(quantity)
    assert from_json(stored, "stored") == quantity
    assert parse_quantity(stored, "--flops") == quantity


def test_the_stored_form_is_that_of_the_contract() -> None:
    assert to_json(Fraction(33 * 10**21)) == "33000000000000000000000"
    assert to_json(Fraction(10**23, 3)) == "100000000000000000000000/3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "007",
        "2/4",
        "4/1",
        "1/0",
        "0/1",
        "-1",
        "1e3",
        "1.5",
        " 1",
        "1\n",
        ARABIC_INDIC_33,
        "9" * 5000,
        7,
        None,
        True,
    ],
)
def test_a_stored_quantity_in_any_other_spelling_is_not_trusted(text: object) -> None:
    with pytest.raises(UntrustedInput, match=r"record\.json"):
        from_json(text, "record.json")


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (Fraction(33 * 10**21), f"3.3{TIMES}10^22"),
        (Fraction(10**23, 3), f"3.3{TIMES}10^22"),
        (Fraction(225 * 10**23), f"2.3{TIMES}10^25"),
        (Fraction(225 * 10**23 - 1), f"2.2{TIMES}10^25"),
        (Fraction(995 * 10**20), f"1.0{TIMES}10^23"),
        (Fraction(994 * 10**20), f"9.9{TIMES}10^22"),
        (Fraction(1, 3), f"3.3{TIMES}10^-1"),
        (Fraction(0), "0"),
        (Fraction(42), "42"),
        (Fraction(100), f"1.0{TIMES}10^2"),
        (Fraction(2**53 + 1), f"9.0{TIMES}10^15"),
    ],
)
def test_two_figures_round_half_up(quantity: Fraction, expected: str) -> None:
    assert two_figures(quantity) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (Fraction(1234, 33 * 10**21), "3.7e-20"),
        (Fraction(1), "1.0e0"),
        (Fraction(0), "0"),
        (Fraction(1005, 100), "1.0e1"),
        (Fraction(105, 10), "1.1e1"),
        (Fraction(1, 3), "3.3e-1"),
    ],
)
def test_a_ratio_is_two_figures_that_a_program_reads(ratio: Fraction, expected: str) -> None:
    assert ratio_text(ratio) == expected
    float(expected)


@given(st.fractions(min_value=Fraction(1, 10**80), max_value=10**80))
def test_shown_figures_are_within_half_a_unit_of_the_second_figure(quantity: Fraction) -> None:
    mantissa, _, power = ratio_text(quantity).partition("e")
    assert Decimal(1) <= Decimal(mantissa) < Decimal(10)
    unit = Fraction(10) ** (int(power) - 1)
    error = Fraction(mantissa) * 10 * unit - quantity
    assert -unit / 2 < error <= unit / 2
