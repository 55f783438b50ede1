"""What the AWS Fine-Tuning FLOPs Meter would say of a run, by the rules of its source (flops_meter.py, commit 6c37b2a).

Facts of that file, not its code: a formula over tokens, and a "hardware" figure from NVML's utilisation and a table of
peaks that takes the first entry which is part of the GPU's name.
"""

from __future__ import annotations

from fractions import Fraction

PEAK_TFLOPS = (
    ("h100", "989"), ("h800", "989"), ("a100", "312"), ("a800", "312"), ("l40", "181.05"), ("l20", "119.5"),
    ("h20", "148"), ("910b", "354"), ("a10", "125"),
)  # fmt: skip
OTHERWISE = "150"


def formula(parameters: int, trained: int, tokens: int) -> int:
    """Operations: four for each weight and token, and two more for each weight that is trained."""
    return (4 * parameters + 2 * trained) * tokens


def peak(name: str) -> Fraction:
    """FLOP a second that it takes a GPU of this name for."""
    found = next((tflops for part, tflops in PEAK_TFLOPS if part in name.lower()), OTHERWISE)
    return Fraction(found) * 10**12


def hardware(name: str, utilisation: list[int], seconds: float) -> int | None:
    """Its "upper bound": peak x mean utilisation in percent x time; nothing without a sample."""
    if not utilisation:
        return None
    return int(peak(name) * Fraction(sum(utilisation), 100 * len(utilisation)) * Fraction(seconds))
