"""The limits of the AI Act and its Guidelines that ftprof refers to outside a policy's own rules."""

from __future__ import annotations

from fractions import Fraction

SYSTEMIC_RISK_PRESUMPTION = 10**25
"""FLOP. Systemic risk is presumed above it, not at it (AI Act, Article 51(2); Guidelines, paragraph 28)."""

ERROR_MARGIN = Fraction(3, 10)
"""Of the reported estimate: how accurate an estimate of training compute should be (Guidelines, Annex A.2, paragraph
123 of July, 120 of November 2025). It is no threshold; that 30 % is also AWS's share of the base compute is chance."""
