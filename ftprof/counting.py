"""``ftprof.count()``: count the floating-point operations of a block of code in this process, and judge them.

It is not called ``ftprof.count``, since a module of that name would take the function's place in the package.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, TypeAlias, TypeVar, cast, overload

from ftprof.errors import FtprofError
from ftprof.result import Result

if TYPE_CHECKING:
    from ftprof.measure.in_process import CountOptions, InProcessRun
    from ftprof.policy.choice import PolicyChoice
    from ftprof.record.record import Record

Quantity: TypeAlias = str | int | float | Fraction | Decimal

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R = TypeVar("R")

_log = logging.getLogger("ftprof")
_log.addHandler(logging.NullHandler())  # a library does not print: without the user's own handler nothing is shown
_said: set[str] = set()


class FtprofWarning(UserWarning):
    """Something about the figures that the user should know, such as a method that is not the best."""


class Run(Result):
    """One block of code that is counted, or was. Everything can also be read while the block goes on.

    Figures are those of the whole process during the block, whichever of its threads worked.
    """

    def __init__(self, choice: PolicyChoice, options: CountOptions) -> None:
        from ftprof.measure.in_process import InProcessRun

        self._counted: InProcessRun = InProcessRun(choice.inputs.to_json(), options)
        super().__init__(self._counted.record, choice)
        self._lapped = 0
        self._lapping = threading.RLock()  # a signal handler may take a lap in the midst of one
        self._running = False
        self._process = os.getpid()

    def _start(self) -> None:
        self._counted.begin()
        self._running = True
        _running_here.set((*_still_running(), self))
        if self._counted.fallback is not None:
            say_once(
                f"ftprof.count() does not use hardware counters: {self._counted.fallback}. Operators' formulas count "
                "instead (method 'analytic'); 'ftprof doctor' says what would help"
            )

    def stop(self, failed: bool = False) -> None:
        """End the count; without effect where it has ended. ``failed``: do not wait long for a GPU that may hang."""
        self._running = False
        _running_here.set(_still_running())
        self._counted.end(failed)

    @property
    def run_id(self) -> str:
        """What tells this run from any other: sixteen hexadecimal digits."""
        return self._counted.run_id

    @property
    def running(self) -> bool:
        """Whether the block goes on, in this process: a forked child does not go on counting."""
        return self._running and self._process == os.getpid()

    def _finished_record(self) -> Record:
        return self._counted.snapshot() if self.running else self._counted.record()

    @property
    def flops(self) -> int | None:
        """The best figure for the total, so far or in all; ``None`` where nothing could be counted."""
        quick = self._counted.quick_flops()
        return self.interval.value if quick is None else quick or None

    def lap(self) -> int | None:
        """The operations since the last lap, or since the block began: an exact integer, ``None`` as ``flops`` is.

        All laps together are ``flops``, or more where an extrapolation was revised downwards. It waits for no GPU: with
        hardware counters a lap ends with the last window that was read (every ten seconds or so) and holds what is
        extrapolated so far, so take it over many steps.
        """
        with self._lapping:
            total = self.flops
            if total is None:
                return None
            lap = max(total - self._lapped, 0)  # an extrapolation may be revised downwards
            self._lapped += lap
            return lap

    def snapshot(self) -> Result:
        """What was counted until now, as of a block that ends here; this one goes on. For a checkpoint.

        As at a block's end, it waits for the GPU to do what was launched (at most a minute).
        """
        until_now = self._finished_record()
        return Result(lambda: until_now, self._choice)


_running_here: ContextVar[tuple[Run, ...]] = ContextVar("ftprof_running_here", default=())


def _still_running() -> tuple[Run, ...]:
    return tuple(run for run in _running_here.get() if run.running)


def current() -> Run | None:
    """The innermost run that this thread or coroutine is in, or ``None``.

    It follows ``contextvars``: a task or ``asyncio.to_thread`` has that of the code that made it, a new
    ``threading.Thread`` none. A run counts the whole process all the same.
    """
    running = _still_running()
    return running[-1] if running else None


class CountedFunction(Generic[P, R]):
    """A function each call of which is counted. ``run`` is its latest call's, outermost where it calls itself."""

    run: Run | None = None

    def __init__(self, function: Callable[P, R], choice: PolicyChoice, options: CountOptions) -> None:
        functools.update_wrapper(self, function)
        if _gives_coroutine(function):
            _mark_as_coroutine_function(self)
        self._function = function
        self._choice = choice
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function gives; of a coroutine function, a coroutine that is counted while it is awaited."""
        if _gives_coroutine(self._function):
            return cast(R, self._awaited(*args, **kwargs))
        with _Running(self._choice, self._options) as run:
            self.run = run
            try:
                given = self._function(*args, **kwargs)
            finally:
                self.run = run
        if inspect.isgenerator(given) or inspect.isawaitable(given):
            say_once(
                f"ftprof.count() counted {getattr(self, '__qualname__', 'a function')} until it gave a "
                f"{type(given).__name__}, whose own work is not in it: use 'with ftprof.count()' around that"
            )
        return given

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By its name, as any function, where that leads here: so ``multiprocessing`` finds it."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        name: str = getattr(self, "__qualname__", "")
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else super().__reduce_ex__(protocol)

    async def _awaited(self, *args: Any, **kwargs: Any) -> Any:
        with _Running(self._choice, self._options) as run:
            self.run = run
            try:
                return await cast(Any, self._function(*args, **kwargs))
            finally:
                self.run = run

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> CountedFunction[P, R]: ...

    @overload
    def __get__(
        self: CountedFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> CountedMethod[Q, R]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method."""
        return self if instance is None else CountedMethod(self, instance)


