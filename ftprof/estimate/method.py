"""How a model is fine-tuned: which weights are trained, and what is added to it."""

from __future__ import annotations

from dataclasses import dataclass

from ftprof.errors import UsageProblem

METHODS = ("full", "lora", "qlora", "spectrum")
ALL_LINEAR = "all-linear"
DEFAULT_RANK = 16
EVERY = 4  # of the layers, where Spectrum's are not given


@dataclass(frozen=True)
class TuningMethod:
    """``full``; ``lora`` and ``qlora`` with rank and targets; ``spectrum`` with what is trained.

    ``spectrum`` holds layer numbers and patterns (regular expressions that match from the beginning of a parameter's
    name, as in Spectrum's own files). Empty means every fourth layer, which the answer states.
    """

    name: str
    lora_rank: int = DEFAULT_RANK
    lora_targets: tuple[str, ...] = (ALL_LINEAR,)
    spectrum: tuple[str, ...] = ()

    def describe(self) -> str:
        """The method in a few words."""
        if self.name in ("lora", "qlora"):
            return f"{self.name}, rank {self.lora_rank} on {', '.join(self.lora_targets)}"
        if self.name == "spectrum":
            return f"spectrum, {', '.join(self.spectrum) if self.spectrum else f'every {EVERY}th layer (assumed)'}"
        return self.name


def split_list(values: tuple[str, ...]) -> tuple[str, ...]:
    """The items of an option that may be repeated and may hold several, divided by commas."""
    return tuple(item.strip() for value in values for item in value.split(",") if item.strip())


def read_method(name: str, rank: int | None, targets: tuple[str, ...], spectrum: tuple[str, ...]) -> TuningMethod:
    """The method of the options; the rank and targets given are also those of the table's LoRA.

    Raises UsageProblem for an unknown method, and for Spectrum without its layers.
    """
    if name not in METHODS:
        raise UsageProblem(f"--method {name!r} is not one of {', '.join(METHODS)}")
    if name == "spectrum" and not spectrum:
        raise UsageProblem("--method spectrum needs --spectrum-layers: layer numbers or patterns of parameter names")
    return TuningMethod(name, rank or DEFAULT_RANK, targets or (ALL_LINEAR,), spectrum)


def compared_methods(chosen: TuningMethod) -> tuple[TuningMethod, ...]:
    """The chosen method first, then full, LoRA and Spectrum, where they are not that one."""

    def like(name: str) -> TuningMethod:
        return TuningMethod(name, chosen.lora_rank, chosen.lora_targets, chosen.spectrum)

    return (chosen, *(like(name) for name in ("full", "lora", "spectrum") if name != chosen.name))
