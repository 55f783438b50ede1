"""``ftprof.count()`` without a GPU and without torch: its arguments, its shape, and the parts that it is made of."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import importlib
import importlib.resources
import importlib.util
import inspect
import logging
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from test_record import record

import ftprof
from ftprof import counting
from ftprof.count_arguments import CountArguments
from ftprof.errors import FtprofError
from ftprof.measure import in_process
from ftprof.measure.after_import import after_import
from ftprof.measure.analytic.hook import _ImportWatcher
from ftprof.measure.block import CannotCount, Edges, end_line, process_header, waited
from ftprof.measure.cuda_block import clipped, strata_line, why_not
from ftprof.measure.wrapped_block import _difference, _since
from ftprof.record.counted_context import CountedContext
from ftprof.record.interval import Interval
from ftprof.record.rollup import Sums

# ---------------------------------------------------------------- the package


def test_importing_ftprof_brings_nothing_heavy() -> None:
    program = (
        "import sys, ftprof; ftprof.count;"
        "print([m for m in ('torch', 'pynvml', 'ftprof._native', 'click', 'ftprof.measure') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_callbacks_take_what_count_takes() -> None:
    named = [p.name for p in inspect.signature(ftprof.count).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert named == list(CountArguments.__annotations__)


def test_the_documents_name_every_argument_and_no_other() -> None:
    page = (REPOSITORY / "docs" / "count.md").read_text()
    table = page.partition("| argument | meaning |")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert documented == set(CountArguments.__annotations__)


def test_what_the_package_offers() -> None:
    assert {"count", "current", "phase"} <= set(dir(ftprof)), "before any of it was asked for, too"
    assert ftprof.count is counting.count
    assert set(ftprof.__all__) <= {*vars(ftprof), *ftprof._HOMES}
    assert all(getattr(ftprof, name) is not None for name in ftprof.__all__)
    with pytest.raises(AttributeError, match="no attribute 'recount'"):
        _ = ftprof.recount  # type: ignore[attr-defined]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"pretrain_flops": True}, "pretrain_flops is a number or its text, not bool"),
        ({"pretrain_flops": b"8e22"}, "not bytes"),
        ({"base_model": 3}, "base_model is a name, not int"),
        ({"systemic_risk": "yes"}, "systemic_risk is True or False, not str"),
        ({"no_gpai": None}, "no_gpai is True or False, not NoneType"),
        ({"policy": [3]}, "policy is a name"),
        ({"deduct": [3]}, "deduct is a name"),
        ({"generated_flops": True}, "generated_flops is a number or its text, not bool"),
        ({"operators": 1}, "operators is True or False, not int"),
        ({"cuda_core": None}, "cuda_core is True or False, not NoneType"),
        ({"public_generation": 1}, "public_generation is True or False, not int"),
        ({"pretrain_gpu_peak": 989e12}, "pretrain_gpu_peak is a text, not float"),
        ({"base_models": 3}, "PathLike"),
        ({"policy": 3}, "policy is a name"),
        ({"deduct": None}, "deduct is a name"),
    ],
)
def test_arguments_of_a_wrong_type(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        ftprof.count(**arguments)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"pretrain_flops": "many"}, "^pretrain_flops 'many' is no quantity"),
        ({"pretrain_flops": float("nan")}, "^pretrain_flops 'nan' is not a finite number"),
        ({"pretrain_flops": -1}, "no compute is negative"),
        ({"pretrain_flops": 0}, "is zero"),
        ({"pretrain_flops": "2e25", "systemic_risk": False}, "^systemic_risk=False contradicts"),
        ({"systemic_risk": True, "no_gpai": True}, "^systemic_risk=True contradicts no_gpai=True"),
        ({"policy": "aws-1999"}, "^policy: "),
        ({"base_model": "no-such-model"}, "base_model"),
        ({"deduct": "train"}, "^deduct 'train' is no phase to deduct; choose from recompute, evaluate, auxiliary"),
        ({"deduct": "evaluate", "no_deduct": ["evaluate"]}, "^deduct evaluate contradicts no_deduct evaluate"),
        ({"generated_flops": "lots"}, "^generated_flops 'lots'"),
        ({"pretrain_params": "8e9"}, "^pretrain_params needs pretrain_tokens too"),
        ({"pretrain_params": 8e9, "pretrain_tokens": 1e12, "pretrain_flops": 1e22}, "^pretrain_params contradicts"),
        (
            {"pretrain_gpu_hours": 100, "pretrain_gpu_peak": "989", "pretrain_utilization": 0.4},
            "^pretrain_gpu_peak '989' is less than",
        ),
        ({"base_models": "no-such.csv"}, "^base_models adds models for base_model to find"),
    ],
)
def test_values_that_the_command_line_refuses_too(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FtprofError, match=complaint) as caught:
        ftprof.count(**arguments)
    assert "--" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "written",
    ["8.4e22", 84 * 10**21, 8.4e22, Fraction(84 * 10**21), "8.4\N{MULTIPLICATION SIGN}10^22", Decimal("8.4e22")],
)
def test_every_way_to_write_a_quantity_is_exact(written: Any) -> None:
    inputs = ftprof.count(pretrain_flops=written).choice.inputs
    assert inputs.pretrain_flops_low == 84 * 10**21
    assert inputs.pretrain_source == "given with pretrain_flops"


def test_numpys_numbers_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert ftprof.count(pretrain_flops=numpy.float64(8.4e22)).choice.inputs.pretrain_flops_low == 84 * 10**21
    assert ftprof.count(pretrain_flops=numpy.int64(84)).choice.inputs.pretrain_flops_low == 84


def test_estimates_and_claims_are_those_of_the_command_line() -> None:
    inputs = ftprof.count(
        pretrain_params="8e9",
        pretrain_tokens=15e12,
        deduct="auxiliary",
        no_deduct=["recompute"],
        generated_flops=Fraction(10**20),
        public_generation=True,
    ).choice.inputs
    assert inputs.pretrain_flops_low == inputs.pretrain_flops_high == 6 * 8 * 10**9 * 15 * 10**12
    assert inputs.pretrain_source is not None
    assert "given with pretrain_params and pretrain_tokens" in inputs.pretrain_source
    assert inputs.claims.deducted_phases == ("evaluate", "auxiliary", "generate")
    assert inputs.claims.generated_flops == 10**20
    hours = ftprof.count(pretrain_gpu_hours="1e6", pretrain_gpu_peak="989e12 dense BF16", pretrain_utilization=0.4)
    assert hours.choice.inputs.pretrain_flops_low == 10**6 * 3600 * 989 * 10**12 * Fraction(4, 10)


def test_an_own_table_of_base_models(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    shipped = importlib.resources.files("ftprof.policy") / "data" / "base_models.csv"
    lines = shipped.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines[1:] if "Llama-3.2-3B" in line)
    table.write_text("\n".join([lines[0], row.replace("Llama-3.2-3B", "Ours-3B")]) + "\n")
    assert ftprof.count(base_model="Ours-3B", base_models=table).choice.inputs.pretrain_flops_low is not None
    with pytest.raises(FtprofError, match="base_model"):
        ftprof.count(base_model="Ours-3B")


def test_the_environments_base_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAIN_FLOPS", "1e24")
    assert ftprof.count().choice.inputs.pretrain_flops_low == 10**24


# ---------------------------------------------------------------- runs


class FakeRun:
    """Counts nothing; notes how it is begun and ended."""

    made: ClassVar[list[FakeRun]] = []
    fallback: str | None = None

    def __init__(self, policy_inputs: Any, options: Any) -> None:
        self.calls: list[Any] = []
        FakeRun.made.append(self)

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self, failed: bool) -> None:
        self.calls.append(failed)

    def record(self) -> Any:
        return record(interval=Interval(300, 300, 300))

    snapshot = record

    def quick_flops(self) -> int | None:
        return None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeRun]:
    FakeRun.made = []
    monkeypatch.setattr(in_process, "InProcessRun", FakeRun)
    return FakeRun


def test_a_block(fake: type[FakeRun], tmp_path: Path) -> None:
    with ftprof.count() as run:
        assert fake.made[0].calls == ["begin"]
    assert fake.made[0].calls == ["begin", False]
    assert (run.flops, run.interval, run.method, run.complete) == (300, Interval(300, 300, 300), "analytic", True)
    assert run.by_precision
    assert repr(run) == "<ftprof run: 300 FLOP by analytic, complete>"
    assert run.verdict("aws-2026").verdict == run.verdict().verdict == "below"
    with pytest.raises(FtprofError, match="aws-1999"):
        run.verdict("aws-1999")
    with pytest.raises(TypeError, match="policy is a name"):
        run.verdict(3)  # type: ignore[arg-type]
    path = tmp_path / "record.json"
    run.save(path)
    assert len(run.record.verdicts) == 2
    with pytest.raises(FtprofError, match="overwrite=True"):
        run.save(path)
    run.save(str(path), overwrite=True)
    for folder in (tmp_path, ".", "/"):
        with pytest.raises(FtprofError, match="cannot be written: it is a folder"):
            run.save(folder, overwrite=True)
    with pytest.raises(FtprofError, match=r"cannot be written: .*embedded null"):
        run.save("a\0b")
    with pytest.raises(FtprofError, match="cannot be written"):
        run.save(tmp_path / "nowhere" / "record.json")


def test_laps_add_up_to_the_total(fake: type[FakeRun], monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([None, 100, 350, 340, 400])
    with ftprof.count() as run:
        monkeypatch.setattr(type(run), "flops", property(lambda _: next(figures)))
        # An extrapolation that is revised downwards gives no negative lap.
        assert [run.lap() for _ in range(5)] == [None, 100, 250, 0, 50]


def test_the_current_run_is_the_innermost(fake: type[FakeRun]) -> None:
    assert ftprof.current() is None
    with ftprof.count() as outer:
        assert ftprof.current() is outer
        inner = ftprof.count().start()
        assert ftprof.current() is inner
        inner.stop(failed=True)
        assert ftprof.current() is outer
        assert (outer.running, inner.running) == (True, False)
        second = ftprof.count().start()
        third = ftprof.count().start()
        second.stop()
        assert ftprof.current() is third
        third.stop()
        assert ftprof.current() is outer
    assert ftprof.current() is None


def test_the_current_run_follows_tasks_and_not_threads(fake: type[FakeRun]) -> None:
    async def inner() -> tuple[ftprof.Run | None, ftprof.Run | None, bool]:
        before = ftprof.current()
        with ftprof.count() as run:
            await asyncio.sleep(0.01)
            return before, await asyncio.to_thread(ftprof.current), ftprof.current() is run

    async def outer() -> list[tuple[ftprof.Run | None, ftprof.Run | None, bool]]:
        return list(await asyncio.gather(inner(), inner()))

    seen: list[ftprof.Run | None] = []
    with ftprof.count() as run:
        answers = asyncio.run(outer())
        thread = threading.Thread(target=lambda: seen.append(ftprof.current()))
        thread.start()
        thread.join()
    assert [(before, same) for before, _, same in answers] == [(run, True)] * 2
    assert answers[0][1] is not answers[1][1]
    assert seen == [None]


def test_a_stop_in_another_context_ends_the_run_everywhere(fake: type[FakeRun]) -> None:
    run = ftprof.count().start()
    contextvars.copy_context().run(run.stop)
    assert ftprof.current() is None


def test_a_notebook_shows_a_small_escaped_table(fake: type[FakeRun], monkeypatch: pytest.MonkeyPatch) -> None:
    with ftprof.count() as run:
        pass
    html = run._repr_html_()
    assert ElementTree.fromstring(html).tag == "table"
    assert "<th>FLOP</th><td>3.0\N{MULTIPLICATION SIGN}10^2 (300)</td>" in html
    assert "below" in html
    evil = "<script>alert('x')</script>" * 100
    broken = record(interval=Interval(300, 300, None), complete=False, reasons=(evil,) * 7)
    monkeypatch.setattr(FakeRun, "record", lambda self: broken)
    html = ftprof.count().start()._repr_html_()
    assert ElementTree.fromstring(html).tag == "table"
    assert "<script" not in html
    assert "300 to no upper end" in html
    assert "and 2 more" in html
    assert len(html) < 5000


def test_a_notebook_says_so_far_while_a_block_goes_on() -> None:
    with ftprof.count() as run:
        html = run._repr_html_()
    assert "<th>FLOP</th><td>nothing counted so far</td>" in html
    assert "<th>so far</th><td>" in html
    assert "<th>incomplete</th>" not in html
    assert "so far" not in run._repr_html_()


def test_a_snapshot_is_a_result_that_stays(fake: type[FakeRun], tmp_path: Path) -> None:
    with ftprof.count() as run:
        snapshot = run.snapshot()
    assert (snapshot.flops, snapshot.method, snapshot.verdict().verdict) == (300, "analytic", "below")
    assert not hasattr(snapshot, "stop")
    snapshot.save(tmp_path / "record.json")
    assert run.reduce().flops == 300, "without torch.distributed it is this process's own"


def test_exceptions_pass_through(fake: type[FakeRun]) -> None:
    error = KeyError("the user's")
    with pytest.raises(KeyError) as caught, ftprof.count():
        raise error
    assert caught.value is error
    assert fake.made[0].calls == ["begin", True]


def test_a_count_may_run_again_but_not_twice_at_once(fake: type[FakeRun]) -> None:
    count = ftprof.count()
    with count, pytest.raises(FtprofError, match="running already"), count:
        pass
    with count as run:
        pass
    assert run._counted is fake.made[1]
    assert [made.calls for made in fake.made] == [["begin", False]] * 2


def test_start_and_stop(fake: type[FakeRun]) -> None:
    run = ftprof.count().start()
    run.stop()
    assert fake.made[0].calls == ["begin", False]


def test_a_function(fake: type[FakeRun]) -> None:
    @ftprof.count()
    def train(steps: int) -> int:
        """Trains."""
        assert train.run is not None
        return steps

    assert train.run is None
    assert (train(3), train.__name__, train.__doc__) == (3, "train", "Trains.")
    assert fake.made[0].calls == ["begin", False]
    assert train.run is not None
    assert train.run._counted is fake.made[0]  # type: ignore[comparison-overlap]


def test_a_method_and_a_coroutine_function(fake: type[FakeRun]) -> None:
    class Trainer:
        @ftprof.count()
        def train(self) -> Trainer:
            return self

        @ftprof.count()
        async def later(self) -> Trainer:
            assert fake.made[-1].calls == ["begin"]
            return self

    trainer = Trainer()
    assert trainer.train() is trainer
    assert asyncio.run(trainer.later()) is trainer
    assert [made.calls for made in fake.made] == [["begin", False]] * 2


def doubled(number: int) -> int:
    return 2 * number


class Doubling:
    @ftprof.count()
    def double(self, number: int) -> int:
        return 2 * number


plain, doubled_by_another_name = doubled, ftprof.count()(doubled)
doubled = ftprof.count()(doubled)


def test_a_function_is_found_by_its_name_in_another_process(fake: type[FakeRun]) -> None:
    """As multiprocessing and torch's launchers want it; also a method, and a copy is the function itself."""
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert copy.deepcopy(doubled) is doubled
    assert pickle.loads(pickle.dumps(Doubling().double))(4) == 8
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(doubled_by_another_name)


