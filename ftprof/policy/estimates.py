"""Estimates of a base model's training compute by the two methods of the Guidelines' Annex A.2."""

from __future__ import annotations

from fractions import Fraction

from ftprof.policy.derivation import GPU_HOURS, SIX_PD, Derivation
from ftprof.quantity import to_json

_SECONDS = 3600
_GUIDELINES = "Guidelines C(2025) 5045, Annex A.2, paragraph {july}; in C(2025) 7719: {november}"
_SIX_PD_PARAGRAPH = _GUIDELINES.format(july=132, november=129)
_GPU_HOURS_PARAGRAPH = _GUIDELINES.format(july=126, november=123)


def six_pd(params: Fraction, tokens: Fraction, confidence: str, origin: str) -> Derivation:
    """6 x parameters x training tokens, in FLOP: six operations for each parameter of a dense transformer and token.

    The Guidelines give the formula for models whose parameters are many more than a twelfth of the tokens in their
    context (Annex A.2, paragraph 132 of July 2025, footnote 13). ``origin`` says where the two numbers come from.
    """
    flops = 6 * params * tokens
    formula = (
        f"6PD: C = 6 x P x D = 6 x {to_json(params)} parameters x {to_json(tokens)} tokens = {to_json(flops)} FLOP "
        f"({_SIX_PD_PARAGRAPH})"
    )
    return Derivation(flops, SIX_PD, confidence, f"{formula}; {origin}", params, tokens)


def gpu_hours(
    hours: Fraction, peak: Fraction, peak_basis: str, utilisation: Fraction, confidence: str, origin: str
) -> Derivation:
    """GPU hours x 3600 x peak x utilisation, in FLOP (Annex A.2, paragraph 126 of July 2025).

    ``peak`` is one GPU's, in FLOP a second; ``peak_basis`` says which it is, dense or sparse and at which precision;
    ``utilisation`` is the average share of it that was reached, 0 to 1.
    """
    flops = hours * _SECONDS * peak * utilisation
    formula = (
        f"GPU hours: C = H x {_SECONDS} x X x U = {to_json(hours)} h x {_SECONDS} s/h x {to_json(peak)} FLOP/s "
        f"({peak_basis}) x {to_json(utilisation)} = {to_json(flops)} FLOP ({_GPU_HOURS_PARAGRAPH})"
    )
    return Derivation(flops, GPU_HOURS, confidence, f"{formula}; {origin}")
