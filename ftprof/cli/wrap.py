"""``ftprof wrap``: run a command unchanged, count its floating-point operations, and judge them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftprof.cli.given_path import refuse_no_file_name
from ftprof.cli.output import printable
from ftprof.cli.policy_options import policy_options, refuse_forgotten_value
from ftprof.errors import EXIT_REFUSED, FtprofError, UsageProblem
from ftprof.measure.analytic.hook import report_problem
from ftprof.measure.child import Child, CommandNotStarted
from ftprof.measure.injection import CounterOptions
from ftprof.measure.launch import launch_of
from ftprof.measure.methods import METHOD_NAMES, chosen, why_unavailable
from ftprof.measure.run import Run, default_record, new_run_id
from ftprof.measure.shared_run import Claim, SharedRun, has_written, names
from ftprof.policy.choice import PolicyChoice, PolicyOptions, judge_record, read_policy_options
from ftprof.policy.verdict import EXIT_CODES, MILDEST_FIRST, Outcome, Verdict, deciding_verdict
from ftprof.record.reasons import NOT_IN_THIS_RUN
from ftprof.record.record import Record, save_record

if TYPE_CHECKING:
    from ftprof.measure.device_sampler import DeviceSampler
    from ftprof.measure.unhooked import UnhookedProcesses

_METHODS = click.Choice(METHOD_NAMES)
_LOOK_S, _SECOND_S = 0.25, 1.0  # between looks for processes without the hook, and between all other ones
_LONGEST_NAME = 200  # of 255 bytes; the run directory's name is a little longer


@click.command(
    name="wrap",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS] --",
)
@click.option(
    "-o", "--record", metavar="FILE", callback=refuse_forgotten_value,
    help="The record. Default: ftprof-<UTC time>-<id>.json. Never overwritten without --force.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the record if it exists.")
@click.option(
    "--run-dir", metavar="DIR", callback=refuse_forgotten_value,
    help="Where the processes' journals go; a folder shared by all nodes makes one run of them. "
    "Default: a folder beside the record, kept only if the run is incomplete.",
)  # fmt: skip
@click.option("--keep-journals", is_flag=True, help="Keep the journals of a complete run too.")
@click.option("--method", type=_METHODS, default="auto", show_default=True, help="How to count.")
@click.option("--require", type=_METHODS, help="Refuse to start (125) where this method is not available.")
@policy_options
@click.option(
    "--fail-on", type=click.Choice(["above", "within-margin", "undetermined"]),
    help="Let this verdict and any worse one fail the command (3 above, 4 within margin, 5 undetermined). "
    "A command that fails keeps its own exit code.",
)  # fmt: skip
@click.option(
    "--subscribe",
    is_flag=True,
    help="Take CUPTI's one subscriber place too, to see contexts that are not a device's primary one. torch.profiler "
    "cannot have it then.",
)  # fmt: skip
@click.option(
    "--cuda-core",
    is_flag=True,
    envvar="FTPROF_CUDA_CORE",
    help="Count on CUDA cores too, in rare windows of patched machine code. They slow the training down, small kernels "
    "for good.",
)  # fmt: skip
@click.option(
    "--operators",
    is_flag=True,
    envvar="FTPROF_OPERATORS",
    help="Count operators by their formulas too, beside another method and from the start, for a second figure of the "
    "whole run and for phases. It costs what --method analytic does.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No live line and no closing block.")
@click.argument("command_line", metavar="COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(
    record: str | None,
    force: bool,
    run_dir: str | None,
    keep_journals: bool,
    method: str,
    require: str | None,
    policy_options: PolicyOptions,
    fail_on: str | None,
    quiet: bool,
    subscribe: bool,
    cuda_core: bool,
    operators: bool,
    command_line: tuple[str, ...],
) -> int:
    """Run COMMAND unchanged, count its floating-point operations, and judge them.

    The exit code is COMMAND's. 125: refused before it started; 126: not executable; 127: not found;
    128 + n: it died of signal n; 3, 4 or 5: see --fail-on.
    """
    if not command_line:
        raise UsageProblem("wrap needs a command to run: ftprof wrap -- python train.py")
    if require is not None and (reason := why_unavailable(require, os.environ)):
        raise FtprofError(f"--require {require}: {reason}", EXIT_REFUSED)
    choice = read_policy_options(policy_options, unknown_policy_exit=EXIT_REFUSED)
    run_id = new_run_id()
    launch = launch_of(os.environ, shared=run_dir is not None)
    where = _record_path(record, run_id, force, run_dir)
    folder = Path(run_dir) if run_dir else _own_folder(where, run_id)
    methods = chosen(method, os.environ, operators)
    run = Run(run_id, folder, command_line, methods, choice.inputs.to_json(), launch)
    if reason := why_unavailable(method, os.environ):
        _say(f"ftprof: --method {method}: {reason}; the record will be undetermined")
        run.note_problem(f"--method {method}: {reason}")

    if run.methods.fallback:
        _say(f"ftprof: no hardware counters: {run.methods.fallback}; counting by {run.methods.label} instead")
    if os.environ.get("FTPROF_RUN_DIR"):
        _say("ftprof: this run is inside another one, whose record will say that it does not hold these processes")
        report_problem(f"it wrapped a run of its own (record {where}), {NOT_IN_THIS_RUN}")

    exit_code = _run(run, command_line, choice, quiet, CounterOptions(subscribe, cuda_core))
    try:
        run.end(exit_code)
        claim = None
        if run.shared is not None:
            claim, others = _turn(run, run.shared)
            if claim is None:
                if not quiet:
                    also = ", and decides --fail-on" if fail_on else ""
                    _say(f"ftprof: ended here; {others} writes the record of all{also}")
                return exit_code
            where = where if record else run.shared.earlier_record() or where
            force = force or run.shared.wrote(where)
        kept = keep_journals or run_dir is not None
        result, verdicts, where = _finish(run, choice, where, claim, overwrite=force, kept=kept)
    except Exception as error:
        # Whatever happens to the meter, the command has run and its exit code stands.
        journals = f"; the journals are in {run.folder}" if run.folder.is_dir() else ""
        _say(f"ftprof: no record could be written: {error}{journals}")
        return exit_code or _outcome_code("undetermined", fail_on)
    if not quiet:
        _close(result, verdicts, where, run.folder if run.folder.is_dir() else None)
    return exit_code or _verdict_code(verdicts, choice, fail_on)


def _record_path(record: str | None, run_id: str, force: bool, run_dir: str | None) -> Path:
    if record:
        refuse_no_file_name(record)
    path = Path(record) if record else default_record(run_id, os.environ)
    if not path.is_absolute() and _current_folder_is_gone():
        raise FtprofError(
            "the current folder has been deleted; change to one that is there, or give the record's whole path with -o",
            EXIT_REFUSED,
        )
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise FtprofError("the record's name is too long; give a shorter one with -o", EXIT_REFUSED)
    if path.is_symlink() and not path.exists():
        path = Path(os.path.realpath(path))  # the record will be the file that the link names
    # A part of the run that begins late finds the record of those that have ended, and will replace it.
    force = force or (run_dir is not None and has_written(Path(run_dir), path))
    if (path.exists() or path.is_symlink()) and (not force or not path.is_file()):
        remedy = "give --force to overwrite it, or another name with -o" if path.is_file() else "it is no file"
        raise FtprofError(f"the record {path} exists; {remedy}", EXIT_REFUSED)
    if not path.parent.is_dir():
        raise FtprofError(
            f"the record's folder {path.parent} does not exist; make it, or give another with -o", EXIT_REFUSED
        )
    if not os.access(path.parent, os.W_OK):
        raise FtprofError(f"the record's folder {path.parent} cannot be written to; give another with -o", EXIT_REFUSED)
    return path


def _current_folder_is_gone() -> bool:
    """One that has been deleted stays the current one, without a name."""
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _own_folder(where: Path, run_id: str) -> Path:
    """A folder beside the record; an earlier run's is left as it is."""
    folder = where.with_name(f"{where.name.removesuffix('.json')}.run")
    return where.with_name(f"{where.stem}-{run_id[:8]}.run") if folder.exists() else folder


