"""How a user's typed code uses ``ftprof.count()``: checked by mypy in ``.ci/run``, never run.

Each ``type: ignore`` stands where mypy must object; one that is not needed is an error too.
"""

from __future__ import annotations

from collections.abc import Callable

import ftprof


class Trainer:
    """Its methods stay typed when each call is counted."""

    @ftprof.count()
    def train(self, steps: int) -> str:
        return "done" * steps


@ftprof.count(pretrain_flops="8.4e22", operators=True)
def loss(step: int, scale: float = 1.0) -> float:
    return step * scale


def use(trainer: Trainer) -> None:
    bound: Callable[[int], str] = trainer.train
    word: str = bound(3)
    number: float = loss(3, scale=2.0)
    run: ftprof.Run | None = Trainer.train.run or loss.run
    flops: int | None = None if run is None else run.flops
    with ftprof.count() as counted:
        low: int = counted.interval.low
    trainer.train("three")  # type: ignore[arg-type]
    loss(3, speed=1.0)  # type: ignore[call-arg]
    ftprof.count(pretrain_flops=[])  # type: ignore[arg-type]
    text: str = counted.flops  # type: ignore[assignment]
    print(word, number, flops, low, text)
