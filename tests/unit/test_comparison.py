"""What other methods give beside the record's own figure: ratios, and the sentence where the two disagree."""

from __future__ import annotations

from typing import Any

from ftprof.record.comparison import comparisons
from ftprof.record.interval import Interval

OWN = Interval(990, 1000, 1010)


def check(method: str, low: int, flops: int | None, high: int | None, **more: Any) -> dict[str, Any]:
    texts = {name: None if n is None else str(n) for name, n in (("low", low), ("flops", flops), ("high", high))}
    return {"method": method, "device": None, **texts, **more}


def compared(*checks: dict[str, Any]) -> dict[str, Any]:
    (row,) = comparisons(OWN, checks)
    return row


def test_the_peak_is_a_bound_with_a_ratio() -> None:
    row = compared(check("peak-bound", 0, 1500, 1500), check("peak-bound", 0, 1000, 1000))
    assert (row["ratio"], row["agrees"], row["says"]) == ("2.5e0", True, None)
    row = compared(check("peak-bound", 0, 500, 500))
    assert (row["ratio"], row["agrees"]) == ("5.0e-1", False)
    assert "more than the GPUs can have done" in row["says"]
    row = compared(check("peak-bound", 0, None, None))
    assert (row["ratio"], row["agrees"], row["says"]) == (None, None, None)


def test_formulas_that_give_less_or_more_say_why() -> None:
    less, more = compared(check("analytic", 700, 700, 700)), compared(check("analytic", 1300, 1300, 1300))
    assert (less["ratio"], less["agrees"], more["ratio"], more["agrees"]) == ("7.0e-1", False, "1.3e0", False)
    assert "less than was executed" in less["says"]
    assert "more than was executed" in more["says"]
    assert compared(check("analytic", 1005, 1005, 1005))["agrees"] is True


def test_activity_agrees_where_the_intervals_meet_and_says_why_where_not() -> None:
    inside = compared(check("gpm", 400, 700, 995), check("gpm", 0, 0, 0))
    assert (inside["ratio"], inside["agrees"], inside["says"]) == ("7.0e-1", True, None)
    less, more = compared(check("gpm", 400, 700, 980)), compared(check("gpm", 1020, 1300, 1500))
    assert (less["agrees"], more["agrees"]) == (False, False)
    assert "The activity gives less than was counted" in less["says"]
    assert "other processes may have used the GPU" in more["says"]


def test_all_methods_stand_side_by_side_in_the_order_of_the_record() -> None:
    checks = [check("analytic", 900, 900, 900), check("gpm", 500, 800, 1200), check("peak-bound", 0, 4000, 4000)]
    rows = list(comparisons(OWN, checks))
    assert [(row["method"], row["ratio"], row["agrees"]) for row in rows] == [
        ("analytic", "9.0e-1", False),
        ("gpm", "8.0e-1", True),
        ("peak-bound", "4.0e0", True),
    ]


def test_what_has_no_formula_is_named_with_the_disagreement() -> None:
    names = [f"custom::{letter}" for letter in "fedcba"]
    row = compared(check("analytic", 700, 700, None, unbounded=names))
    expected = "Without a formula here: custom::a, custom::b, custom::c, custom::d and 2 more"
    assert row["says"].endswith(expected)


def test_operators_that_were_counted_in_part_are_not_compared() -> None:
    for why, words in (("partial", "from the first phase on"), ("cut", "was killed")):
        row = compared(check("analytic", 700, 700, None, **{why: True}))
        assert (row["ratio"], row["agrees"]) == (None, None)
        assert words in row["says"]
