"""DESIGN's fifth point: FlashAttention, torch.compile and Triton, against what they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import Findings, between, exactly
from gpu_checks.gpu import size, torch_on_gpu
from gpu_checks.model import Training, shape
from gpu_checks.probe import Bench


def flash(findings: Findings) -> None:
    """FlashAttention, forward and both ways, full and causal, against the full square."""
    bench = Bench()
    torch = torch_on_gpu()
    batch, heads, length, width = (1, 2, 32, 16) if place.rehearsal() else (4, 16, 2048, 128)
    parts = [
        torch.randn(batch, heads, length, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    ]
    square = 2 * batch * heads * length**2 * width  # of one product
    backend = torch.nn.attention.SDPBackend
    kinds = backend.MATH if place.rehearsal() else backend.FLASH_ATTENTION

    def attend(causal: bool, backward: bool) -> None:
        with torch.nn.attention.sdpa_kernel(kinds):
            out = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=causal)
            if backward:
                out.sum().backward()

    # Two products forward; backward the scores again, and two products each for their gradients and the inputs'.
    for causal, backward, products in ((False, False, 2), (False, True, 7), (True, False, 2), (True, True, 7)):
        attend(causal, backward)
        counts = bench.count_all(lambda c=causal, b=backward: attend(c, b))  # type: ignore[misc]
        name = f"FlashAttention, {'causal' if causal else 'full'}, {'both ways' if backward else 'forward'}"
        limits = None if causal else between(0.999, 1.3)
        findings.figure(f"{name}: counted / full square", [sum(counts.values()) / (products * square)], "", limits)
        findings.fact(name, {metric: n for metric, n in counts.items() if n})


def compiled(findings: Findings) -> None:
    """Two linear layers and what lies between them, compiled and not."""
    bench = Bench()
    torch = torch_on_gpu()
    edge, rows = size(2048), size(4096)
    model = torch.nn.Sequential(
        torch.nn.Linear(edge, 4 * edge, bias=False), torch.nn.GELU(), torch.nn.Linear(4 * edge, edge, bias=False)
    ).to("cuda", torch.bfloat16)
    values = torch.randn(rows, edge, device="cuda", dtype=torch.bfloat16)
    forward = model if place.rehearsal() else torch.compile(model)
    asked = 2 * 2 * rows * edge * 4 * edge

    for name, act in (("eager", model), ("torch.compile", forward)):
        with torch.no_grad():
            act(values)
            counts = bench.count_all(lambda act=act: act(values))  # type: ignore[misc]
        findings.figure(f"two linear layers, {name}", [sum(counts.values())], "FLOP", exactly(asked))


def triton(findings: Findings) -> None:
    """A matrix product written in Triton, of which no formula knows."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        findings.note(f"not tried: {error}")
        return
    from gpu_checks.triton_product import multiply

    bench = Bench()
    torch = torch_on_gpu()
    edge = size(2048)
    a, b = (torch.randn(edge, edge, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    multiply(a, b)
    counts = bench.count_all(lambda: multiply(a, b))
    findings.figure("Triton product, bf16 2048", [sum(counts.values())], "FLOP", exactly(2 * edge**3))
    difference = (multiply(a, b).float() - torch.mm(a, b).float()).norm() / torch.mm(a, b).float().norm()
    findings.figure("Triton product: difference from cuBLAS", [float(difference)], "", between(0, 0.01))


def analytic(findings: Findings) -> None:
    """A training step: counters against torch's formulas, which know no padding and the full square of attention."""
    bench = Bench()
    torch = torch_on_gpu()
    flop_counter: Any = importlib.import_module("torch.utils.flop_counter")
    for name in ("medium", "large"):
        training = Training(shape(name))
        training.run(3)
        with flop_counter.FlopCounterMode(display=False) as formulas:
            training.step()
        torch.cuda.synchronize()
        counts = bench.count_all(training.step)
        ratio = sum(counts.values()) / max(formulas.get_total_flops(), 1)
        findings.figure(f"training step, {name}: counted / FlopCounterMode", [ratio], "", between(0.6, 1.4))
        findings.fact(name, {"counted": counts, "formulas": formulas.get_total_flops()})


STAGE = Stage(
    "kernels",
    "DESIGN 5 and 6: FlashAttention, torch.compile, Triton, formulas",
    (
        Experiment("flash", flash, 15, "What does FlashAttention count?"),
        Experiment("compiled", compiled, 35, "Does torch.compile change the count of two linear layers?"),
        Experiment("triton", triton, 20, "Is a Triton product counted exactly?"),
        Experiment("analytic", analytic, 20, "How far are formulas from what was executed?"),
    ),
)
