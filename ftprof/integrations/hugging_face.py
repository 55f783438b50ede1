"""A callback for the ``Trainer`` of Hugging Face's transformers and its subclasses, such as TRL's ``SFTTrainer``.

``Trainer(..., callbacks=[FtprofCallback(pretrain_flops="8.4e22")])``
"""

from __future__ import annotations

import functools
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer import Trainer
from transformers.trainer_callback import ExportableState, TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

import ftprof
from ftprof.counting import say_once
from ftprof.errors import UntrustedInput
from ftprof.integrations.earlier_runs import PRIVATE
from ftprof.integrations.training import Training, harmless
from ftprof.record.record import Record, load_record, record_of
from ftprof.result import Result

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ftprof.count_arguments import CountArguments

RECORD_NAME = "ftprof.json"
_OF_TRAINING = {"loss", "train_runtime"}  # in a step's log, and in that of the end
_WITHOUT = (
    "the training goes on from a checkpoint without a record that can be read, what was executed before is not in it"
)
_ONE = "one FtprofCallback counts a training: the first of this Trainer's does, the others do nothing"


class FtprofCallback(TrainerCallback, ExportableState):
    """Counts a training: its figures are in the Trainer's logs, and its record lies in ``output_dir/ftprof.json``.

    Takes the arguments of ``ftprof.count()``, and ``record``, another path for the record; raises as that does. Logs
    get ``ftprof/flops`` (floating-point operations of all ranks and of all runs that led to here),
    ``ftprof/flops_per_second`` (since the log before) and ``ftprof/threshold_share`` (of the deciding policy's
    threshold, 1 being all of it).
    """

    def __init__(self, record: str | os.PathLike[str] | None = None, **arguments: Unpack[CountArguments]) -> None:
        count = ftprof.count(**arguments)
        self.checkpoint: dict[str, Any] | None = None  # what the Trainer itself restored of an earlier callback
        self._record = None if record is None else str(Path(record).absolute())
        self._arguments = {name: _as_json(value) for name, value in arguments.items()}
        self.step: int | None = None  # the training's, as of which the checkpoint's record is
        self._training = Training(count)
        self._saved_step: int | None = None
        self._resumed_from: Path | None = None
        self._idle = False
        _watch_trainer()

    @property
    def result(self) -> Result:
        """What was executed: by all runs that led to here, and of several ranks once the training has ended."""
        return self._training.result()

    def state(self) -> dict[str, Any]:
        """What the Trainer writes into a checkpoint's ``trainer_state.json``: the record as of now."""
        kept = self._checkpoint() if self._training.running else None
        attributes = {"checkpoint": kept, "step": self.step}
        return {"args": {"record": self._record, **self._arguments}, "attributes": attributes}

    @harmless
    def _checkpoint(self) -> dict[str, Any]:
        return self._training.latest().to_json()

    @harmless
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from what the checkpoint holds."""
        folder = _output(args)
        callbacks: Any = state.stateful_callbacks
        source = self._resumed_from or _checkpoint_folder(folder, state)
        checkpoint, problems = self._found(source, state, callbacks) if state.global_step else (None, [])
        self._saved_step, self.step = None, state.global_step
        if not self._idle:
            place = folder / PRIVATE if args.push_to_hub else folder
            record = Path(self._record or place / RECORD_NAME)
            self._training.begin(folder, record, checkpoint, problems, source.parent)
        # The Trainer fails at its next checkpoint without this, where the one before had no such callback.
        callbacks.setdefault(type(self).__name__, self.state())

    @harmless
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Bring the figures up to date where all ranks are sure to come by."""
        self.step = state.global_step
        self._meet(control.should_log, control.should_save)

    @harmless
    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The same: the log at the training's end is none of ranks that all come by."""
        self._meet(True, control.should_save)

    @harmless
    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What was evaluated between a step and its checkpoint is in that."""
        self._meet(False, control.should_save or args.save_strategy == "best")

    def _meet(self, for_log: bool, for_checkpoint: bool) -> None:
        if self._training.spans_ranks and self._training.running:
            if for_log:
                self._training.look()
            if for_checkpoint:
                self._training.total()

    @harmless
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The record beside the checkpoint's other files."""
        if self._training.running:
            self._saved_step = state.global_step
            self._write(args, self._training.total(), state)

    @harmless
    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The final record, also in a checkpoint of this very step."""
        if self._training.running:
            record = self._training.end()
            if self._saved_step == state.global_step:
                self._write(args, record, state)

    def _write(self, args: TrainingArguments, record: Record, state: TrainerState) -> None:
        path = _checkpoint_folder(_output(args), state)
        if state.is_world_process_zero and path.is_dir():
            self._training.save(record, path / RECORD_NAME, over_any=True)

    def _found(self, source: Path, state: TrainerState, callbacks: dict[str, Any]) -> tuple[Record | None, list[str]]:
        """The record in the checkpoint. The file may know more than the Trainer's state: that a run has ended."""
        problems: list[str] = []
        records: list[Record] = []
        path = source / RECORD_NAME
        entry = callbacks.get(type(self).__name__)
        try:
            if path.exists():
                records.append(load_record(path))
        except UntrustedInput as error:
            problems.append(error.message)
        try:
            kept = _kept(entry, "checkpoint")
            if kept is not None:
                records.append(record_of(kept, "the record in trainer_state.json"))
        except UntrustedInput as error:
            problems.append(error.message)
        if not records:
            return None, [_WITHOUT, *problems]
        # The Trainer carries the state of a callback that it was not given along, from one checkpoint to the next.
        step = _kept(entry, "step")
        without = [] if step == state.global_step else [_steps_without(step, state.global_step)]
        if len(records) == 2 and not _same_runs(*records):
            return records[1], without  # the folder's is that of another training
        return records[0], without

    @harmless
    def _figures(self) -> tuple[dict[str, int | float], dict[str, str]]:
        if not self._training.running:
            return {}, {}
        if not self._training.spans_ranks:
            self._training.look()
        figures = self._training.figures
        return ({}, {}) if figures is None else (figures.numbers(), figures.exact())