def _run(run: Run, command_line: Sequence[str], choice: PolicyChoice, quiet: bool, options: CounterOptions) -> int:
    """Run the command to its end. One that cannot be started leaves no trace and exits 126 or 127."""
    live = _Live(run, choice) if not quiet else None
    try:
        child = Child(command_line, run.environment(os.environ, options))
    except CommandNotStarted as error:
        run.abandon()
        raise FtprofError(str(error), error.exit_code) from error
    sampler = _sampler(run, child.pid)
    unhooked = _unhooked(run, child.pid)
    watcher = _Watchers([live or _Nothing(), run, *([sampler] if sampler else [])], unhooked, run.note_problem)
    try:
        exit_code = child.wait(watcher, _LOOK_S)
    finally:
        watcher.suspended()
    try:
        if sampler is not None:
            run.note_devices(sampler.finish())
            run.note_users(sampler.users())
    except Exception as error:
        run.note_problem(f"the GPUs were not watched to the end: {error}")
    for what in unhooked.found() if unhooked is not None else []:
        run.note_problem(what)
    if child.killed_by not in (None, signal.SIGINT):  # Ctrl-C lets a process end its journal
        run.note_problem(f"the command died of signal {child.killed_by}")
    return exit_code


def _turn(run: Run, shared: SharedRun) -> tuple[Claim | None, str]:
    """The right to write the record of all parts, or who has it."""
    while True:
        if going := run.turn(lambda what: _say(f"ftprof: {what}")):
            return None, f"{names(going)} still {'goes' if len(going) == 1 else 'go'} on, and the last to end"
        claim = shared.claim()
        if claim is None:
            return None, "another that ended at the same moment"
        if not claim.is_stale:
            return claim, ""
        claim.withdraw()


