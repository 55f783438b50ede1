"""Runs one experiment, in the process that gpu_check started for it."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_checks import place
from gpu_checks.findings import Findings, Refused

FAILED = 1
REFUSED = 3


@dataclass(frozen=True)
class Experiment:
    """What to do, how long that should take, and what it answers."""

    name: str
    act: Callable[[Findings], None]
    expected_s: float
    question: str

    @property
    def limit_s(self) -> float:
        """When it counts as hung."""
        return 2 * self.expected_s + 30


@dataclass(frozen=True)
class Stage:
    """Experiments that belong together."""

    name: str
    about: str
    experiments: tuple[Experiment, ...]

    @property
    def expected_s(self) -> float:
        """How long all of it should take."""
        return sum(experiment.expected_s for experiment in self.experiments)


def run(name: str, result: str) -> int:
    """Run ``STAGE/EXPERIMENT``; what it finds goes into a file."""
    from gpu_checks.stages import find

    faulthandler.enable()
    findings = Findings(Path(result), Path(os.environ[place.OUTPUT]))
    code = 0
    try:
        find(name).act(findings)
    except Refused as refused:
        findings.fact("refused", str(refused))
        code = REFUSED
    except BaseException:
        traceback.print_exc()
        code = FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no exit handler may hang what was measured
