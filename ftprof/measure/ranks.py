"""What the ranks of ``torch.distributed`` counted, added up as exact integers: no figure ever becomes a float."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ftprof.errors import FtprofError, UntrustedInput
from ftprof.record.canonical import canonical
from ftprof.record.record import Record

_LIMB_BITS = 31  # so that the sum over 2^32 ranks still fits an int64
_LIMBS = 8  # up to 2^248, beyond the 10^60 of a record's counts


def gather_records(record: Record, group: Any = None) -> list[tuple[str, Record]]:
    """Every rank's record, named by its rank and in their order; this one's alone without a process group.

    A collective: all ranks of the group must call it. Records travel as text with their integers as decimal strings.
    Raises ``UntrustedInput`` where a rank runs another version of ftprof, whose records have another form, and
    ``FtprofError`` where a rank did not take part within the group's timeout.
    """
    if initialised() is None:
        return [("this process", record)]
    texts = gather(canonical(record.to_json()), group)
    try:
        return [(f"rank {rank}", Record.from_json(json.loads(text))) for rank, text in enumerate(texts)]
    except (KeyError, TypeError, ValueError) as error:
        raise UntrustedInput(f"a rank's record cannot be read: {error!r:.100}; is its ftprof another one?") from error


def gather(value: Any, group: Any = None) -> list[Any]:
    """Every rank's value, in their order. A collective. Raises ``FtprofError`` where a rank did not take part."""
    distributed = initialised()
    if distributed is None:
        return [value]
    values: list[Any] = [None] * distributed.get_world_size(group)
    with _all_take_part():
        distributed.all_gather_object(values, value, group=group)
    return values


def sum_over_ranks(number: int, group: Any = None) -> int:
    """The sum of every rank's number (from 0 to below 2^248), exactly. A collective; cheap enough for every log.

    Raises ``FtprofError`` where a rank did not take part within the group's timeout.
    """
    return sums_over_ranks((number,), group)[0]


def sums_over_ranks(numbers: Sequence[int], group: Any = None) -> list[int]:
    """The same of several numbers at once, as many of them on every rank.

    Numbers travel as limbs of 31 bits in an int64 tensor, which no sum over ranks can overflow.
    """
    for number in numbers:
        if not 0 <= number < 1 << (_LIMBS * _LIMB_BITS):
            raise ValueError(f"not a count below 2^{_LIMBS * _LIMB_BITS}: {number}")
    distributed = initialised()
    if distributed is None:
        return list(numbers)
    import torch

    mask = (1 << _LIMB_BITS) - 1
    limbs = torch.tensor(
        [[number >> (_LIMB_BITS * position) & mask for position in range(_LIMBS)] for number in numbers],
        dtype=torch.int64,
    )
    if distributed.get_backend(group) == "nccl":
        limbs = limbs.cuda()
    with _all_take_part():
        distributed.all_reduce(limbs, group=group)
    return [sum(limb << (_LIMB_BITS * position) for position, limb in enumerate(row)) for row in limbs.tolist()]


@contextmanager
def _all_take_part() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own errors of processes that are gone or late derive from it
        why = " ".join(str(error).split())
        raise FtprofError(f"the ranks' figures cannot be gathered; did every rank take part? ({why:.200})") from error


def initialised() -> Any:
    """``torch.distributed`` where this process is in a group of ranks, else ``None``. It imports nothing."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