def _finish(
    run: Run, choice: PolicyChoice, where: Path, claim: Claim | None, overwrite: bool, kept: bool
) -> tuple[Record, tuple[Verdict, ...], Path]:
    """The record, its verdicts, and where it is: beside ``where``, if a file has come there in the meantime."""
    try:
        result, verdicts = judge_record(run.record(), choice)
        try:
            save_record(result, where, overwrite)
        except FileExistsError:
            taken, where = where, where.with_name(f"{where.stem}-{run.run_id}{where.suffix}")
            _say(f"ftprof: {taken} was made while the command ran and is left as it is; the record is {where}")
            save_record(result, where, overwrite)
    except BaseException:
        if claim is not None:
            claim.withdraw()
        raise
    if claim is not None:
        claim.settle(where)
    if result.complete and not kept:
        run.discard()
    return result, verdicts, where


def _verdict_code(verdicts: Sequence[Verdict], choice: PolicyChoice, fail_on: str | None) -> int:
    return 0 if fail_on is None else _outcome_code(deciding_verdict(verdicts, choice.named).verdict, fail_on)


def _outcome_code(outcome: Outcome, fail_on: str | None) -> int:
    if fail_on is None:
        return 0
    order: list[str] = list(MILDEST_FIRST)
    return EXIT_CODES[outcome] if order.index(outcome) >= order.index(fail_on) else 0


def _close(record: Record, verdicts: Sequence[Verdict], where: Path, journals: Path | None) -> None:
    from ftprof.report.run_text import closing_block

    _say("\n".join(closing_block(record, verdicts, where, _how_to_call(), journals)))


def _how_to_call() -> str:
    """Words that a shell takes: as the user did, if ``ftprof`` alone is not found."""
    if shutil.which("ftprof"):
        return "ftprof"
    words = [sys.executable, "-m", "ftprof"] if Path(sys.argv[0]).name == "__main__.py" else [sys.argv[0]]
    return shlex.join(words)