class CountedMethod(Generic[P, R]):
    """A counted function bound to an object."""

    def __init__(self, function: CountedFunction[..., R], instance: object) -> None:
        self.__func__ = function
        self.__self__ = instance
        functools.update_wrapper(self, function)
        if _gives_coroutine(function._function):
            _mark_as_coroutine_function(self)

    @property
    def run(self) -> Run | None:
        """The run of the function's latest call, whichever object it was called on."""
        return self.__func__.run

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As the function, with the object before the arguments."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __reduce__(self) -> Any:
        """As methods are pickled: by the object and the name."""
        return getattr, (self.__self__, self.__func__.__name__)  # type: ignore[attr-defined]


def _gives_coroutine(function: Any) -> bool:
    """A coroutine function, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _mark_as_coroutine_function(counted: Any) -> None:
    """Frameworks ask what to await before they call it."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(counted)
    else:
        from asyncio import coroutines

        counted._is_coroutine = getattr(coroutines, "_is_coroutine", None)  # what asyncio.iscoroutinefunction asks for


class Count:
    """What ``count()`` gives: a context manager, and a decorator."""

    def __init__(self, choice: PolicyChoice, options: CountOptions) -> None:
        self.choice = choice
        self._options = options
        self._running: _Running | None = None

    def start(self) -> Run:
        """Begin a count that ends with its ``stop()``."""
        run = Run(self.choice, self._options)
        run._start()
        return run

    def __enter__(self) -> Run:
        if self._running is not None:
            raise FtprofError("this count is running already; make another one with ftprof.count()")
        self._running = _Running(self.choice, self._options)
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
        if isinstance(function, staticmethod | classmethod):
            raise TypeError(f"put @{type(function).__name__} above @ftprof.count(): it is no function yet")
        if isinstance(function, type):
            raise TypeError(
                f"ftprof.count() decorates a function; {function.__name__} is a class: decorate its methods"
            )
        if not callable(function):
            raise TypeError(f"ftprof.count() decorates a function, not {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator's code runs when it is iterated: use 'with ftprof.count()' around that")
        return CountedFunction(function, self.choice, self._options)


class _Running:
    """One run as a context manager that lets every exception through."""

    def __init__(self, choice: PolicyChoice, options: CountOptions) -> None:
        self._run = Run(choice, options)

    def __enter__(self) -> Run:
        self._run._start()
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.stop(failed=kind is not None)


