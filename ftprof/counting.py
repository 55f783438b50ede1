"""``ftprof.count()``: count the floating-point operations of a block of code in this process, and judge them.

It is not called ``ftprof.count``, since a module of that name would take the function's place in the package.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ftprof.errors import FtprofError, UsageProblem

if TYPE_CHECKING:
    import os

    from ftprof.cli.policy_options import PolicyChoice
    from ftprof.measure.in_process import InProcessRun
    from ftprof.policy.verdict import Verdict
    from ftprof.record.interval import Interval
    from ftprof.record.record import Record

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("ftprof")
_log.addHandler(logging.NullHandler())  # a library does not print: without the user's own handler nothing is shown
_said: set[str] = set()


class FtprofWarning(UserWarning):
    """Something about the figures that the user should know, such as a method that is not the best."""


class Run:
    """One block of code that is counted, or was. Everything can also be read while the block goes on.

    Figures are in floating-point operations, a multiply-add being two. They are those of the whole process during the
    block, whichever of its threads worked.
    """

    def __init__(self, choice: PolicyChoice) -> None:
        from ftprof.measure.in_process import InProcessRun

        self._choice = choice
        self._counted: InProcessRun = InProcessRun(choice.inputs.to_json())

    def _start(self) -> None:
        self._counted.begin()
        if self._counted.fallback is not None:
            _say_once(
                f"ftprof.count() does not use hardware counters: {self._counted.fallback}. Operators' formulas count "
                "instead (method 'analytic')"
            )

    def stop(self, failed: bool = False) -> None:
        """End the count; without effect where it has ended. ``failed``: do not wait long for a GPU that may hang."""
        self._counted.end(failed)

    @property
    def record(self) -> Record:
        """All that is known of the run, with the verdicts: what ``save`` writes."""
        from ftprof.cli.wrap import judge_record

        return judge_record(self._counted.record(), self._choice)[0]

    @property
    def interval(self) -> Interval:
        """[low, high] around the total; ``high`` is ``None`` where nothing bounds what was not counted."""
        return self._counted.record().interval

    @property
    def flops(self) -> int | None:
        """The best figure for the total; ``None`` where nothing could be counted."""
        return self.interval.value

    @property
    def by_precision(self) -> dict[str, int]:
        """Operations by precision, the largest first."""
        return self._counted.record().by_precision

    @property
    def method(self) -> str:
        """How they were counted: ``counters``, ``sampled``, ``analytic``, or where nothing else held ``peak-bound``."""
        return self._counted.record().method

    @property
    def complete(self) -> bool:
        """Whether the whole block was counted."""
        return self._counted.record().complete

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was not, and what else a reader of the figures should know."""
        return self._counted.record().reasons

    def verdict(self, policy: str | None = None) -> Verdict:
        """One policy's verdict, or the one that decides: the first policy named to ``count()``, else the worst.

        Raises ``FtprofError`` for a policy that does not ship.
        """
        from ftprof.cli.wrap import judge_record
        from ftprof.policy.verdict import deciding_verdict

        if policy is None:
            return deciding_verdict(judge_record(self._counted.record(), self._choice)[1], self._choice.named)
        if not isinstance(policy, str):
            raise TypeError(f"policy is a name, not {type(policy).__name__}")
        chosen = _one_policy(policy, self._choice)
        return judge_record(self._counted.record(), chosen)[1][0]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the record, as ``ftprof wrap`` does. Raises ``FtprofError`` where that is not possible."""
        from ftprof.record.record import save_record

        try:
            save_record(self.record, Path(path), overwrite)
        except FileExistsError as error:
            raise FtprofError(f"the record {path} exists; give overwrite=True to overwrite it") from error
        except OSError as error:
            raise FtprofError(f"the record {path} cannot be written: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"<ftprof run: {self.flops} FLOP by {self.method}, {'' if self.complete else 'in'}complete>"


class CountedFunction(Generic[P, R]):
    """A function each call of which is counted. ``run`` is its latest call's, outermost where it calls itself."""

    run: Run | None = None

    def __init__(self, function: Callable[P, R], choice: PolicyChoice) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._choice = choice

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function gives; of a coroutine function, a coroutine that is counted while it is awaited."""
        if inspect.iscoroutinefunction(self._function):
            return cast(R, self._awaited(*args, **kwargs))
        with _Running(self._choice) as run:
            self.run = run
            try:
                return self._function(*args, **kwargs)
            finally:
                self.run = run

    async def _awaited(self, *args: Any, **kwargs: Any) -> Any:
        with _Running(self._choice) as run:
            self.run = run
            try:
                return await cast(Any, self._function(*args, **kwargs))
            finally:
                self.run = run

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method."""
        return self if instance is None else functools.partial(self, instance)


