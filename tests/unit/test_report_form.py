"""The fields of the EU Model Documentation Form, and how amounts are rounded for it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import (
    BEGAN_US,
    HOUR_US,
    RECORDS,
    analytic,
    devices,
    judged,
    killed,
    nothing,
    peak_bound,
    run_info,
    sampled,
)

from ftprof.quantity import TIMES
from ftprof.record.device_use import DeviceUse
from ftprof.record.record import Record
from ftprof.report.amounts import (
    US_PER_DAY,
    clock_text,
    day_text,
    decade_text,
    energy_text,
    form_energy_text,
    order_of_magnitude,
    percent_text,
    two_digits,
)
from ftprof.report.documentation_form import AIO, NCAS, documentation_form
from ftprof.report.form_text import form_text
from ftprof.report.methodology import methodology
from ftprof.report.run_use import run_use


def answers(record: Record, name: str, reader: str) -> list[str]:
    return [
        line.replace(TIMES, "x")
        for field in documentation_form(judged(record))
        if field.name.startswith(name) and reader in field.readers
        for line in field.lines
    ]


def test_time_is_a_range_for_one_reader_and_a_value_for_the_other() -> None:
    assert answers(sampled(), "Training time", NCAS) == ["1 to 10 hours (a range of ours: take the form's own)"]
    wall, hardware = answers(sampled(), "Training time", AIO)
    assert wall == "0.083 days (2 h) of wall-clock time"
    assert hardware == "0.67 days (16 h) of NVIDIA H200 (8 used)"


def test_hardware_days_are_told_by_type_of_device() -> None:
    mixed = (*devices(2), DeviceUse("GPU-9", 1, "NVIDIA A100", 48 * HOUR_US, None))
    lines = answers(replace(sampled(), devices=mixed), "Training time", AIO)
    assert lines[1] == "2.0 days of NVIDIA A100 (1 used, of which 1 parts of divided GPUs)"
    assert lines[2] == "0.17 days (4 h) of NVIDIA H200 (2 used)"
    assert "no GPU was seen in use (devices of its processes: AMD EPYC 9354)" in answers(analytic(), "Training", AIO)[1]


def test_compute_is_an_order_for_one_reader_and_two_figures_for_the_other() -> None:
    name = "Amount of computation"
    assert answers(sampled(), name, NCAS) == ["in the order of 10^19 FLOP executed"]
    assert answers(sampled(), name, AIO) == [
        "2.4x10^19 FLOP executed",
        "1.7x10^19 FLOP on guidelines-basis (Annex A.1)",
    ]
    assert answers(RECORDS["unbounded"](), name, AIO)[0] == "at least 1.0x10^17 FLOP executed"
    for record, why in ((peak_bound(), "an upper bound only, 9.0x10^19 FLOP"), (nothing(), "nothing was counted")):
        for reader in (AIO, NCAS):
            (line,) = answers(record, name, reader)
            assert line.startswith("to be filled in by you")
            assert why in line


def test_energy_or_why_there_is_none() -> None:
    name = "Energy used"
    assert answers(sampled(), name, AIO) == ["0.0091 MWh, of the GPUs alone"]
    assert "whole GPU" in answers(sampled(), "How the energy", AIO)[0]
    assert answers(killed(), name, AIO) == ["N/A: 1 of 2 devices did not tell their energy; the others took 0.0011 MWh"]
    assert answers(peak_bound(), name, NCAS) == [
        "N/A: the GPUs do not tell their energy, or were parts of divided ones"
    ]
    assert answers(analytic(), name, AIO)[0].startswith("N/A: no GPU was seen in use")


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_text_has_every_field_and_what_is_left_to_the_provider(name: str) -> None:
    fields = documentation_form(judged(RECORDS[name]()))
    text = form_text(fields)
    assert all(field.name in text for field in fields)
    assert all(field.lines for field in fields)
    assert "official wording of the form was not checked" in " ".join(text.split())
    assert "number of parameters" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    for field in fields:
        assert field.known != any(line.startswith(("to be filled", "N/A", "not measured")) for line in field.lines[:1])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sampled", ("hardware counters (NVIDIA CUPTI 13.0, CUDA driver 13.0)", "1,920 windows on 8 CUDA contexts of 8",
                     "93.0 % of the time", "2 % is extrapolated", "1 % to the gaps", "gpm gives 0.88 times",
                     "are deducted for recomputation of activations", "paragraph 122", "never looked for: fp16")),
        ("analytic", ("an estimate", "8,500 calls; PyTorch 2.13.0", "aten.mm", "measured in its phase",
                      "How far a formula is from what a chip executes is not in it")),
        ("gpm", ("an estimate: NVML sampled the activity",)),
        ("peak-bound", ("an upper bound, no estimate", "The record is incomplete: only administrators")),
        ("nothing", ("Nothing could be counted",)),
        ("killed", ("lies between 2.0x10^18 FLOP and 4.0x10^19 FLOP", "at most 30 % of the reported estimate")),
        ("declared", ("are added for generation of data outside the run", "declared, not measured")),
        ("many", ("and 47 more reasons in the record",)),
    ],
)  # fmt: skip
def test_the_methodology_says_what_was_done(name: str, parts: tuple[str, ...]) -> None:
    text = " ".join(methodology(judged(RECORDS[name]()))).replace(TIMES, "x")
    for part in parts:
        assert part in text, part


def test_wall_clock_time_is_that_in_which_any_run_ran() -> None:
    def wall(*spans: tuple[int, int | None]) -> int | None:
        runs = tuple(
            run_info(began_us=BEGAN_US + begin, ended_us=None if end is None else BEGAN_US + end, run=str(number))
            for number, (begin, end) in enumerate(spans)
        )
        return run_use(replace(sampled(), runs=runs)).wall_us

    assert wall((0, 10)) == 10
    assert wall((0, 10), (2, 12)) == 12  # two nodes
    assert wall((20, 30), (0, 10)) == 20  # resumed
    assert wall((0, 30), (5, 6)) == 30
    assert wall((0, 10), (5, None)) is None
    assert wall() is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(0), "0"), (Fraction(34, 1000), "0.034"), (Fraction(34, 10), "3.4"), (Fraction(340), "340"),
        (Fraction(345), "350"), (Fraction(996, 100), "10"), (Fraction(999), "1000"), (Fraction(1, 1000), "0.0010"),
        (Fraction(9996, 10000), "1.0"), (Fraction(1, 2000), f"5.0{TIMES}10^-4"), (Fraction(10**5), f"1.0{TIMES}10^5"),
        (Fraction(2, 3), "0.67"),
    ],
)  # fmt: skip
def test_two_digits(number: Fraction, text: str) -> None:
    assert two_digits(number) == text


@given(st.fractions(min_value=Fraction(1, 10**30), max_value=10**30))
def test_two_digits_are_near_the_number_and_its_order_is_right(number: Fraction) -> None:
    shown = Fraction(two_digits(number).replace(f"{TIMES}10^", "e"))
    assert abs(shown - number) <= number / 20
    order = order_of_magnitude(number)
    assert Fraction(10) ** order <= number < Fraction(10) ** (order + 1)


@pytest.mark.parametrize(
    ("time_us", "clock", "range_"),
    [
        (0, "0.0 s", "under 1 s"), (10_000, "under 0.1 s", "under 1 s"), (5_060_000, "5.1 s", "1 to 10 s"),
        (59_990_000, "60.0 s", "10 to 60 s"), (843_000_000, "14 min 3 s", "10 to 60 minutes"),
        (3 * HOUR_US, "3 h", "1 to 10 hours"), (12 * HOUR_US, "12 h", "10 to 24 hours"),
        (12 * US_PER_DAY + 3 * HOUR_US, "12 days 3 h", "10 to 100 days"),
    ],
)  # fmt: skip
def test_times(time_us: int, clock: str, range_: str) -> None:
    assert (clock_text(time_us), decade_text(time_us)) == (clock, range_)


def test_days_and_energy_have_two_figures() -> None:
    assert day_text(400_000 * US_PER_DAY) == f"4.0{TIMES}10^5 days"
    assert form_energy_text(3_600_000_000_000 * 1234) == "1200 MWh"
    assert energy_text(4_100_000_000) == "1.1 kWh"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0 %"), (5, 5, "100 %"), (1, 3, "33.3 %"), (1, 10**9, "under 0.1 %"), (10**9 - 1, 10**9, "over 99.9 %"),
     (1, 0, "0 %")],
)  # fmt: skip
def test_shares(part: int, whole: int, text: str) -> None:
    assert percent_text(part, whole) == text
