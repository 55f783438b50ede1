"""What callbacks of training libraries share, without the libraries; tests/integration runs those."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_records import BEGAN_US, EXA, HOUR_US, PETA, analytic, process, run_info, sampled

import ftprof
from ftprof.errors import UntrustedInput
from ftprof.integrations.earlier_runs import added, earlier_runs, going_on, keep, noted, runs_folder
from ftprof.integrations.training import Figures, Training, harmless
from ftprof.measure.ranks import sum_over_ranks
from ftprof.record.merge import merge_records
from ftprof.record.record import Record, load_record, save_record


def part(run: str, hours: int = 0, number: int = 1) -> Record:
    """What one run of a training executed, in the hour that begins so many hours later."""
    began_us = BEGAN_US + hours * HOUR_US
    times = {"began_us": began_us, "last_us": began_us + HOUR_US, "devices": (), "rank": None}
    return analytic(runs=(run_info(run=run),), processes=(process(number, 100 * PETA, "analytic", **times),))


def kept(folder: Path, training: str, *records: Record) -> Path:
    place = runs_folder(folder, training)
    place.mkdir(parents=True, exist_ok=True)
    for record in records:
        save_record(record, place / f"{record.runs[-1].run}.json", overwrite=True)
    return place


def test_no_library_is_imported_before_it_is_asked_for() -> None:
    modules = "ftprof.counting, ftprof.result, ftprof.measure.ranks, ftprof.integrations.training"
    program = (
        f"import sys, {modules}\n"
        "libraries = {'torch', 'transformers', 'trl', 'accelerate', 'lightning', 'pytorch_lightning', 'numpy'}\n"
        "print(sorted(libraries & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_blocks_of_one_process_one_after_the_other_are_added() -> None:
    whole = merge_records([("a", part("a", 0)), ("b", part("b", 1))])
    assert (whole.interval.value, whole.complete, len(whole.processes)) == (200 * PETA, True, 2)
    again = merge_records([("ab", whole), ("c", part("c", 2))])
    assert again.interval.value == 300 * PETA
    for other in (part("c", 0), part("c", 1), replace(part("c"), runs=())):
        with pytest.raises(UntrustedInput, match="process 1001 on node-01 is in ab and again in c"):
            merge_records([("ab", whole), ("c", other)])


def test_all_runs_of_a_training_are_found_beside_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = going_on(part("a"))
    kept(tmp_path, "a", part("a"), part("b", 1), part("c", 2))
    kept(tmp_path, "other", part("other", 3))
    whole = earlier_runs(tmp_path, checkpoint)
    assert (whole.interval.value, whole.interval.high, whole.complete) == (300 * PETA, 300 * PETA, True)
    assert [run.run for run in whole.runs] == ["a", "b", "c"]
    assert whole.reasons == (
        f"{200 * PETA} FLOP were executed after the checkpoint that was resumed from; they are part of the total",
    )


def test_what_cannot_be_found_or_trusted_is_named(tmp_path: Path) -> None:
    checkpoint = going_on(part("a"))
    alone = earlier_runs(tmp_path, checkpoint)
    assert (alone.interval.value, alone.interval.high, alone.complete) == (100 * PETA, None, False)
    assert alone.reasons[0].startswith("run a went on after the checkpoint, and its record is not in")
    assert earlier_runs(tmp_path, part("a")).complete, "it had ended when the checkpoint's record was written"

    place = kept(tmp_path, "a", part("a"), going_on(part("b", 1)))
    (place / "c.json").write_text("{")
    whole = earlier_runs(tmp_path, checkpoint)
    assert (whole.interval.value, whole.interval.high, whole.complete) == (200 * PETA, None, False)
    reasons = " ".join(whole.reasons)
    assert "c.json is no JSON" in reasons
    assert "run b was killed or is still running: what it did after 20" in reasons

    kept(tmp_path, "a", part("b", 0))  # at the same time as the first, in the same process
    twice = earlier_runs(tmp_path, checkpoint)
    assert twice.interval.value == 100 * PETA
    assert "what was executed after the checkpoint is not counted: process 1001" in " ".join(twice.reasons)


def test_what_a_checkpoint_says_of_itself_is_carried_on(tmp_path: Path) -> None:
    doubtful = replace(
        going_on(part("a")), complete=False, reasons=("this run: a part is missing",), interval=part("a").interval
    )
    kept(tmp_path, "a", part("a"))
    whole = earlier_runs(tmp_path, doubtful)
    assert (whole.complete, whole.reasons) == (False, ("a part is missing",))


def test_what_was_taken_elsewhere_is_kept_there_for_the_next_time(tmp_path: Path) -> None:
    first = earlier_runs(tmp_path, going_on(merge_records([("a", part("a")), ("b", part("b", 1))])))
    keep(tmp_path, first)
    (path,) = runs_folder(tmp_path, "a").iterdir()
    assert load_record(path).interval.value == 200 * PETA
    kept(tmp_path, "a", part("c", 2))
    later = going_on(added([("earlier runs", first), ("this run", part("c", 2))]))
    whole = earlier_runs(tmp_path, later)
    assert ([run.run for run in whole.runs], whole.interval.value) == (["a", "b", "c"], 300 * PETA)
    keep(tmp_path, whole)
    assert len(list(runs_folder(tmp_path, "a").iterdir())) == 2, "nothing is kept twice"


def test_notes_stay_and_reasons_get_no_longer_with_every_run() -> None:
    whole = noted(part("a"), ["a note"])
    broken = replace(part("b", 1), complete=False, reasons=("a reason",))
    for number in range(3):
        whole = added([("earlier runs", whole), ("this run", part(str(number), 2 + number))])
        assert whole.complete
    assert whole.reasons == ("a note",)
    whole = added([("earlier runs", whole), ("this run", broken)])
    for number in range(3):
        whole = added([("earlier runs", whole), ("this run", part(str(number), 6 + number))])
    assert whole.reasons == ("earlier runs: a reason", "earlier runs: a note")


def test_figures_of_another_method_are_named_and_not_added() -> None:
    count = ftprof.count()
    training = Training(count)
    training._earlier = sampled()
    whole = training._with_earlier(part("now", 9, number=50))
    assert (whole.interval.low, whole.interval.high, whole.complete) == (100 * PETA, None, False)
    assert whole.reasons[0].startswith("24000000000000000000 FLOP that earlier runs counted (sampled) are not in it: ")
    assert [run.run for run in whole.runs] == [sampled().runs[0].run, "now"]
    assert training._before("analytic") == (0, [0] * 5), "nor in the logs"
    assert training._before("counters") == (24 * EXA, [8 * EXA, 2 * EXA, EXA, 0, 0])


@pytest.mark.parametrize("flops", [1, 2**53, 2**53 + 1, 10**25 + 1])
def test_a_log_holds_the_exact_integer_somewhere(flops: int) -> None:
    figures = Figures(flops, 5.0, None)
    number = figures.numbers()["ftprof/flops"]
    if flops <= 2**53:
        assert (number, type(number), figures.exact()) == (flops, int, {})
    else:
        assert (number, figures.exact()) == (float(flops), {"ftprof/flops_exact": str(flops)})
    assert "ftprof/threshold_share" not in figures.numbers()
    assert Figures(flops, 5.0, 0.5).numbers()["ftprof/threshold_share"] == 0.5


def test_a_rate_is_that_since_the_log_before(monkeypatch: pytest.MonkeyPatch) -> None:
    count = ftprof.count()
    training = Training(count)
    training._logged = (100.0, 1000)
    for now, total, rate in ((102.0, 1500, 250.0), (102.5, 1500, 250.0), (103.0, 3500, 2000.0)):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        assert training._rate(total) == rate
        training.figures = Figures(total, rate, None)


def test_an_error_of_the_meter_is_told_and_not_raised() -> None:
    @harmless
    def fails(number: int) -> None:
        raise ValueError(number)

    with pytest.warns(ftprof.FtprofWarning, match=r"its part of fails, the training goes on: ValueError\(17\)"):
        assert fails(17) is None


def test_a_sum_without_ranks_is_the_number_itself() -> None:
    assert sum_over_ranks(2**200) == 2**200
    for number in (-1, 2**248):
        with pytest.raises(ValueError, match="not a count below"):
            sum_over_ranks(number)
