"""Amounts as reports show them: operations, shares, times and energies, rounded from exact numbers only here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from fractions import Fraction

from ftprof.quantity import two_figures

US_PER_DAY = 86_400_000_000
MJ_PER_MWH = 3_600_000_000_000
_UNITS = ((US_PER_DAY, "days", 0), (3_600_000_000, "hours", 24), (60_000_000, "minutes", 60), (1_000_000, "s", 60))
_DECIMAL_FROM, _DECIMAL_TO = Fraction(1, 1000), 100_000


def flop_text(flops: Fraction | int) -> str:
    """Two significant figures with the unit: ``3.3x10^22 FLOP`` (with a multiplication sign)."""
    return f"{two_figures(Fraction(flops))} FLOP"


def order_of_magnitude(flops: Fraction | int) -> int:
    """The power of ten of a number above 0 in scientific notation: 22 for 3.3x10^22."""
    number = Fraction(flops)
    if number <= 0:
        raise ValueError("no order of magnitude of zero")
    power = len(str(number.numerator)) - len(str(number.denominator))
    return power if number >= Fraction(10) ** power else power - 1


def two_digits(number: Fraction) -> str:
    """Two significant figures as a decimal where that is short (``0.034``, ``340``), else as a power of ten."""
    if number == 0:
        return "0"
    if not _DECIMAL_FROM <= number < _DECIMAL_TO:
        return two_figures(number)
    places = 1 - order_of_magnitude(number)
    scaled = (number * Fraction(10) ** places + Fraction(1, 2)).__floor__()
    if scaled == 100:
        scaled, places = 10, places - 1
    if places <= 0:
        return str(scaled * 10**-places)
    digits = str(scaled).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def day_text(time_us: int) -> str:
    """A time in days to two significant figures, and in a unit that is easier to picture where it is short."""
    days = Fraction(time_us, US_PER_DAY)
    beside = "" if days >= 2 else f" ({_clock(time_us)})"
    return f"{two_digits(days)} days{beside}"


def decade_text(time_us: int) -> str:
    """The powers of ten between which a time lies, in its unit: ``1 to 10 days``, ``10 to 24 hours``, ``under 1 s``."""
    for unit_us, name, most in _UNITS:
        if time_us >= unit_us:
            low = 10 ** order_of_magnitude(Fraction(time_us, unit_us))
            return f"{low:,} to {min(10 * low, most):,} {name}" if most else f"{low:,} to {10 * low:,} {name}"
    return "under 1 s"


def energy_text(energy_mj: int) -> str:
    """Millijoules as kWh to two significant figures."""
    return f"{two_digits(Fraction(1000 * energy_mj, MJ_PER_MWH))} kWh"


def form_energy_text(energy_mj: int) -> str:
    """Millijoules as MWh, the unit of the EU Model Documentation Form, to two significant figures."""
    return f"{two_digits(Fraction(energy_mj, MJ_PER_MWH))} MWh"


def percent_text(part: Fraction | int, whole: Fraction | int) -> str:
    """A part in per cent to one decimal; a part that is none is never shown as 0, nor one that is not all as 100."""
    if not whole:
        return "0 %"
    share = Fraction(part) / Fraction(whole)
    tenths = (share * 1000 + Fraction(1, 2)).__floor__()
    if tenths == 0 and share:
        return "under 0.1 %"
    if tenths == 1000 and share < 1:
        return "over 99.9 %"
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10} %"


def moment_text(time_us: int) -> str:
    """A moment in UTC, to the second: ``2026-11-25 16:03:18 UTC``."""
    return datetime.fromtimestamp(time_us // 1_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_text(time_us: int) -> str:
    """How long something took: ``5.1 s``, ``14 min 3 s``, ``3 h 20 min``, ``12 days 3 h``."""
    return _clock(time_us)


def first_of(names: Iterable[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    all_names = list(names)
    more = len(all_names) - most
    return ", ".join(all_names[:most]) + (f" and {more:,} more" if more > 0 else "")


def count_text(count: int, what: str, plural: str = "s") -> str:
    """``1 process``, ``16,384 processes``."""
    return f"{count:,} {what}{'' if count == 1 else plural}"


def _clock(time_us: int) -> str:
    seconds = Fraction(time_us, 1_000_000)
    if seconds < 60:
        tenths = (seconds * 10 + Fraction(1, 2)).__floor__()
        return f"{tenths // 10}.{tenths % 10} s" if tenths or not time_us else "under 0.1 s"
    whole = round(seconds)
    for size, name, part, part_name in ((86400, "days", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {name}" + (f" {rest} {part_name}" if rest else "")
    raise AssertionError("a minute is at least a minute")
