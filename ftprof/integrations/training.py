"""The count of a training that may stop and go on from a checkpoint, as the callbacks of training libraries keep it.

Nothing of it raises into the training. With several ranks every method that is called a collective is to be called by
all of them, and a rank whose own count fails takes part all the same; one that does not is waited for once (Exchange).
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ftprof.counting import Count, Run, say_once
from ftprof.errors import FtprofError, UntrustedInput
from ftprof.integrations.earlier_runs import (
    EARLIER,
    NOW,
    added,
    earlier_runs,
    going_on,
    keep,
    noted,
    runs_folder,
    unsure,
)
from ftprof.integrations.exchange import Exchange
from ftprof.measure.ranks import initialised
from ftprof.record.canonical import canonical
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.journal import PHASES, Cell
from ftprof.record.phase_amounts import operators_by_phase
from ftprof.record.record import COUNTER_METHODS, Record, load_record, save_record
from ftprof.result import Result

EXACT_IN_A_FLOAT = 1 << 53
_KEEP_EVERY_S = 30.0  # what a killed process loses at most, where it logs as often
_BEGUN_AGAIN = "the training was left by an exception and begun again; what its process did in between is counted too"
_log = logging.getLogger("ftprof")
_here: set[Training] = set()  # those that go on in this process, also where an exception left nothing else of them
_numbers = itertools.count()
Callback = TypeVar("Callback", bound=Callable[..., Any])


def harmless(method: Callback) -> Callback:
    """A callback's method that tells of its errors and raises none: the training does not hang on its meter."""

    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as problem:
            say_once(f"ftprof could not do its part of {method.__name__}, the training goes on: {problem!r:.300}")
            _log.debug("ftprof: %s", method.__name__, exc_info=problem)
            return None

    return guarded  # type: ignore[return-value]


@dataclass(frozen=True)
class Figures:
    """For a log: the operations of all runs and ranks so far, their rate since the last log, and the share.

    ``threshold_share`` is the share of the deciding policy's threshold: the first policy that was named, else that of
    the worst verdict. It is ``None`` where no policy gives one.
    """

    flops: int
    flops_per_second: float
    threshold_share: float | None

    def numbers(self) -> dict[str, int | float]:
        """For loggers: an integer as long as a float could hold it exactly, too."""
        flops = self.flops if self.flops <= EXACT_IN_A_FLOAT else float(self.flops)
        numbers = {"ftprof/flops": flops, "ftprof/flops_per_second": self.flops_per_second}
        return numbers if self.threshold_share is None else {**numbers, "ftprof/threshold_share": self.threshold_share}

    def exact(self) -> dict[str, str]:
        """The integer as text, where a float does not hold it."""
        return {"ftprof/flops_exact": str(self.flops)} if self.flops > EXACT_IN_A_FLOAT else {}