class Count:
    """What ``count()`` gives: a context manager, and a decorator."""

    def __init__(self, choice: PolicyChoice) -> None:
        self._choice = choice
        self._running: _Running | None = None

    def start(self) -> Run:
        """Begin a count that ends with its ``stop()``."""
        run = Run(self._choice)
        run._start()
        return run

    def __enter__(self) -> Run:
        if self._running is not None:
            raise FtprofError("this count is running already; make another one with ftprof.count()")
        self._running = _Running(self._choice)
        try:
            return self._running.__enter__()
        except BaseException:
            self._running = None
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> CountedFunction[P, R]:
        """As a decorator: each call is a run of its own. Raises ``TypeError`` for a generator function."""
        if not callable(function):
            raise TypeError(f"ftprof.count() decorates a function, not {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator's code runs when it is iterated: use 'with ftprof.count()' around that")
        return CountedFunction(function, self._choice)


class _Running:
    """One run as a context manager that lets every exception through."""

    def __init__(self, choice: PolicyChoice) -> None:
        self._run = Run(choice)

    def __enter__(self) -> Run:
        self._run._start()
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.stop(failed=kind is not None)


def count(
    *,
    pretrain_flops: str | int | float | Fraction | None = None,
    base_model: str | None = None,
    systemic_risk: bool | None = None,
    no_gpai: bool = False,
    policy: str | Sequence[str] = (),
) -> Count:
    """Count a block of code: ``with ftprof.count() as run: ...``, or ``@ftprof.count()`` above a function.

    The arguments are the options of ``ftprof wrap``: ``pretrain_flops`` is the base model's training compute in FLOP
    (exact as a string such as ``"8.4e22"``; without it the environment's ``PRETRAIN_FLOPS`` holds), ``policy`` one name
    or several. Raises ``TypeError`` or ``FtprofError`` for wrong ones; nothing else of ftprof raises into the block.
    """
    from ftprof.cli.policy_options import PolicyOptions

    for name, value in (("systemic_risk", systemic_risk), ("no_gpai", no_gpai)):
        if not isinstance(value, bool) and not (value is None and name == "systemic_risk"):
            raise TypeError(f"{name} is True or False, not {type(value).__name__}")
    if base_model is not None and not isinstance(base_model, str):
        raise TypeError(f"base_model is a name, not {type(base_model).__name__}")
    policies = (policy,) if isinstance(policy, str) else tuple(policy)
    if not all(isinstance(name, str) for name in policies):
        raise TypeError("policy is a name or a sequence of names")
    options = PolicyOptions(_quantity(pretrain_flops), base_model, systemic_risk, no_gpai, policies)
    return Count(_read(options))


def _quantity(value: str | int | float | Fraction | None) -> str | None:
    """As it was written, so that it is read exactly."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction | None):
        raise TypeError(f"pretrain_flops is a number or its text, not {type(value).__name__}")
    return repr(value) if isinstance(value, float) else None if value is None else str(value)


def _read(options: Any) -> PolicyChoice:
    """Raises ``FtprofError`` in the words of Python's arguments."""
    from dataclasses import replace

    from ftprof.cli.policy_options import PolicyChoice, read_policy_options

    try:
        choice = read_policy_options(options)
    except UsageProblem as error:
        raise UsageProblem(_as_argument(error.message)) from error
    except FtprofError as error:
        raise FtprofError(_as_argument(error.message), error.exit_code) from error
    source = choice.inputs.pretrain_source
    inputs = replace(choice.inputs, pretrain_source=None if source is None else _as_argument(source))
    return PolicyChoice(inputs, choice.policies, choice.named, choice.notes)


_ARGUMENTS = {
    "--no-systemic-risk": "systemic_risk=False",
    "--systemic-risk": "systemic_risk=True",
    "--no-gpai": "no_gpai=True",
    "--pretrain-flops": "pretrain_flops",
    "--base-model": "base_model",
    "--policy": "policy",
}


def _as_argument(text: str) -> str:
    for option, argument in _ARGUMENTS.items():
        text = text.replace(option, argument)
    return text


def _one_policy(name: str, choice: PolicyChoice) -> PolicyChoice:
    from ftprof.cli.policy_options import PolicyChoice
    from ftprof.policy.policy import load_policy

    return PolicyChoice(choice.inputs, (load_policy(name),), True, choice.notes)


def _say_once(what: str) -> None:
    """Through ``logging`` and ``warnings``; also where these are told to raise, the block goes on."""
    if what in _said:
        return
    _said.add(what)
    try:
        _log.warning(what)
        warnings.warn(what, FtprofWarning, stacklevel=_depth_of_user())
    except Exception:  # warnings as errors: this one is none
        pass


def _depth_of_user() -> int:
    """How many calls ``_say_once`` is away from code that is not ftprof's."""
    here = str(Path(__file__).parent)
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame, depth = frame.f_back, depth + 1
    return depth
