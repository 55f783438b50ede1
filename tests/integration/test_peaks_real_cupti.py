"""The sourced peaks, held against those that the real CUPTI 13.0 has for each metric of each chip's plan.

A metric's ``.avg.peak_sustained`` is the most that one of its units counts in a clock. CUPTI knows it by the chip
alone: an image in which nothing was counted tells it, without a GPU.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from recorded_images import FIXTURES, decoded, read, real_cupti
from unmeasured_image import unmeasured_image

from ftprof.record.peaks import peak_counts_per_second

CAPABILITIES = {
    "7.5": ("TU102", "TU104", "TU106", "TU116", "TU117"),
    "8.0": ("GA100",),
    "8.6": ("GA102", "GA103", "GA104", "GA106", "GA107"),
    "8.7": ("GA10B",),
    "8.9": ("AD102", "AD103", "AD104", "AD106", "AD107"),
    "9.0": ("GH100",),
    "10.0": ("GB100", "GB102"),
    "10.3": ("GB110",),
    "11.0": ("GB10B",),
    "12.0": ("GB202", "GB203", "GB205", "GB206", "GB207"),
    "12.1": ("GB20B",),
}
CHIPS = [(capability, chip) for capability, chips in CAPABILITIES.items() for chip in chips]
# A process has one CUPTI. Its refusal of what is no whole number names the number.
_PEAKS = """
import json, sys
from ftprof import _native
roots, chip, sha256 = json.loads(sys.argv[1])
image = sys.stdin.buffer.read()
_native.load_cupti(roots)
peaks = {}
for metric in {metric for group in _native.plan(chip).groups for metric in group.metrics}:
    try:
        (peaks[metric],) = _native.evaluate(chip, [metric.replace(".sum", ".avg.peak_sustained")], image, sha256)
    except _native.CuptiError as error:
        peaks[metric] = float(str(error).rpartition(" is no exact count: ")[2])
print(json.dumps(peaks))
"""
# Where ours is above CUPTI's, and so bounds the more: what is published is of more than the metric.
LARGER = {
    "an instruction of earlier chips, slower than the chip's own": ("9.0 10.0 10.3 11.0", r".*_op_hmma_.*"),
    "of several precisions the fastest": ("10.0 10.3 11.0 12.0 12.1", r".*_src_fp4_fp6_.*"),
    "no figure is published for FP64 on these tensor cores": ("8.6 8.7 8.9 10.3 11.0 12.0 12.1", r".*_src_fp64"),
    "an add is taken to be issued as often as a multiply-add": ("8.0 8.7 9.0", r".*_op_h(add|mul)_.*"),
    "no FP16 figure but the limit of what is issued": ("8.6 10.0 10.3 11.0 12.0 12.1", r".*_op_h(add|mul|fma)_.*"),
    "no FP64 figure is published": ("8.7 11.0", r".*_op_d(add|mul|fma)_.*"),
}
# One pair of FP64 lanes an SM, which its four schedulers share: CUPTI gives all of it to each of them.
SHARED = ("7.5 8.6 8.9 10.3 12.0 12.1", r".*_op_d(add|mul|fma)_.*", 4)


@cache
def cupti_peaks(chip: str) -> dict[str, float]:
    """What an SM counts at most in a clock, by metric."""
    (root, _), *_ = real_cupti()
    image = unmeasured_image(Path(root, "nvidia/cu13/lib/libnvperf_host.so"), chip, [])
    argument = json.dumps([real_cupti(), chip, hashlib.sha256(image).hexdigest()])
    done = subprocess.run([sys.executable, "-c", _PEAKS, argument], input=image, capture_output=True, check=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    # Of an SM's four sub-partitions, where the metric is of one.
    return {metric: peak * (4 if metric.startswith("smsp__") else 1) for metric, peak in peaks.items()}


def ours(capability: str, metric: str) -> int | None:
    """The same by the sourced figures: one SM, at one thousand clocks a second."""
    most = peak_counts_per_second(metric, capability, 1, 1)
    return None if most is None else most // 1000


def named(capability: str, metric: str, cases: Iterable[tuple[str, str]]) -> bool:
    name = metric.partition(".")[0]
    return any(capability in capabilities.split() and re.fullmatch(text, name) for capabilities, text in cases)


@pytest.mark.parametrize(("capability", "chip"), CHIPS, ids=[chip for _, chip in CHIPS])
def test_the_peaks_are_cuptis_or_larger_for_a_reason_that_is_named(capability: str, chip: str) -> None:
    compared = 0
    for metric, cupti in cupti_peaks(chip).items():
        figure = ours(capability, metric)
        if figure is None:
            assert re.search(r"_src_int\d", metric), f"{metric} counts floating-point work and has no bound"
        elif named(capability, metric, [SHARED[:2]]):
            assert cupti == figure * SHARED[2], metric
        elif named(capability, metric, LARGER.values()):
            assert cupti < figure, f"{metric}: CUPTI says {cupti}"
        else:
            assert cupti == figure, f"{metric}: CUPTI says {cupti}"
            compared += 1
    assert compared >= 6


def test_each_reason_for_a_larger_peak_is_needed() -> None:
    for why, (capabilities, text) in LARGER.items():
        for capability in capabilities.split():
            metrics = cupti_peaks(CAPABILITIES[capability][0])
            assert any(re.fullmatch(text, metric.partition(".")[0]) for metric in metrics), f"{why}: {capability}"


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*gh100*.json")), ids=lambda file: file.stem)
def test_the_peaks_of_an_h200s_own_image(file: Path) -> None:
    """As its CUPTI had them there: of the whole GPU, by the number of SMs that the image holds."""
    recorded = read(file)
    for metric in recorded.metrics:
        peak = metric.replace(".sum", ".sum.peak_sustained")
        answer = decoded(real_cupti(), recorded.chip, [peak], recorded.image, recorded.sha256, recorded.availability)
        assert answer == {"counts": [132 * cupti_peaks(recorded.chip)[metric]]}, metric