class Training:
    """One training on one rank: this process's run, and what was executed before it."""

    def __init__(self, count: Count) -> None:
        self.figures: Figures | None = None
        self._count = count
        self._choice = count.choice
        self._run: Run | None = None
        self._earlier: Record | None = None
        self._total: Record | None = None
        self._folder = Path()
        self._path: Path | None = None
        self._first_run = ""
        self._rank, self._ranks = 0, 1
        self._exchange: Exchange | None = None
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._alone = False
        self._logged = (0.0, 0)
        self._kept_s = 0.0

    @property
    def running(self) -> bool:
        """Whether this process counts it now."""
        return self._run is not None and self._run.running

    @property
    def spans_ranks(self) -> bool:
        """Whether figures of other ranks belong to the total and can be asked for."""
        return self._exchange is not None and not self._alone

    def result(self) -> Result:
        """What is known here without asking other ranks: all of it after the last collective."""
        if self._total is not None and not self.running:
            total = self._total
            return Result(lambda: total, self._choice)
        so_far = self._with_earlier(self._own())
        return Result(lambda: so_far, self._choice)

    def begin(
        self,
        folder: Path,
        path: Path,
        checkpoint: Record | None,
        problems: Sequence[str] = (),
        source: Path | None = None,
    ) -> None:
        """Count from now on. A collective.

        ``folder`` is the training's output, ``path`` the file for the record of all of it. ``checkpoint`` is the record
        in the checkpoint that it goes on from, ``source`` the output of the training that made that, where it is
        another; ``problems`` say what is missing in it, or why there is none although there should be one.
        """
        if self.running and (checkpoint is None or self._holds(checkpoint)):
            self._notes.append(_BEGUN_AGAIN)
            return
        for other in [one for one in _here if one.running and (one is self or one._folder == folder.absolute())]:
            other._notes.append(_BEGUN_AGAIN)
            other.end_alone()
        distributed = initialised()
        self._rank, self._ranks = (
            (0, 1) if distributed is None else (distributed.get_rank(), distributed.get_world_size())
        )
        self._folder, self._path, self._total, self._alone = folder.absolute(), path.absolute(), None, False
        self._problems, self._notes = [], []
        self._exchange = self._met()
        self._earlier = self._agreed(self._started(), checkpoint, problems, source)
        self._logged = (time.monotonic(), 0 if self._run is None else self._before(self._run.method)[0])
        self._kept_s = time.monotonic()
        _here.add(self)

    def look(self) -> None:
        """Bring ``figures`` up to date. A collective."""
        if self._run is None or not self._run.running:
            return
        own = self._run._counted_record()
        sums = self._sums([own.interval.value or 0, int(own.method in COUNTER_METHODS), *_by_phase(own)])
        if time.monotonic() - self._kept_s > _KEEP_EVERY_S:
            self._keep(self._own())
        if sums is None:
            self.figures = None
            return
        before, phases_before = self._before(own.method)
        total = before + sums[0]
        phases = [then + now for then, now in zip(phases_before, sums[2:], strict=True)]
        self.figures = Figures(total, self._rate(total), self._share(own.method, total, phases)) if total else None

    def _rate(self, total: int) -> float:
        """Operations a second since the last log; as before where nothing was executed, as in a log right after one."""
        now, (before_s, before) = time.monotonic(), self._logged
        if total <= before and self.figures is not None:
            return self.figures.flops_per_second
        self._logged = (now, total)
        return max(total - before, 0) / max(now - before_s, 1e-9)

    @property
    def known(self) -> Record | None:
        """The total as of the latest collective."""
        return self._total

    def total(self) -> Record:
        """The record of all runs and ranks until now. A collective."""
        own = self._own()
        told = self._told(canonical(own.to_json()).decode(), _added_up)
        if told is None:
            self._total = self._with_earlier(own)
        elif "record" in told:
            self._total = self._with_earlier(Record.from_json(told["record"]))
        else:
            self._total = self._with_earlier(own, [told["problem"]])
        self._keep(own)
        return self._total

    def latest(self) -> Record:
        """The total as of the latest collective, or of this moment where there is one rank only."""
        if self.spans_ranks and self._total is not None:
            return self._total
        return self._with_earlier(self._own())

    def end(self) -> Record:
        """Count no more; the final record of all runs and ranks, which is written too. A collective."""
        if self._run is not None:
            self._run.stop()
        return self._ended()

    def end_alone(self) -> None:
        """The same where the training was left by an exception, so that other ranks cannot be asked."""
        if self._run is not None and self._run.running:
            self._leave("the training was left by an exception on this rank")
            self._run.stop(failed=True)
            self._ended()

    def _ended(self) -> Record:
        _here.discard(self)
        record = self.total()
        if self._path is not None and self._rank == 0:
            self.save(record, self._path)
        return record

    def save(self, record: Record, path: Path, over_any: bool = False) -> None:
        """Write a record with its verdicts; over that of another training only where ``over_any`` is set."""
        judged = Result(lambda: record, self._choice).record
        if not over_any and path.exists() and not _is_part_of(path, judged):
            path = path.with_name(f"{path.stem}-{judged.runs[-1].run if judged.runs else 'new'}{path.suffix}")
            say_once(f"the record there is one of another training and stays; this one's is {path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_record(judged, path, overwrite=True)
        except OSError as error:
            say_once(f"the record {path} cannot be written: {error.strerror}")

    def _before(self, method: str) -> tuple[int, list[int]]:
        """What earlier runs executed, and by phase, for the logs: nothing where this run's method is another one."""
        earlier = self._earlier
        if earlier is None or (earlier.method in COUNTER_METHODS) != (method in COUNTER_METHODS):
            return 0, [0] * len(PHASES)
        return earlier.interval.value or 0, _by_phase(earlier)

    def _holds(self, checkpoint: Record) -> bool:
        """Whether the checkpoint was made by the run that still goes on."""
        return self._run is not None and self._run.run_id in {run.run for run in checkpoint.runs}

    def _started(self) -> str | None:
        """The id of the run that has begun; ``None`` where it could not, which other ranks must hear of."""
        try:
            self._run = self._count.start()
        except Exception as problem:
            say_once(f"ftprof cannot count this training: {problem!r:.300}")
            self._run = None
            return None
        return self._run.run_id

    def _agreed(
        self, run: str | None, checkpoint: Record | None, problems: Sequence[str], source: Path | None
    ) -> Record | None:
        """What was executed earlier, as the first rank finds it, so that it counts once."""
        found: Record | None = None
        reasons = list(problems)
        try:
            if checkpoint is not None and self._rank == 0:
                found = earlier_runs(self._folder, checkpoint, source)
                keep(self._folder, found)
        except Exception as problem:
            reasons.append(f"what earlier runs executed cannot be read whole: {problem!r:.300}")
        mine = {"found": None if found is None else found.to_json(), "reasons": reasons, "run": run}
        if (told := self._told(json.dumps(mine), _agreement)) is not None:
            found = None if told["found"] is None else Record.from_json(told["found"])
            reasons, run = told["reasons"], told["run"] or run
            if told["without"]:
                self._leave(f"rank {told['without'][0]} could not begin to count")
        self._problems += reasons
        self._first_run = found.runs[0].run if found is not None and found.runs else run or ""
        return found

    def _own(self) -> Record:
        """This rank's run alone, waiting for its GPU."""
        if self._run is None:
            return Record("analytic", NOTHING_COUNTED, False, ("the training has not begun",), (), (), {}, {})
        record = self._run._finished_record()
        return noted(going_on(record) if self._run.running else record, self._notes)

    def _with_earlier(self, now: Record, problems: Sequence[str] = ()) -> Record:
        problems = [*self._problems, *problems]
        whole = now
        if self._earlier is not None:
            try:
                whole = added([(EARLIER, self._earlier), (NOW, now)])
            except UntrustedInput as error:
                flops, method = self._earlier.interval.value, self._earlier.method
                problems.append(f"{flops} FLOP that earlier runs counted ({method}) are not in it: {error.message}")
                whole = replace(now, runs=(*self._earlier.runs, *now.runs))
        return unsure(whole, problems)

    def _sums(self, own: Sequence[int]) -> list[int] | None:
        """Over all ranks; ``None`` where they count by different methods or cannot be asked."""
        if not self.spans_ranks:
            return list(own)
        told = self._told(json.dumps([str(number) for number in own]), _summed)
        if told is None:
            return None
        sums = [int(text) for text in told]
        if sums[1] not in (0, self._ranks):
            say_once("the ranks count by different methods, so that their figures are not added in the logs")
            return None
        return sums

    def _met(self) -> Exchange | None:
        if self._ranks == 1:
            return None
        try:
            return Exchange(next(_numbers))
        except FtprofError as error:
            self._leave(error.message)
            return None

    def _told(self, own: str, combine: Callable[[list[str]], str]) -> Any:
        """What the first rank makes of what all ranks tell; ``None`` where this one counts alone."""
        if self._exchange is None or self._alone:
            return None
        try:
            return json.loads(self._exchange.combined(own, combine))
        except FtprofError as error:
            self._leave(error.message)
            return None

    def _leave(self, why: str) -> None:
        """From now on this rank tells of itself only."""
        if self._ranks > 1 and not self._alone:
            self._alone = True
            if self._exchange is not None:
                self._exchange.leave()
            self._problems.append(f"other ranks' figures are not in it: {why}")
            say_once(f"ftprof's total does not hold what other ranks do from now on: {why}")

    def _share(self, method: str, total: int, phases: Sequence[int]) -> float | None:
        flops = dict(zip(PHASES, phases, strict=True))
        cells = {Cell("all", "all", "all", phase): (1, operations) for phase, operations in flops.items() if operations}
        beside: dict[str, Any] = {"method": "analytic", "by_phase": {phase: str(n) for phase, n in flops.items()}}
        sketch = Record(method, Interval(total, total, total), True, (), (), (), cells, {}, cross_checks=(beside,))
        ratio = Result(lambda: sketch, self._choice).verdict().ratio
        return None if ratio is None else float(ratio)

    def _keep(self, own: Record) -> None:
        """This rank's run in the folder that the training's runs share."""
        if self._run is None:
            return
        place = runs_folder(self._folder, self._first_run)
        try:
            place.mkdir(parents=True, exist_ok=True)
            save_record(own, place / f"{self._run.run_id}.json", overwrite=True)
        except OSError as error:
            say_once(f"{place} cannot be written, so that the work after a checkpoint may be lost: {error.strerror}")
        self._kept_s = time.monotonic()


def _agreement(answers: list[str]) -> str:
    """The first rank's findings, and which ranks could not begin."""
    told = [json.loads(answer) for answer in answers]
    without = [rank for rank, one in enumerate(told) if one["run"] is None]
    return json.dumps({**told[0], "without": without})


def _added_up(answers: list[str]) -> str:
    """The ranks' records as one, or why they cannot be added."""
    try:
        records = [(f"rank {rank}", Record.from_json(json.loads(answer))) for rank, answer in enumerate(answers)]
        return json.dumps({"record": added(records).to_json()})
    except UntrustedInput as error:
        return json.dumps({"problem": f"the ranks' figures cannot be added, this is one rank's: {error.message}"})
    except (KeyError, TypeError, ValueError) as error:
        return json.dumps({"problem": f"a rank's record cannot be read ({error!r:.100}); is its ftprof another one?"})


def _summed(answers: list[str]) -> str:
    """Exact integers, as text."""
    columns = zip(*(map(int, json.loads(answer)) for answer in answers), strict=True)
    return json.dumps([str(sum(column)) for column in columns])


def _by_phase(record: Record) -> list[int]:
    sums = record.by_phase if record.method == "analytic" else operators_by_phase(record)
    return [sums.get(phase, 0) for phase in PHASES]


def _is_part_of(path: Path, record: Record) -> bool:
    try:
        old = load_record(path)
    except UntrustedInput:
        return False
    return {run.run for run in old.runs} <= {run.run for run in record.runs}


@atexit.register
def _end_at_exit() -> None:
    for training in list(_here):
        harmless(training.end_alone)()