def test_a_method_tells_its_run(fake: type[FakeRun]) -> None:
    method = Doubling().double
    assert method(3) == 6
    assert method.run is not None
    assert method.run is Doubling.double.run


def test_frameworks_see_what_must_be_awaited(fake: type[FakeRun]) -> None:
    class Called:
        async def __call__(self) -> int:
            return 3

    async def wait() -> int:
        return 3

    for counted in (ftprof.count()(wait), ftprof.count()(Called())):
        asked = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
        assert asked(counted)
        assert asyncio.run(counted()) == 3  # type: ignore[arg-type]
        assert counted.run is not None
    assert not asyncio.iscoroutinefunction(ftprof.count()(plain))
    with pytest.raises(TypeError, match="Called is a class: decorate its methods"):
        ftprof.count()(Called)


def test_what_a_function_gives_and_does_later_is_said_to_be_uncounted(fake: type[FakeRun]) -> None:
    counting._said.clear()
    counted = ftprof.count()(lambda: (number for number in range(3)))
    with pytest.warns(ftprof.FtprofWarning, match="until it gave a generator, whose own work is not in it"):
        assert list(counted()) == [0, 1, 2]


def test_what_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match=r"as a decorator it is @ftprof\.count\(\), with brackets"):
        ftprof.count(plain)  # type: ignore[arg-type]
    for kind in (staticmethod, classmethod):
        with pytest.raises(TypeError, match=f"put @{kind.__name__} above @ftprof.count"):
            ftprof.count()(kind(plain))

    def steps() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (steps, later):
        with pytest.raises(TypeError, match="a generator's code runs when it is iterated"):
            ftprof.count()(function)
    with pytest.raises(TypeError, match="decorates a function, not int"):
        ftprof.count()(3)  # type: ignore[arg-type]