def _kept(state: Any, name: str) -> Any:
    """What an earlier callback's state holds; several callbacks of a kind have theirs in a list, the first counts."""
    first = state[0] if isinstance(state, list) and state else state
    attributes = first.get("attributes") if isinstance(first, dict) else None
    return attributes.get(name) if isinstance(attributes, dict) else None


def _steps_without(counted: Any, reached: int) -> str:
    steps = f"steps {counted + 1} to {reached}" if isinstance(counted, int) and counted < reached else "some steps"
    return f"the training was without ftprof's callback for a while: what {steps} executed is not in it"


def _same_runs(first: Record, second: Record) -> bool:
    return {run.run for run in first.runs} == {run.run for run in second.runs}


def _output(args: TrainingArguments) -> Path:
    return Path(args.output_dir or ".")


def _checkpoint_folder(folder: Path, state: TrainerState) -> Path:
    name = f"checkpoint-{state.global_step}"
    return folder / state.trial_name / name if state.is_hyper_param_search and state.trial_name else folder / name


def _as_json(value: Any) -> Any:
    if isinstance(value, Fraction | os.PathLike):
        return str(value)
    return list(value) if isinstance(value, list | tuple) else value


def _watch_trainer() -> None:
    """Let the Trainer's ``log`` take the figures along, and hear from which checkpoint its ``train`` goes on.

    A callback's own ``on_log`` comes too late: the Trainer's history has been written, and the loggers that it knows
    by itself have been called. The checkpoint's place is told to no callback.
    """
    log, train = Trainer.log, Trainer.train
    if hasattr(log, "ftprof"):
        return

    @functools.wraps(train)
    def trained(self: Trainer, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        _prepare(_callbacks_of(self), resume_from_checkpoint)
        return train(self, resume_from_checkpoint, *args, **kwargs)

    @functools.wraps(log)
    def logged(self: Trainer, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        callbacks = _callbacks_of(self)
        # Model cards take every other key in a log of an evaluation for one of its metrics.
        wanted = callbacks and not _OF_TRAINING.isdisjoint(logs)
        numbers, exact = (callbacks[0]._figures() if wanted else None) or ({}, {})
        logs.update(numbers)
        log(self, logs, *args, **kwargs)
        if exact and self.state.log_history:
            history: list[Any] = self.state.log_history
            history[-1].update(exact)  # as text, which not every logger takes

    logged.ftprof = True  # type: ignore[attr-defined]
    Trainer.log, Trainer.train = logged, trained  # type: ignore[method-assign]


def _callbacks_of(trainer: Trainer) -> list[FtprofCallback]:
    return [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, FtprofCallback)]


@harmless
def _prepare(callbacks: list[FtprofCallback], resume_from_checkpoint: Any) -> None:
    if len(callbacks) > 1:
        say_once(_ONE)
    for number, callback in enumerate(callbacks):
        callback._idle = number > 0
        given = isinstance(resume_from_checkpoint, str | os.PathLike)
        callback._resumed_from = Path(resume_from_checkpoint).absolute() if given else None
