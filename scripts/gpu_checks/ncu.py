"""Nsight Compute: runs it, and adds up what it counted over all kernels."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.wrapped import Wrapped

_PLACES = ("opt/nvidia/nsight-compute/*/ncu", "usr/local/cuda*/bin/ncu", "usr/local/NVIDIA-Nsight-Compute*/ncu")


def executable() -> str | None:
    """The newest ncu that is installed here."""
    found = shutil.which("ncu")
    if found:
        return found
    for place_of_it in _PLACES:
        for path in sorted(Path("/").glob(place_of_it), reverse=True):
            if path.is_file():
                return str(path)
    return None


def count(ncu: str, command: Sequence[str], metrics: Sequence[str], timeout_s: float) -> tuple[Counter[str], int]:
    """Sums of metrics over all kernels between cudaProfilerStart and Stop, and how many kernels those were.

    The clocks are left alone. Raises ``RuntimeError`` with what ncu said where it counted nothing.
    """
    (sums, kernels), _ = _run(ncu, command, metrics, timeout_s)
    return sums, kernels


def result(ncu: str, command: Sequence[str], metrics: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """What one of ``programs.py`` printed as its result while ncu looked on. Raises as :func:`count` does."""
    _, done = _run(ncu, command, metrics, timeout_s)
    return Wrapped(done.returncode, done.stdout, done.stderr, None, []).result


def _run(
    ncu: str, command: Sequence[str], metrics: Sequence[str], timeout_s: float
) -> tuple[tuple[Counter[str], int], subprocess.CompletedProcess[str]]:
    log = place.work() / "ncu.csv"
    log.unlink(missing_ok=True)
    options = ["--target-processes", "all", "--clock-control", "none", "--profile-from-start", "off"]
    options += ["--print-units", "base", "--csv", "--page", "raw", "--log-file", str(log)]
    done = subprocess.run(
        [ncu, *options, "--metrics", ",".join(metrics), *command],
        capture_output=True, text=True, timeout=timeout_s, cwd=place.work(),
    )  # fmt: skip
    text = log.read_text() if log.exists() else ""
    sums, kernels = parse(text, metrics)
    if not kernels:
        raise RuntimeError(f"ncu ended with {done.returncode}: {(text or done.stderr or done.stdout)[-800:]}")
    return (sums, kernels), done


def parse(text: str, metrics: Sequence[str]) -> tuple[Counter[str], int]:
    """From ncu's CSV, a row a kernel (``--page raw``) or a row a metric. Lines before the header are left out."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith(('"ID"', "ID,"))), None)
    sums: Counter[str] = Counter()
    if first is None:
        return sums, 0
    kernels = set()
    for row in csv.DictReader(lines[first:]):
        if not (row.get("ID") or "").strip().isdigit():
            continue  # the row of units
        kernels.add(row["ID"])
        if "Metric Name" in row:
            if row["Metric Name"] in metrics:
                sums[row["Metric Name"]] += _number(row["Metric Value"])
            continue
        for metric in metrics:
            sums[metric] += _number(row.get(metric))
    return sums, len(kernels)


def _number(text: str | None) -> int:
    """ncu groups digits by thousands; a value that a kernel does not have is empty or n/a."""
    try:
        return round(float((text or "0").replace(",", "").strip()))
    except ValueError:
        return 0
