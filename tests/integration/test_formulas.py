"""ftprof's own formulas against numbers made by hand: the reference of every other test applies the same formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ftprof.measure.analytic.hook import extra_formulas

torch = pytest.importorskip("torch", reason="formulas are those of torch's operators")
functional = pytest.importorskip("torch.nn.functional")


def counted(work: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping=extra_formulas()) as mode:
        work()
    return int(mode.get_total_flops())


def attention(backward: bool) -> None:
    """Two sequences, four heads, 16 rows, 24 keys; heads of 8, values of 8."""
    query = torch.ones(2, 4, 16, 8, requires_grad=backward)
    key, value = (torch.ones(2, 4, 24, 8, requires_grad=backward) for _ in range(2))
    out = functional.scaled_dot_product_attention(query, key, value)
    if backward:
        out.sum().backward()


def recurrent(kind: str, backward: bool) -> None:
    """Two sequences of three steps, five numbers in, seven out."""
    layer = getattr(torch.nn, kind)(5, 7)
    out, _ = layer(torch.ones(3, 2, 5, requires_grad=backward))
    if backward:
        out.sum().backward()


def convolution(backward: bool) -> None:
    """Two images of 8 x 8 with four channels in and six out in two groups, windows of 3 x 3."""
    layer = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
    out = layer(torch.ones(2, 4, 8, 8, requires_grad=backward))
    if backward:
        out.sum().backward()


def grouped_product() -> None:
    """Three rows through one matrix, five through another."""
    rows, matrices = torch.ones(8, 16, dtype=torch.bfloat16), torch.ones(2, 16, 8, dtype=torch.bfloat16)
    torch._grouped_mm(rows, matrices, offs=torch.tensor([3, 8], dtype=torch.int32))


SCORES = 2 * 4 * 16 * 24  # one for each sequence, head, row and key
OUTPUTS = 2 * 6 * 8 * 8  # of the convolution; each is the sum of two channels' windows
CASES: dict[str, tuple[Callable[[], object], int]] = {
    "attention": (lambda: attention(False), 2 * SCORES * (8 + 8)),
    # Back: the scores again; then the gradients of values, weights, queries and keys.
    "attention and its backward": (lambda: attention(True), 2 * SCORES * (8 + 8) + 2 * SCORES * (8 + 8 + 8 + 8 + 8)),
    "LSTM": (lambda: recurrent("LSTM", False), 2 * 3 * 2 * (4 * 7 * 5 + 4 * 7 * 7)),
    "LSTM and its backward": (lambda: recurrent("LSTM", True), 3 * 2 * 3 * 2 * (4 * 7 * 5 + 4 * 7 * 7)),
    "GRU": (lambda: recurrent("GRU", False), 2 * 3 * 2 * (3 * 7 * 5 + 3 * 7 * 7)),
    "convolution": (lambda: convolution(False), 2 * OUTPUTS * 2 * 9),
    "convolution and its backward": (lambda: convolution(True), 3 * 2 * OUTPUTS * 2 * 9),
    "grouped product": (grouped_product, 2 * 8 * 16 * 8),
    "matrix times vector": (lambda: torch.mv(torch.ones(3, 5), torch.ones(5)), 2 * 3 * 5),
    "the same, added": (lambda: torch.addmv(torch.ones(3), torch.ones(3, 5), torch.ones(5)), 2 * 3 * 5),
    "dot": (lambda: torch.dot(torch.ones(9), torch.ones(9)), 2 * 9),
    "outer product, added": (lambda: torch.addr(torch.ones(3, 5), torch.ones(3), torch.ones(5)), 2 * 3 * 5),
    "stack of products, added": (
        lambda: torch.baddbmm(torch.ones(4, 3, 6), torch.ones(4, 3, 5), torch.ones(4, 5, 6)),
        2 * 4 * 3 * 5 * 6,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_formula_gives_the_number_made_by_hand(name: str) -> None:
    work, expected = CASES[name]
    assert counted(work) == expected
