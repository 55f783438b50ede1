"""A callback for the Trainer of Lightning, by either of its names: ``lightning`` and ``pytorch_lightning``.

``Trainer(..., callbacks=[FtprofCallback(pretrain_flops="8.4e22")])``
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ftprof
from ftprof.errors import UntrustedInput
from ftprof.integrations.training import Training, harmless
from ftprof.record.record import Record, record_of
from ftprof.result import Result

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ftprof.count_arguments import CountArguments

RECORD_NAME = "ftprof.json"
_NAMES = ("lightning.pytorch.callbacks", "pytorch_lightning.callbacks")
_WITHOUT = "the training goes on from a checkpoint without a record, what was executed before is not in it"


def _callback_classes() -> tuple[type[Any], ...]:
    """Of the packages that are in use, else of the one that is installed."""
    used = [name for name in _NAMES if name.rpartition(".")[0] in sys.modules]
    if used:
        return tuple(importlib.import_module(name).Callback for name in used)
    try:
        return (importlib.import_module(_NAMES[0]).Callback,)
    except ModuleNotFoundError:
        return (importlib.import_module(_NAMES[1]).Callback,)


class FtprofCallback(*_callback_classes()):  # type: ignore[misc]
    """Counts ``trainer.fit()``: figures go to the Trainer's loggers, the record to ``default_root_dir/ftprof.json``.

    Takes the arguments of ``ftprof.count()``, and ``record``, another path for the record; raises as that does. Loggers
    get ``ftprof/flops`` (floating-point operations of all ranks and of all runs that led to here),
    ``ftprof/flops_per_second`` (since the log before) and ``ftprof/threshold_share`` (of the deciding policy's
    threshold, 1 being all of it) every ``log_every_n_steps``. Validation is the phase ``evaluate``.
    """

    def __init__(self, record: str | os.PathLike[str] | None = None, **arguments: Unpack[CountArguments]) -> None:
        super().__init__()
        count = ftprof.count(**arguments)
        self._record = None if record is None else Path(record).absolute()
        self._training = Training(count)
        self._loaded: dict[str, Any] | None = None
        self._goes_on = False
        self._logged_step = 0
        self._evaluating = ftprof.phase("evaluate")
        self._evaluates = False

    @property
    def state_key(self) -> str:
        """The same for every set of arguments: another threshold does not change what was executed."""
        return "FtprofCallback"

    @property
    def result(self) -> Result:
        """What was executed: by all runs that led to here, and of several ranks once the training has ended."""
        return self._training.result()

    def state_dict(self) -> dict[str, Any]:
        """The record as of now, for a checkpoint."""
        return self._checkpoint() or {}

    @harmless
    def _checkpoint(self) -> dict[str, Any]:
        # Every rank comes by here: Lightning makes a checkpoint on all of them and lets the first one write it.
        record = self._training.total() if self._training.running else self._training.known
        return {} if record is None else {"record": record.to_json()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there when the training begins."""
        self._loaded = state_dict.get("record")

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint without this callback's state is still one that the training goes on from."""
        self._goes_on = trainer.state.fn == "fit"

    @harmless
    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Count from here: the model is on its device, and nothing has been executed."""
        self._begin(trainer)

    @harmless
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The same where no sanity check comes first."""
        if not self._training.running:
            self._begin(trainer)

    def _begin(self, trainer: Any) -> None:
        folder = Path(trainer.default_root_dir)
        checkpoint: Record | None = None
        problems: list[str] = []
        if not self._goes_on and trainer.global_step:
            checkpoint = self._training.known  # the same Trainer's fit() once more
        elif self._goes_on and self._loaded is not None:
            try:
                checkpoint = record_of(self._loaded, "the record in the checkpoint")
            except UntrustedInput as error:
                problems.append(error.message)
        if self._goes_on and checkpoint is None:
            problems.insert(0, _WITHOUT)
        self._loaded, self._goes_on, self._logged_step = None, False, 0
        self._training.begin(folder, self._record or folder / RECORD_NAME, checkpoint, problems)

    @harmless
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log as often as the Trainer does."""
        step = trainer.global_step
        if step != self._logged_step and step % max(trainer.log_every_n_steps, 1) == 0:
            self._logged_step = step
            self._training.look()
            figures = self._training.figures
            if figures is not None and trainer.is_global_zero:
                for logger in trainer.loggers:
                    logger.log_metrics(figures.numbers(), step=step)

    @harmless
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """What follows is evaluation."""
        if self._training.running and not self._evaluates:
            self._evaluating.__enter__()
            self._evaluates = True

    @harmless
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Training goes on."""
        if self._evaluates:
            self._evaluates = False
            self._evaluating.__exit__(None, None, None)

    @harmless
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The final record: after the checkpoints that the training's end makes."""
        if self._training.running:
            self._training.end()

    @harmless
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """What was executed until then, also after the last checkpoint; other ranks may be elsewhere."""
        self.on_validation_end(trainer, pl_module)
        self._training.end_alone()
