"""Amounts of compute as exact fractions: how they are read, stored and shown.

No float takes part anywhere: thresholds such as a third of 10^23 and counts beyond 2^53 are compared exactly.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ftprof.errors import UntrustedInput, UsageProblem

MAX_DIGITS = 60
"""Most digits of a mantissa, and largest size of an exponent, that a written quantity may have."""

TIMES = "\N{MULTIPLICATION SIGN}"

_MAX_STORED_DIGITS = 1000
_SHOWN = 40
_NUMBER = rf"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+)| *[{TIMES}x*] *10\^([+-]?[0-9]+))?"
_QUANTITY = re.compile(rf"{_NUMBER}(?: */ *{_NUMBER})?")
_STORED = re.compile(r"(0|[1-9][0-9]*)(?:/([1-9][0-9]*))?")
_MINUS_SIGN = re.compile("(?<![eE^])[-\N{MINUS SIGN}]")
_NOT_FINITE = ("nan", "inf", "infinity")


def parse_quantity(text: str, what: str) -> Fraction:
    """Read a quantity that a person wrote, exactly.

    Accepted are ``33000000000000000000000``, ``3.3e22``, ``3.3x10^22`` (a multiplication sign or ``*`` too)
    and ``1e23/3``. ``what`` names the option or variable in the error. Raises UsageProblem with the reason
    for anything else.
    """
    stripped = text.strip(" \t\r\n")
    match = _QUANTITY.fullmatch(stripped)
    if match is None:
        raise _refusal(text, what, _why_no_quantity(stripped))
    mantissa, e_power, ten_power, *divisor = match.groups()
    numerator = _number(mantissa, e_power or ten_power)
    denominator = Fraction(1) if divisor[0] is None else _number(divisor[0], divisor[1] or divisor[2])
    if numerator is None or denominator is None:
        raise _refusal(text, what, f"has more than {MAX_DIGITS} digits or an exponent beyond {MAX_DIGITS}")
    if denominator == 0:
        raise _refusal(text, what, "divides by zero")
    return numerator / denominator


def parse_base_compute(text: str, what: str) -> Fraction:
    """Read a base model's training compute in FLOP, which cannot be zero. Raises UsageProblem."""
    compute = parse_quantity(text, what)
    if compute == 0:
        raise UsageProblem(
            f"{what} {shown(text)} is zero, which no trained base model has; leave it out where it is unknown"
        )
    return compute


def parse_relative_error(text: str, what: str) -> Fraction:
    """Read a relative error E with 0 <= E < 1 as an exact fraction. Raises UsageProblem."""
    try:
        error = parse_quantity(text, what)
    except UsageProblem as problem:
        reason = problem.message.partition("; ")[0]
        raise UsageProblem(f"{reason}; write a part of 1, such as 0.3 for 30 %") from problem
    if error >= 1:
        raise UsageProblem(f"{what} {shown(text)} is not below 1; a relative error of 30 % is written 0.3")
    return error


def to_json(quantity: Fraction) -> str:
    """The exact form that JSON carries: ``"123"``, or ``"n/d"`` in lowest terms."""
    return str(quantity)


def from_json(text: object, where: str) -> Fraction:
    """Read back what ``to_json`` wrote, in its one spelling only.

    Raises UntrustedInput, which names ``where``, for anything that ``to_json`` does not write.
    """
    match = _STORED.fullmatch(text) if isinstance(text, str) and len(text) <= _MAX_STORED_DIGITS else None
    if match is not None:
        quantity = Fraction(int(match[1]), int(match[2] or 1))
        if to_json(quantity) == text:
            return quantity
    raise UntrustedInput(f'{where}: {shown(text)} is no exact quantity; expected "123" or "n/d" in lowest terms')


def two_figures(quantity: Fraction) -> str:
    """The quantity for people, with two significant figures: ``3.3x10^22`` with a multiplication sign.

    A tie is rounded up, as one rounds by hand. Whole numbers below 100 have no more than two figures and are
    shown as they are. Two figures are what paragraph 32 of the Guidelines asks for in a notification.
    """
    if quantity < 100 and quantity.denominator == 1:
        return str(quantity)
    tenths, power = _scientific(quantity)
    return f"{tenths // 10}.{tenths % 10}{TIMES}10^{power}"


def ratio_text(ratio: Fraction) -> str:
    """A ratio for programs, with two significant figures that any float reader accepts: ``3.7e-20``."""
    if ratio == 0:
        return "0"
    tenths, power = _scientific(ratio)
    return f"{tenths // 10}.{tenths % 10}e{power}"


def shown(value: object) -> str:
    """What a user or a file gave, quoted for an error message: one line, not too long."""
    if not isinstance(value, str):
        return f"({type(value).__name__})"
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."


def _number(mantissa: str, power: str | None) -> Fraction | None:
    """A decimal number exactly, or None where too long. No power of ten is built before it is known small."""
    whole, _, decimals = mantissa.partition(".")
    size = (power or "").lstrip("+-0")
    if len(whole) + len(decimals) > MAX_DIGITS or len(size) > 2 or int(size or 0) > MAX_DIGITS:
        return None
    exponent = int(size or 0) * (-1 if (power or "").startswith("-") else 1) - len(decimals)
    return Fraction(int(whole + decimals)) * Fraction(10) ** exponent


def _scientific(quantity: Fraction) -> tuple[int, int]:
    """(t, n) with 10 <= t <= 99: the quantity above 0, rounded half up to two figures, is t/10 times 10^n."""
    power = len(str(quantity.numerator)) - len(str(quantity.denominator))
    if quantity < Fraction(10) ** power:
        power -= 1
    tenths = (quantity * 10 / Fraction(10) ** power + Fraction(1, 2)).__floor__()
    return (10, power + 1) if tenths == 100 else (tenths, power)


def _refusal(text: str, what: str, reason: str) -> UsageProblem:
    return UsageProblem(
        f"{what} {shown(text)} {reason}; write 33000000000000000000000, 3.3e22, 3.3{TIMES}10^22 or 1e23/3"
    )


def _why_no_quantity(text: str) -> str:
    if not text:
        return "is empty"
    if text.lstrip("+-").lower() in _NOT_FINITE:
        return "is not a finite number"
    if _MINUS_SIGN.search(text):
        return "has a minus sign, and no compute is negative"
    if any(character.isnumeric() and not character.isascii() for character in text):
        return "has digits other than 0-9"
    if text[:2].lower() == "0x":
        return "is hexadecimal"
    if "_" in text or "," in text:
        return "groups its digits or has a decimal comma"
    return "is no quantity"
