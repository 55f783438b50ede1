"""A decoder-only transformer with random weights, and one training step of it: eager, compiled or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_checks import place
from gpu_checks.gpu import torch_on_gpu

MODES = ("eager", "compile", "graphs")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of its batch."""

    width: int
    layers: int
    heads: int
    length: int
    batch: int
    vocabulary: int = 8192

    @property
    def operations(self) -> int:
        """About what one training step asks for: six for each weight and token, and attention. For information."""
        tokens = self.length * self.batch
        weights = self.layers * 12 * self.width**2 + self.vocabulary * self.width
        return 6 * weights * tokens + 12 * self.layers * self.length * self.width * tokens


# large: kernels of hundreds of microseconds. small: launches are what it waits for.
SHAPES = {
    "large": Shape(2048, 8, 16, 1024, 8),
    "medium": Shape(1024, 4, 8, 512, 8),
    "small": Shape(256, 12, 4, 64, 4, vocabulary=1024),
}
REHEARSAL = Shape(32, 1, 2, 16, 2, vocabulary=64)


def shape(name: str) -> Shape:
    """A shape by name; in a rehearsal a tiny one."""
    return REHEARSAL if place.rehearsal() else SHAPES[name]


class Training:
    """A model, its optimiser, one batch, and ``step``, which trains on it once and waits for nothing."""

    def __init__(self, sizes: Shape, mode: str = "eager") -> None:
        self.torch = torch_on_gpu()
        self.torch.manual_seed(1)
        self.steps = 0
        self.last_loss: Any = None  # of an eager or compiled step; a captured one keeps its own
        self._model = _decoder(self.torch, sizes).to("cuda", self.torch.bfloat16)
        self._model.tokens.weight.requires_grad_(False)  # as in most fine-tunes; its gradient may not be capturable
        graphs = mode == "graphs"
        self._optimiser = self.torch.optim.AdamW(
            [p for p in self._model.parameters() if p.requires_grad],
            lr=1e-5,
            fused=not place.rehearsal(),
            capturable=graphs and not place.rehearsal(),
        )
        tokens = (sizes.batch, sizes.length + 1)
        self._tokens = self.torch.randint(0, sizes.vocabulary, tokens, device="cuda")
        self._forward: Callable[..., Any] = self._model
        if mode == "compile" and not place.rehearsal():
            self._forward = self.torch.compile(self._model)
        self._act = self._captured() if graphs else self._once

    def step(self) -> None:
        """One step."""
        self._act()
        self.steps += 1

    def synchronize(self) -> None:
        """Wait for the device."""
        self.torch.cuda.synchronize()

    def run(self, steps: int) -> None:
        """So many steps, and wait for them."""
        for _ in range(steps):
            self.step()
        self.synchronize()

    def _once(self) -> None:
        loss = self._loss()
        loss.backward()
        self.last_loss = loss.detach()
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _loss(self) -> Any:
        logits = self._forward(self._tokens[:, :-1])
        return self.torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), self._tokens[:, 1:].flatten())

    def _captured(self) -> Callable[[], None]:
        """The whole step as one graph, captured after warming up on another stream."""
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(3):
                self._once()
                self.steps += 1
        cuda.current_stream().wait_stream(side)
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self._loss().backward()
            self._optimiser.step()
        return lambda: graph.replay()


def _decoder(torch: Any, sizes: Shape) -> Any:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
            self.inwards = nn.Linear(sizes.width, 3 * sizes.width, bias=False)
            self.outwards = nn.Linear(sizes.width, sizes.width, bias=False)
            self.wide = nn.Linear(sizes.width, 4 * sizes.width, bias=False)
            self.narrow = nn.Linear(4 * sizes.width, sizes.width, bias=False)

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            parts = self.inwards(self.first(x)).view(batch, length, 3, sizes.heads, width // sizes.heads)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.outwards(mixed.transpose(1, 2).reshape(batch, length, width))
            return x + self.narrow(nn.functional.gelu(self.wide(self.second(x))))

    class Decoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
            self.blocks = nn.ModuleList(Block() for _ in range(sizes.layers))
            self.last = nn.LayerNorm(sizes.width)
            self.head = nn.Linear(sizes.width, sizes.vocabulary, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens)
            for block in self.blocks:
                x = block(x)
            return self.head(self.last(x))

    return Decoder()
