"""What counting takes of a training's memory, with the real CUPTI: its libraries, a plan, decoding recorded images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY

LIMIT_MIB = 130  # with planning and evaluation in the training process


def test_planning_and_evaluation_take_no_more_than_they_may(tmp_path: Path) -> None:
    output = tmp_path / "memory.json"
    command = [sys.executable, REPOSITORY / "scripts" / "bench_memory.py", "--rounds", "1", "-o", output]
    subprocess.run(command, check=True, timeout=120)
    figures = json.loads(output.read_text())["figures"]
    in_all = figures["in a training process, in all, MiB"]["median"]
    assert 0 < in_all <= LIMIT_MIB
    # The measurement sees the libraries' memory, and that most of it is given back.
    whole = sum(figures[f"{name} as it loads, MiB"]["median"] for name in ("libnvperf_host", "libnvperf_target"))
    assert 0 < figures["the three libraries as ftprof loads them, MiB"]["median"] < whole / 2