def test_a_fallback_is_said_once_and_by_the_users_line(
    fake: type[FakeRun], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FakeRun, "fallback", "the reason of this test")
    with caplog.at_level(logging.WARNING, "ftprof"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with ftprof.count():
                pass
    assert [str(warning.message) for warning in caught] == caplog.messages
    assert len(caught) == 1
    assert "the reason of this test" in caplog.messages[0]
    assert caught[0].category is ftprof.FtprofWarning
    assert caught[0].filename == __file__


# ---------------------------------------------------------------- a run in this process


class FakeBlock:
    """Counts so many operations, or fails in one of its calls."""

    method = "analytic"
    fails: ClassVar[dict[str, BaseException]] = {}

    def __init__(self, run_id: str, cuda_core: bool = False) -> None:
        self.problems: list[str] = []
        self.run_id = run_id
        self.patience_s: float | None = None

    def _call(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]

    def begin(self) -> None:
        self._call("begin")

    def end(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._call("end")

    def lines(self) -> list[dict[str, Any]]:
        self._call("lines")
        row = {"operator": "aten.mm", "precision": "bf16", "device": "cpu", "calls": "1", "flops": "300"}
        window = {"kind": "window", "method": "analytic", "begin_us": 1, "end_us": 2}
        header = process_header(self.run_id, "analytic", 1, {}, [])
        return [header, {**window, "devices": [], "counts": [row], "uncounted": []}, end_line(3)]


class Refusing(FakeBlock):
    fails: ClassVar[dict[str, BaseException]] = {"begin": CannotCount("there are none")}


def in_process_run(
    monkeypatch: pytest.MonkeyPatch, first: type[FakeBlock], second: type[FakeBlock] = FakeBlock
) -> in_process.InProcessRun:
    monkeypatch.setattr(in_process, "is_wrapped", lambda: False)
    monkeypatch.setattr(in_process, "ContextBlock", first)
    monkeypatch.setattr(in_process, "OperatorBlock", second)
    return in_process.InProcessRun({})


def test_the_first_method_that_can_count_does(monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_process_run(monkeypatch, FakeBlock)
    run.begin()
    so_far = run.record()
    assert (so_far.interval.value, so_far.interval.high, so_far.complete) == (300, None, False)
    assert "the block goes on" in so_far.reasons[0]
    run.end(failed=False)
    whole = run.record()
    assert whole.interval == Interval(300, 300, 300)
    assert (whole.complete, whole.reasons, run.fallback) == (True, (), None)
    assert whole.runs[0].exit_code == 0
    assert run.record() is whole


def test_the_next_method_says_why_it_is_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_process_run(monkeypatch, Refusing)
    run.begin()
    run.end(failed=True)
    assert run.fallback == "there are none"
    assert run.record().reasons == ("no hardware counters: there are none",)
    assert run.record().runs[0].exit_code == 1


def test_nothing_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_process_run(monkeypatch, Refusing, Refusing)
    run.begin()
    run.end(failed=False)
    assert run.record().interval == Interval(0, None, None)
    assert any("nothing in the block could be counted" in reason for reason in run.record().reasons)


@pytest.mark.parametrize("call", ["begin", "end", "lines"])
def test_a_fault_of_the_meter_stays_in_the_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    class Broken(FakeBlock):
        fails: ClassVar[dict[str, BaseException]] = {call: RuntimeError("a fault")}

    run = in_process_run(monkeypatch, Broken)
    with caplog.at_level(logging.CRITICAL, "ftprof"):
        run.begin()
        run.end(failed=False)
        told = run.record()
    assert not told.complete
    assert any("a fault" in reason for reason in told.reasons)
    assert told.interval.high is None


def test_ctrl_c_at_the_beginning_ends_what_had_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Interrupted(FakeBlock):
        fails: ClassVar[dict[str, BaseException]] = {"begin": KeyboardInterrupt()}

        def end(self, patience_s: float) -> None:
            ended.append(patience_s)

    with pytest.raises(KeyboardInterrupt):
        in_process_run(monkeypatch, Interrupted).begin()
    assert ended == [0.0]


# ---------------------------------------------------------------- parts


def test_edges_come_one_at_a_time_and_turn_a_signal_handler_away() -> None:
    edges = Edges()
    order: list[str] = []

    def other() -> None:
        with edges:
            order.append("other")

    thread = threading.Thread(target=other)
    with edges:
        thread.start()
        time.sleep(0.05)
        order.append("first")
        with pytest.raises(FtprofError, match="in a signal handler"), edges:
            pass
    thread.join(5)
    assert order == ["first", "other"]


def test_waiting_comes_to_an_end() -> None:
    asked: list[float] = []
    assert not waited(lambda seconds: bool(asked.append(seconds)) or time.sleep(seconds) is not None, 0.1)
    assert len(asked) >= 2
    assert waited(lambda _: True, 0)


GAP = {"begin_us": 10, "end_us": 20, "reason": "R", "call": "cuptiRangeProfilerStart", "code": 26, "remedy": ""}


def test_gaps_are_cut_to_the_block() -> None:
    note = {**GAP, "begin_us": 5, "end_us": 5}
    lines = clipped([GAP, note, {**GAP, "begin_us": 60, "end_us": 70}], 3, 15, 50)
    assert [(line["context"], line["begin_us"], line["end_us"]) for line in lines] == [(3, 15, 20), (3, 15, 15)]
    assert all(line["kind"] == "gap" for line in lines)
    assert clipped([GAP], 0, 20, 50) == []


def test_why_nobody_counted() -> None:
    assert why_not(GAP).startswith(
        "another profiler holds the counters, such as DCGM (cuptiRangeProfilerStart, error 26); "
    )
    assert why_not({**GAP, "code": 0, "call": "count", "remedy": "do this"}) == "R (count); do this"


def test_no_windows_make_no_line() -> None:
    assert strata_line([]) == []


METRICS = [
    {"name": name, "precision": "", "kind": kind, "weight": weight}
    for name, kind, weight in (("a", "floating", 1), ("c", "cycles", 0))
]
WINDOW = st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2**40), st.integers(0, 2**40))


def context(windows: list[tuple[int, int, int, int]]) -> CountedContext:
    device = {
        "device": "cuda:0",
        "name": "",
        "uuid": "",
        "capability": "",
        "chip": "",
        "multiprocessors": 1,
        "clock_khz": 1,
    }
    groups = [{"role": role, "metrics": METRICS} for role in ("base", "rotating")]
    found = CountedContext.from_json(
        {"context": 0, "device": device, "groups": groups, "unsupported": [], "seed": "1", "begin_us": 0}
    )
    for number, (stratum, group, count, cycles) in enumerate(windows):
        line = {"stratum": stratum, "group": group, "begin_us": 100 * number, "end_us": 100 * number + 90}
        found.add_window({**line, "counts": [str(count), str(cycles)]})
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(WINDOW, max_size=12), st.lists(WINDOW, max_size=12))
def test_what_was_counted_in_between_is_what_came_then(
    before: list[tuple[int, int, int, int]], after: list[tuple[int, int, int, int]]
) -> None:
    between = {stratum.number: stratum for stratum in _since(context(before), context(before + after), 0)}
    expected = {stratum.number: stratum for stratum in context(after).tally.strata}
    assert {n: stratum.groups for n, stratum in between.items()} == {n: s.groups for n, s in expected.items()}
    assert all(stratum.begin_us <= stratum.end_us for stratum in between.values())
    everything = {stratum.number: stratum.groups for stratum in _since(None, context(before), 0)}
    assert everything == {stratum.number: stratum.groups for stratum in context(before).tally.strata}


