"""A straight line through points, by least squares, with the standard error of its slope."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_LEAST = 4  # points: fewer say nothing of their spread


def slope(points: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The slope of ``(x, y)`` points and its standard error; ``None`` for too few points, or all at one x."""
    if len(points) < _LEAST or len({x for x, _ in points}) < 2:
        return None
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    line = statistics.linear_regression(xs, ys)
    mean = statistics.fmean(xs)
    left = sum((y - line.intercept - line.slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    spread = sum((x - mean) ** 2 for x in xs)
    return line.slope, math.sqrt(left / (len(xs) - 2) / spread)