def count(
    *misplaced: NoReturn,
    pretrain_flops: Quantity | None = None,
    base_model: str | None = None,
    systemic_risk: bool | None = None,
    no_gpai: bool = False,
    policy: str | Sequence[str] = (),
    deduct: str | Sequence[str] = (),
    no_deduct: str | Sequence[str] = (),
    generated_flops: Quantity | None = None,
    public_generation: bool | None = None,
    base_models: str | os.PathLike[str] | None = None,
    pretrain_params: Quantity | None = None,
    pretrain_tokens: Quantity | None = None,
    pretrain_gpu_hours: Quantity | None = None,
    pretrain_gpu_peak: str | None = None,
    pretrain_utilization: Quantity | None = None,
    operators: bool = False,
    cuda_core: bool = False,
) -> Count:
    """Count a block of code: ``with ftprof.count() as run: ...``, or ``@ftprof.count()`` above a function.

    The arguments are the options of ``ftprof wrap``, by the same names. ``pretrain_flops`` is the base model's training
    compute in FLOP (exact as a string such as ``"8.4e22"``; without it the environment's ``PRETRAIN_FLOPS`` holds), or
    it is estimated: 6 x ``pretrain_params`` x ``pretrain_tokens``, or ``pretrain_gpu_hours`` (hours) x 3600 x
    ``pretrain_gpu_peak`` (``"989e12 dense BF16, H100 SXM"``, FLOP a second and which peak that is) x
    ``pretrain_utilization`` (a part of 1). ``generated_flops`` is in FLOP. ``policy``, ``deduct`` and ``no_deduct`` are
    one name or several. ``operators`` counts operators by their formulas beside hardware counters too, for a second
    figure and for phases. ``cuda_core`` counts on CUDA cores too, in rare windows that slow the training down; inside
    ``ftprof wrap`` or another count, theirs holds. Raises ``TypeError`` or ``FtprofError`` for wrong ones; nothing else
    of ftprof raises into the block.
    """
    from ftprof.count_arguments import check_flag, check_name, names, phases, read, written
    from ftprof.measure.in_process import CountOptions
    from ftprof.policy.choice import PolicyOptions

    if misplaced:
        raise TypeError(
            "ftprof.count() takes named arguments only; as a decorator it is @ftprof.count(), with brackets"
        )
    check_name("base_model", base_model)
    check_name("pretrain_gpu_peak", pretrain_gpu_peak)
    for name, asked in (("no_gpai", no_gpai), ("operators", operators), ("cuda_core", cuda_core)):
        check_flag(name, asked)
    for name, flag in (("systemic_risk", systemic_risk), ("public_generation", public_generation)):
        check_flag(name, flag, may_be_unknown=True)
    options = PolicyOptions(
        pretrain_flops=written("pretrain_flops", pretrain_flops),
        base_model=base_model,
        systemic_risk=systemic_risk,
        no_gpai=no_gpai,
        policies=names("policy", policy),
        deduct=phases("deduct", deduct),
        no_deduct=phases("no_deduct", no_deduct),
        generated_flops=written("generated_flops", generated_flops),
        public_generation=public_generation,
        base_models=None if base_models is None else os.fspath(base_models),
        pretrain_params=written("pretrain_params", pretrain_params),
        pretrain_tokens=written("pretrain_tokens", pretrain_tokens),
        pretrain_gpu_hours=written("pretrain_gpu_hours", pretrain_gpu_hours),
        pretrain_gpu_peak=pretrain_gpu_peak,
        pretrain_utilization=written("pretrain_utilization", pretrain_utilization),
    )
    return Count(read(options), CountOptions(operators, cuda_core))


def say_once(what: str) -> None:
    """Tell the user through ``logging`` and ``warnings``; also where these are told to raise, the block goes on."""
    if what in _said:
        return
    _said.add(what)
    try:
        _log.warning(what)
        warnings.warn(what, FtprofWarning, stacklevel=_depth_of_user())
    except Exception:  # warnings as errors: this one is none
        pass


def _depth_of_user() -> int:
    """How many calls ``say_once`` is away from code that is not ftprof's."""
    here = str(Path(__file__).parent)
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame, depth = frame.f_back, depth + 1
    return depth
