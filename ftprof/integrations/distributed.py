"""What the ranks of ``torch.distributed`` counted, added up as exact integers: no figure ever becomes a float."""

from __future__ import annotations

import json
import sys
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.record.canonical import canonical
from ftprof.record.record import Record

_LIMB_BITS = 31  # so that the sum over 2^32 ranks still fits an int64
_LIMBS = 8  # up to 2^248, beyond the 10^60 of a record's counts


def gather_records(record: Record, group: Any = None) -> list[tuple[str, Record]]:
    """Every rank's record, named by its rank and in their order; this one's alone without a process group.

    A collective: all ranks of the group must call it. Records travel as text with their integers as decimal strings.
    Raises ``UntrustedInput`` where a rank runs another version of ftprof, whose records have another form.
    """
    distributed = initialised()
    if distributed is None:
        return [("this process", record)]
    texts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(texts, canonical(record.to_json()), group=group)
    try:
        return [(f"rank {rank}", Record.from_json(json.loads(text))) for rank, text in enumerate(texts)]
    except (KeyError, TypeError, ValueError) as error:
        raise UntrustedInput(f"a rank's record cannot be read: {error!r:.100}; is its ftprof another one?") from error


def sum_over_ranks(number: int, group: Any = None) -> int:
    """The sum of every rank's number (from 0 to below 2^248), exactly. A collective; cheap enough for every log.

    Numbers travel as limbs of 31 bits in an int64 tensor, which no sum over ranks can overflow.
    """
    distributed = initialised()
    if distributed is None:
        return number
    if not 0 <= number < 1 << (_LIMBS * _LIMB_BITS):
        raise ValueError(f"not a count below 2^{_LIMBS * _LIMB_BITS}: {number}")
    import torch

    mask = (1 << _LIMB_BITS) - 1
    limbs = torch.tensor([number >> (_LIMB_BITS * position) & mask for position in range(_LIMBS)], dtype=torch.int64)
    if distributed.get_backend(group) == "nccl":
        limbs = limbs.cuda()
    distributed.all_reduce(limbs, group=group)
    return sum(limb << (_LIMB_BITS * position) for position, limb in enumerate(limbs.tolist()))


def initialised() -> Any:
    """``torch.distributed`` where this process is in a group of ranks, else ``None``. It imports nothing."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