def _say(text: str) -> None:
    """Everything that wrap itself says goes to stderr; one that is closed or gone is no reason to fail."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(printable(sys.stderr, text) + "\n")
        sys.stderr.flush()


def _sampler(run: Run, command_pid: int) -> DeviceSampler | None:
    """What watches the GPUs, where the run's methods want it. It may fail; the command goes on."""
    if not run.methods.devices:
        return None
    from ftprof.measure.device_sampler import DeviceSampler
    from ftprof.measure.run_processes import RunProcesses

    try:
        return DeviceSampler(run.write_device_window, RunProcesses(run.run_id, command_pid))
    except (OSError, RuntimeError) as error:
        run.note_devices([f"the GPUs are not watched: {error}"])
        return None


def _unhooked(run: Run, command_pid: int) -> UnhookedProcesses | None:
    """What looks for processes that use torch and do not count operators, where the figure is made of these."""
    if run.methods.label != "analytic":
        return None
    from ftprof.measure.unhooked import UnhookedProcesses

    try:
        return UnhookedProcesses(run.folder, command_pid)
    except OSError as error:
        run.note_problem(f"processes without ftprof's hook are not looked for: {error}")
        return None


class _Watchers:
    """Several of them as one. One that fails is left out from then on, and named: the command goes on."""

    def __init__(self, watchers: Sequence[Any], often: Any, note: Callable[[str], None]) -> None:
        """``often`` is called at each tick, the others every second."""
        self._watchers = list(watchers)
        self._often = [often] if often is not None else []
        self._note = note
        self._next_second = time.monotonic() + _SECOND_S

    def tick(self) -> None:
        self._tick(self._often)
        if time.monotonic() >= self._next_second:
            self._next_second = time.monotonic() + _SECOND_S
            self._tick(self._watchers)

    def _tick(self, watchers: list[Any]) -> None:
        for watcher in list(watchers):
            if (why := self._failure(watcher)) is not None:
                watchers.remove(watcher)
                self._note(f"{type(watcher).__name__} failed while the command ran: {why}")

    @staticmethod
    def _failure(watcher: Any) -> str | None:
        try:
            watcher.tick()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def suspended(self) -> None:
        for watcher in [*self._watchers, *self._often]:
            if hasattr(watcher, "suspended"):
                watcher.suspended()


class _Nothing:
    """Watches nothing."""

    def tick(self) -> None: ...

    def suspended(self) -> None: ...


class _Live:
    """The live line: operations so far, their rate, the share of the strictest threshold, the method."""

    def __init__(self, run: Run, choice: PolicyChoice) -> None:
        self._run = run
        self._choice = choice
        self._began = time.monotonic()
        self._show: Callable[[str], None] | None = None
        self._remove: Callable[[], None] = _Nothing().tick
        self._progress: Any = None

    def tick(self) -> None:
        from ftprof.report.live_line import LiveLine, wants_live_line

        if self._show is None:
            from ftprof.measure.progress import Progress

            line = LiveLine()
            self._show = line.show if wants_live_line() else _ignore
            self._remove = line.remove
            self._progress = Progress(self._run.folder)
        if self._show is not _ignore:
            try:
                self._show(self._text())
            except Exception:
                # Such as a journal that cannot be read now: the record will say so, the command goes on.
                self._show = _ignore
                self._remove()

    def suspended(self) -> None:
        self._remove()

    def _text(self) -> str:
        from ftprof.policy.scenario import scenarios_for
        from ftprof.quantity import two_figures
        from ftprof.report.verdict_text import share_text

        snapshot = self._progress.look()
        seconds = Fraction(max(time.monotonic() - self._began, 1))
        thresholds = [
            s.threshold for policy in self._choice.policies for s in scenarios_for(policy, self._choice.inputs)
        ]
        strictest = min(thresholds)
        flops = Fraction(snapshot.flops)
        return (
            f"ftprof {two_figures(flops)} FLOP, {two_figures(flops / seconds)} FLOP/s, "
            f"{share_text(flops / strictest, two_figures(strictest))}, {self._run.methods.label}"
        )


def _ignore(_: str) -> None: ...
