"""The two formulas that others multiply by a number of tokens, beside which ftprof's count is shown."""

from __future__ import annotations

from dataclasses import dataclass

SIX_PD = "6 x parameters x tokens (Guidelines C(2025) 5045, Annex A.2, paragraph 132; dense transformers)"
AWS = "(4 x N_total + 2 x N_trainable) x tokens (Fine-Tuning FLOPs Meter, flops_meter.py at commit 6c37b2a)"


@dataclass(frozen=True)
class ReferenceFigure:
    """A formula's result in FLOP, with its source."""

    name: str
    flops: int
    source: str


def six_pd(parameters: int, tokens: int) -> ReferenceFigure:
    """The Commission's 6 P D, with all of the model's own parameters."""
    return ReferenceFigure("6PD", 6 * parameters * tokens, SIX_PD)


def aws_formula(parameters: int, trainable: int, tokens: int) -> ReferenceFigure:
    """The AWS meter's ``Flops_architecture``, with real weights where they are stored packed, and adapters counted."""
    return ReferenceFigure("AWS", (4 * parameters + 2 * trainable) * tokens, AWS)
