"""A counted result as Python code reads it: figures, verdicts, and the record as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftprof.errors import FtprofError

if TYPE_CHECKING:
    import os

    from ftprof.policy.choice import PolicyChoice
    from ftprof.policy.verdict import Verdict
    from ftprof.record.interval import Interval
    from ftprof.record.record import Record


class Result:
    """What was counted, and what the policies say of it. Figures are in floating-point operations, exact integers.

    A multiply-add is two of them. ``Run`` is the result of one block; ``reduce()`` gives one of all ranks, and a
    training library's callback one of all that a training did since it first began.
    """

    def __init__(self, counted: Callable[[], Record], choice: PolicyChoice) -> None:
        """``counted`` gives the record as of now, without verdicts."""
        self._counted_record = counted
        self._choice = choice

    def _finished_record(self) -> Record:
        """The same, as of a count that has ended."""
        return self._counted_record()

    @property
    def record(self) -> Record:
        """All that is known, with the verdicts: what ``save`` writes."""
        from ftprof.policy.choice import judge_record

        return judge_record(self._counted_record(), self._choice)[0]

    @property
    def interval(self) -> Interval:
        """[low, high] around the total; ``high`` is ``None`` where nothing bounds what was not counted."""
        return self._counted_record().interval

    @property
    def flops(self) -> int | None:
        """The best figure for the total; ``None`` where nothing could be counted."""
        return self.interval.value

    @property
    def by_precision(self) -> dict[str, int]:
        """Operations by precision, the largest first."""
        return self._counted_record().by_precision

    @property
    def by_phase(self) -> dict[str, int]:
        """Operations by phase of the training, the largest first; hardware counters cannot tell phases apart."""
        return self._counted_record().by_phase

    @property
    def method(self) -> str:
        """How they were counted: ``counters``, ``sampled``, ``analytic``, or where nothing else held ``peak-bound``."""
        return self._counted_record().method

    @property
    def complete(self) -> bool:
        """Whether all of it was counted."""
        return self._counted_record().complete

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was not, and what else a reader of the figures should know."""
        return self._counted_record().reasons

    def verdict(self, policy: str | None = None) -> Verdict:
        """One policy's verdict, or the one that decides: the first policy named to ``count()``, else the worst.

        Raises ``FtprofError`` for a policy that does not ship.
        """
        from ftprof.policy.choice import judge_record
        from ftprof.policy.verdict import deciding_verdict

        if policy is None:
            return deciding_verdict(judge_record(self._counted_record(), self._choice)[1], self._choice.named)
        if not isinstance(policy, str):
            raise TypeError(f"policy is a name, not {type(policy).__name__}")
        return judge_record(self._counted_record(), _one_policy(policy, self._choice))[1][0]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the record, as ``ftprof wrap`` does. Raises ``FtprofError`` where that is not possible."""
        from ftprof.record.record import save_record

        if Path(path).is_dir():
            raise FtprofError(f"the record {path} cannot be written: it is a folder")
        try:
            save_record(self.record, Path(path), overwrite)
        except FileExistsError as error:
            raise FtprofError(f"the record {path} exists; give overwrite=True to overwrite it") from error
        except (OSError, ValueError) as error:  # the latter for a path that no file can have
            why = error.strerror if isinstance(error, OSError) else error
            raise FtprofError(f"the record {path} cannot be written: {why}") from error

    def reduce(self, group: Any = None) -> Result:
        """One result of all ranks of ``torch.distributed``, on each of them: every count is added as an exact integer.

        All ranks of ``group`` (a process group; by default all) must call it. It works on any backend (with NCCL,
        after ``torch.cuda.set_device``). Without an initialised process group it is this process's own result. Raises
        ``FtprofError`` where the ranks' figures cannot be added: a rank did not take part within the group's timeout,
        they counted by different methods, or were given different base models.
        """
        from ftprof.measure.ranks import gather_records
        from ftprof.record.merge import merge_records

        records = gather_records(self._finished_record(), group)
        of_all = records[0][1] if len(records) == 1 else merge_records(records)
        return Result(lambda: of_all, self._choice)

    def __repr__(self) -> str:
        return f"<ftprof run: {self.flops} FLOP by {self.method}, {'' if self.complete else 'in'}complete>"

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        from ftprof.policy.choice import judge_record
        from ftprof.report.notebook import html_table

        return html_table(*judge_record(self._counted_record(), self._choice))


def _one_policy(name: str, choice: PolicyChoice) -> PolicyChoice:
    from ftprof.policy.choice import PolicyChoice
    from ftprof.policy.policy import load_policy

    return PolicyChoice(choice.inputs, (load_policy(name),), True, choice.notes)
