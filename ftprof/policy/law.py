"""The compute limit of the AI Act that ftprof refers to outside a policy's own rules."""

from __future__ import annotations

SYSTEMIC_RISK_PRESUMPTION = 10**25
"""FLOP. Systemic risk is presumed above it, not at it (AI Act, Article 51(2); Guidelines, paragraph 28)."""