def test_a_block_that_begins_in_the_midst_of_a_slot_is_never_too_sure() -> None:
    """Its variance is at least that of the slots' parts in it; a whole slot's square cannot be taken apart."""
    before, after = Sums.empty(2), Sums.empty(2)
    before.add_window(10, (5, 10), 1)
    for counts, continued in (((5, 10), False), ((3, 10), True), ((7, 10), True), ((2, 10), False)):
        after.add_window(10, counts, 1, continued)
    block = _difference(after, before)
    assert (block.windows, block.continued, block.slots) == (3, 2, 1)
    squares, products = block.draws
    assert squares[0] >= (3 + 7) ** 2 + 2**2
    assert products[0] >= (3 + 7) * 20 + 2 * 10
    assert Sums.from_json(block.to_json(0), 2) == block
    uncut = _difference(Sums(3, 30, [9, 9], [27, 27], [27, 27]), Sums(1, 10, [3, 3], [9, 9], [9, 9]))
    assert uncut.draws == ([18, 18], [18, 18])


@pytest.fixture
def module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"imported_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("HERE = __loader__.get_data(__file__)\nDONE = True\n")
    return name


def test_acting_after_an_import(module_name: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[ModuleType] = []

    def fail(_: ModuleType) -> None:
        raise RuntimeError("a fault")

    for act in (seen.append, fail, seen.append):
        after_import(module_name, act)
    spec = importlib.util.find_spec(module_name)
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_filename(module_name) == spec.origin  # type: ignore[attr-defined]
    assert seen == []
    with caplog.at_level(logging.WARNING, "ftprof"):
        module = importlib.import_module(module_name)
    assert seen == [module, module]
    assert module.DONE
    assert module.HERE
    assert "a fault" in caplog.messages[0]
    assert type(module.__spec__.loader).__module__ != "ftprof.measure.after_import"
    after_import(module_name, seen.append)
    assert len(seen) == 3


@pytest.mark.parametrize("ours_first", [True, False])
def test_acting_beside_the_hook_of_wrap(module_name: str, monkeypatch: pytest.MonkeyPatch, ours_first: bool) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    hook = _ImportWatcher({module_name: lambda _: seen.append("hook")})

    def put_ours() -> None:
        after_import(module_name, lambda _: seen.append("ours"))

    if ours_first:
        put_ours()
    sys.meta_path.insert(0, hook)
    if not ours_first:
        put_ours()
    assert importlib.import_module(module_name).DONE
    assert sorted(seen) == ["hook", "ours"]


def test_a_run_is_of_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_process_run(monkeypatch, FakeBlock)
    run.begin()
    monkeypatch.setattr(in_process.os, "getpid", lambda: 1)
    run.end(failed=False)
    assert "forked inside the block" in run.record().reasons[0]
    assert run.record().interval.value is None
    assert replace(run.record(), method="analytic").complete is False
