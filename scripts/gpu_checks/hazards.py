"""A training that meets a hazard in its midst. What it prints must be the same under ``ftprof wrap`` as bare."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpu_checks import place
from gpu_checks.model import Training, shape

STEPS = 12  # before the hazard, and after it
_HUGE = 1 << 42  # bytes: more than any GPU has


def main(argv: Sequence[str]) -> int:
    """Train, meet the hazard, train on; the losses' bits are what it prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hazard", choices=HAZARDS, default="none")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--visible", help="set CUDA_VISIBLE_DEVICES to this before CUDA is begun with")
    arguments = parser.parse_args(argv)
    if arguments.visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = arguments.visible
    torch = _deterministic()
    if not place.rehearsal() and not torch.cuda.is_available():
        print("no GPU is visible", flush=True)
        return 0
    training = Training(shape("medium"))
    _train(training, arguments.steps)
    HAZARDS[arguments.hazard](training)
    _train(training, arguments.steps)
    print("done", flush=True)
    return 0


def _deterministic() -> Any:
    """torch, so that two runs give the same bits: some kernels add in any order otherwise."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch


def _train(training: Training, steps: int) -> None:
    bits = hashlib.sha256()
    for _ in range(steps):
        training.run(1)
        bits.update(training.last_loss.double().cpu().numpy().tobytes())
    print(f"{training.steps} steps, losses {bits.hexdigest()[:16]}", flush=True)


def _nothing(_: Training) -> None:
    """Go on."""


def _fork(_: Training) -> None:
    """A child that ends at once by the ordinary way, and one that ends by _exit."""
    for end in (sys.exit, os._exit):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            end(0)
        print(f"child ended with {os.waitpid(child, 0)[1]}", flush=True)


def _raise(_: Training) -> None:
    raise RuntimeError("as asked")


def _out_of_memory(training: Training) -> None:
    training.torch.empty(_HUGE, dtype=training.torch.uint8, device="cuda")


def _out_of_memory_caught(training: Training) -> None:
    try:
        _out_of_memory(training)
    except RuntimeError as error:
        print(f"caught: {type(error).__name__}", flush=True)


def _device_assert(training: Training) -> None:
    """An index that is out of bounds: the kernel stops, and with it every later call on the context."""
    values = training.torch.zeros(4, device="cuda")
    print(values[training.torch.full((1,), 9, device="cuda")].sum().item(), flush=True)
    training.synchronize()


def _kill(_: Training) -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


HAZARDS: dict[str, Callable[[Training], None]] = {
    "none": _nothing,
    "fork": _fork,
    "exception": _raise,
    "out of memory, caught": _out_of_memory_caught,
    "out of memory": _out_of_memory,
    "device-side assert": _device_assert,
    "kill": _kill,
}
