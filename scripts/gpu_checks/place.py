"""Where things are for an experiment: told by gpu_check through the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PYTHON = sys.executable
FTPROF = str(Path(sys.executable).with_name("ftprof"))
PROBE = "FTPROF_GPU_CHECK_PROBE"  # the folder of the built probe
WORK = "FTPROF_GPU_CHECK_WORK"
OUTPUT = "FTPROF_GPU_CHECK_OUTPUT"
MARK = "FTPROF_GPU_CHECK_MARK"  # in every process of an experiment, so that none outlives it
STANDINS = "FTPROF_GPU_CHECK_REHEARSAL"  # a folder with the stand-ins of csrc/testing: a rehearsal without a GPU
EVIDENCE = REPOSITORY / "docs" / "evidence"
FIXTURES = REPOSITORY / "tests" / "fixtures" / "counter_data"  # recorded images, which tests without a GPU decode


def fixtures(output: Path) -> Path:
    """Where recorded images go: to the tests, unless the evidence was asked for elsewhere; then beside it."""
    return FIXTURES if output.resolve() == EVIDENCE.resolve() else output


def work() -> Path:
    """A folder for what is thrown away."""
    return Path(os.environ.get(WORK, "."))


def rehearsal() -> bool:
    """Whether this is a rehearsal without a GPU: sizes and times are small, and figures say nothing."""
    return bool(os.environ.get(STANDINS))


def seconds(real: float) -> float:
    """How long to do something."""
    return max(real / 20, 0.3) if rehearsal() else real


def rounds(real: int) -> int:
    """How often to do something."""
    return min(real, 2) if rehearsal() else real
