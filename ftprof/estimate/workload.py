"""What a fine-tune runs through: how many steps of which shape, in exact integers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from ftprof.errors import UsageProblem


@dataclass(frozen=True)
class StepShape:
    """``steps`` steps, each on ``batch`` sequences of ``length`` positions."""

    batch: int
    length: int
    steps: int

    @property
    def positions(self) -> int:
        """Positions of all these steps, each of which executes, padding too."""
        return self.batch * self.length * self.steps


@dataclass(frozen=True)
class Workload:
    """All steps, the largest shape first. ``tokens`` are those that are no padding, or None where unknown."""

    shapes: tuple[StepShape, ...]
    tokens: int | None
    packing: bool
    assumptions: tuple[str, ...]

    @property
    def positions(self) -> int:
        """All positions that execute: tokens and padding."""
        return sum(shape.positions for shape in self.shapes)

    @property
    def steps(self) -> int:
        """Forward and backward passes."""
        return sum(shape.steps for shape in self.shapes)

    @property
    def padding(self) -> int | None:
        """Positions that are padding, or None where that is not known."""
        return None if self.tokens is None else self.positions - self.tokens


@dataclass(frozen=True)
class WorkloadOptions:
    """The workload as the user states it: ``tokens`` in all epochs together, or ``samples`` and ``epochs``."""

    sequence_length: int
    batch_size: int
    tokens: int | None = None
    samples: int | None = None
    epochs: int | None = None
    mean_length: Fraction | None = None
    packing: bool = True


def plan_workload(options: WorkloadOptions) -> Workload:
    """The steps that the options make. Raises UsageProblem where they contradict each other or leave it open."""
    _refuse(options)
    return _packed(options) if options.packing else _padded(options)


def _refuse(options: WorkloadOptions) -> None:
    if (options.tokens is None) == (options.samples is None):
        raise UsageProblem("give either --tokens, or --samples with --epochs: one says how long the training is")
    if options.tokens is not None and options.epochs is not None:
        raise UsageProblem("--epochs goes with --samples; --tokens counts the tokens of all epochs together")
    if options.mean_length is not None and not 1 <= options.mean_length <= options.sequence_length:
        raise UsageProblem(
            f"--mean-length must lie between 1 and --sequence-length {options.sequence_length}, to which longer "
            "samples are cut"
        )
    if options.packing and options.tokens is not None and options.mean_length is not None:
        raise UsageProblem("--mean-length has no use with --tokens and --packing: packed sequences are full")
    if not options.packing and options.tokens is not None and options.mean_length is None:
        raise UsageProblem("--no-packing with --tokens needs --mean-length, the mean number of tokens in a sample")


def _packed(options: WorkloadOptions) -> Workload:
    length, epochs = options.sequence_length, options.epochs or 1
    assumptions = ["packing: samples fill sequences of the full length, no padding executes"]
    if options.tokens is not None:
        tokens = options.tokens
    else:
        assert options.samples is not None
        mean = options.mean_length
        if mean is None:
            assumptions.append("every sample has the sequence length (no --mean-length given)")
        tokens = ceil(options.samples * (length if mean is None else mean))
    rows, rest = divmod(tokens, length)
    shapes = _batches(rows, length, options.batch_size, epochs)
    if rest:
        shapes.append(StepShape(1, rest, epochs))
        assumptions.append(f"the last {rest} tokens{' of an epoch' if epochs > 1 else ''} are a step of their own")
    return Workload(tuple(shapes), tokens * epochs, True, tuple(assumptions))


def _padded(options: WorkloadOptions) -> Workload:
    length, epochs, mean = options.sequence_length, options.epochs or 1, options.mean_length
    assumptions = ["no packing: every sample is padded to the sequence length; padding executes and is in the number"]
    if options.samples is not None:
        samples = options.samples
        tokens = None if mean is None else ceil(samples * mean) * epochs
        if mean is None:
            assumptions.append("how much of it is padding is not known (no --mean-length given)")
    else:
        assert options.tokens is not None
        assert mean is not None
        tokens = options.tokens
        samples = ceil(tokens / mean)
    return Workload(tuple(_batches(samples, length, options.batch_size, epochs)), tokens, False, tuple(assumptions))


def _batches(sequences: int, length: int, batch: int, epochs: int) -> list[StepShape]:
    """Full batches, and the partial one at the end of each epoch."""
    full, rest = divmod(sequences, batch)
    shapes = [StepShape(batch, length, full * epochs)] if full else []
    return [*shapes, StepShape(rest, length, epochs)] if rest else shapes
