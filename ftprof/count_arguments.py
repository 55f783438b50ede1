"""The arguments of ``ftprof.count()``: checked, and read as the command line's options are."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, TypedDict

from ftprof.errors import FtprofError, UsageProblem

if TYPE_CHECKING:
    import os

    from ftprof.counting import Quantity
    from ftprof.policy.choice import PolicyChoice, PolicyOptions


class CountArguments(TypedDict, total=False):
    """What ``ftprof.count()`` takes, for callables that pass it on; tests/unit/test_count.py compares the two."""

    pretrain_flops: Quantity | None
    base_model: str | None
    systemic_risk: bool | None
    no_gpai: bool
    policy: str | Sequence[str]
    deduct: str | Sequence[str]
    no_deduct: str | Sequence[str]
    generated_flops: Quantity | None
    public_generation: bool | None
    base_models: str | os.PathLike[str] | None
    pretrain_params: Quantity | None
    pretrain_tokens: Quantity | None
    pretrain_gpu_hours: Quantity | None
    pretrain_gpu_peak: str | None
    pretrain_utilization: Quantity | None
    operators: bool
    cuda_core: bool


_ARGUMENTS = {
    "--no-systemic-risk": "systemic_risk=False",
    "--systemic-risk": "systemic_risk=True",
    "--no-gpai": "no_gpai=True",
    "--base-models": "base_models",  # before the shorter name that it begins with
    "--base-model": "base_model",
    "--no-deduct": "no_deduct",
    "--deduct": "deduct",
    "--generated-flops": "generated_flops",
    "--policy": "policy",
    "--pretrain-flops": "pretrain_flops",
    "--pretrain-params": "pretrain_params",
    "--pretrain-tokens": "pretrain_tokens",
    "--pretrain-gpu-hours": "pretrain_gpu_hours",
    "--pretrain-gpu-peak": "pretrain_gpu_peak",
    "--pretrain-utilization": "pretrain_utilization",
}


def check_flag(name: str, value: object, may_be_unknown: bool = False) -> None:
    """Raises ``TypeError`` for anything but ``True``, ``False``, and ``None`` where it may be unknown."""
    if not isinstance(value, bool) and not (value is None and may_be_unknown):
        raise TypeError(f"{name} is True or False, not {type(value).__name__}")


def check_name(name: str, value: object) -> None:
    """Raises ``TypeError`` for anything but a text or ``None``."""
    if not isinstance(value, str | None):
        raise TypeError(f"{name} is a {'name' if name == 'base_model' else 'text'}, not {type(value).__name__}")


def names(argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several. Raises ``TypeError``."""
    several = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else None
    if several is None or not all(isinstance(name, str) for name in several):
        raise TypeError(f"{argument} is a name or a sequence of names")
    return several


def phases(argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """One deductible phase or several. Raises ``TypeError``, and ``UsageProblem`` for any other phase."""
    from ftprof.policy.claims import DEDUCTIBLE
    from ftprof.quantity import shown

    several = names(argument, value)
    for phase in several:
        if phase not in DEDUCTIBLE:
            raise UsageProblem(f"{argument} {shown(phase)} is no phase to deduct; choose from {', '.join(DEDUCTIBLE)}")
    return several


def written(argument: str, value: object) -> str | None:
    """A quantity as it was written, so that it is read exactly. Raises ``TypeError``."""
    if value is None:
        return None
    if isinstance(value, str | Fraction | Decimal):
        return str(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):  # numpy's too
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))  # of a subclass such as numpy's, the number and not the type
    raise TypeError(f"{argument} is a number or its text, not {type(value).__name__}")


def read(options: PolicyOptions) -> PolicyChoice:
    """Raises ``FtprofError`` in the words of Python's arguments."""
    from ftprof.policy.choice import read_policy_options

    try:
        choice = read_policy_options(options)
    except UsageProblem as error:
        raise UsageProblem(_as_argument(error.message)) from error
    except FtprofError as error:
        raise FtprofError(_as_argument(error.message), error.exit_code) from error
    source = choice.inputs.pretrain_source
    inputs = replace(choice.inputs, pretrain_source=None if source is None else _as_argument(source))
    return replace(choice, inputs=inputs, notes=tuple(_as_argument(note) for note in choice.notes))


def _as_argument(text: str) -> str:
    for option, argument in _ARGUMENTS.items():
        text = text.replace(option, argument)
    return text
