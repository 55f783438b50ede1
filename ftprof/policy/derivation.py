"""One figure for a base model's training compute: how it came about, how sure it is, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ftprof.policy.law import ERROR_MARGIN

STATED = "stated by the user"
PUBLISHED = "published"  # by who trained the model
THIRD_PARTY = "third party's estimate"
REGULATORS_EXAMPLE = "regulator's example"
SIX_PD = "derived by 6PD"
GPU_HOURS = "derived from hardware hours"

KINDS = (STATED, PUBLISHED, THIRD_PARTY, REGULATORS_EXAMPLE, SIX_PD, GPU_HOURS)
KNOWN_KINDS = frozenset({STATED, PUBLISHED})
"""The others are estimates: the regulator's examples too, which show Annex A.2's methods at work."""


@dataclass(frozen=True)
class Derivation:
    """A figure in FLOP, its kind (one of KINDS), its confidence and its source.

    ``params`` and ``tokens`` are the model's parameters (the active ones of a mixture of experts) and training
    tokens, where known.
    """

    flops: Fraction
    kind: str
    confidence: str
    source: str
    params: Fraction | None = None
    tokens: Fraction | None = None


def basis_text(kind: str | None) -> str:
    """Whether a figure of this kind is known or estimated, and how; ``None`` is a record that does not say."""
    if kind is None:
        return "known, as stated"
    return f"{'known' if kind in KNOWN_KINDS else 'estimated'}, {kind}"


def times_apart(low: Fraction, high: Fraction) -> str | None:
    """``"9.8 times apart"`` where ``high`` lies outside the Commission's margin of error of ``low``, else None.

    The margin is 30 % of the reported estimate (Guidelines, Annex A.2, paragraph 123 of July, 120 of November 2025).
    """
    if high <= low * (1 + ERROR_MARGIN):
        return None
    ratio = high / low
    if ratio >= 10:
        return f"{(ratio + Fraction(1, 2)).__floor__()} times apart"
    tenths = (ratio * 10 + Fraction(1, 2)).__floor__()
    return f"{tenths // 10}.{tenths % 10} times apart"
