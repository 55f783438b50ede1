"""What the ranks of one training tell each other about their counts, without a collective of the training's own.

A rank that does not take part (it has no callback, or failed) must never hold up or break the training: so nothing is
sent through its process groups, whose collectives have to match on all ranks. What is told goes through the store by
which the ranks met. Each waits a bounded time; whoever waits in vain, or leaves, counts alone from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ftprof.errors import FtprofError
from ftprof.measure.ranks import initialised

PATIENCE_S = 30.0
_LEFT = b"left"


class Exchange:
    """One training's ranks. Every rank must make it, and call ``combined``, as often as the others do."""

    def __init__(self, number: int, patience_s: float = PATIENCE_S) -> None:
        """``number`` tells one training of these processes from the next. Raises ``FtprofError`` without a store."""
        distributed = initialised()
        try:
            store = distributed.distributed_c10d._get_default_store()
            self._store: Any = distributed.PrefixStore(f"ftprof/{number}", store)
        except (AttributeError, RuntimeError, ValueError) as error:
            raise FtprofError(f"torch {distributed.__name__} gives no store ({error!r:.200})") from error
        self._rank, self._ranks = distributed.get_rank(), distributed.get_world_size()
        self._patience = timedelta(seconds=patience_s)
        self._round = 0

    def combined(self, told: str, combine: Callable[[list[str]], str]) -> str:
        """What the first rank makes of what all tell, in their order; the same text on every rank.

        Raises ``FtprofError`` where a rank has left, or has not told anything in time.
        """
        number, self._round = self._round, self._round + 1
        try:
            if self._rank:
                self._store.set(f"{number}/{self._rank}", told)
                return self._read(f"{number}/all")
            answers = [told, *(self._read(f"{number}/{rank}") for rank in range(1, self._ranks))]
            answer = combine(answers)
            self._store.set(f"{number}/all", answer)
            self._tidy(number)
        except RuntimeError as error:  # of the store: a time that is over, or a first rank that has gone
            raise FtprofError(f"a rank told nothing ({' '.join(str(error).split()):.200})") from error
        return answer

    def leave(self) -> None:
        """Tell the others, so that they do not wait for this rank."""
        name = "all" if self._rank == 0 else str(self._rank)
        try:
            for number in (self._round - 1, self._round):  # the one under way, and the next
                self._store.set(f"{number}/{name}", _LEFT)
        except RuntimeError:
            pass  # the store has gone: they will notice

    def _read(self, key: str) -> str:
        self._store.wait([key], self._patience)
        value = bytes(self._store.get(key))
        if value == _LEFT:
            raise FtprofError(f"rank {key.rpartition('/')[2].replace('all', '0')} counts alone")
        return value.decode()

    def _tidy(self, number: int) -> None:
        """Whoever told something in this round has read the answer of the one before."""
        for rank in range(1, self._ranks):
            self._store.delete_key(f"{number}/{rank}")
        if number:
            self._store.delete_key(f"{number - 1}/all")
