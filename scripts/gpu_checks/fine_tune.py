"""A Llama of the 1 B class with random weights, and steps of its fine-tune: all weights, or LoRA adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_checks import place
from gpu_checks.gpu import torch_on_gpu

METHODS = ("full", "lora")
# The sizes of Llama-3.2-1B's config.json; the rehearsal's are as small as a Llama can be.
LLAMA_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
TINY = {**LLAMA_1B, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
TINY |= {"num_attention_heads": 2, "num_key_value_heads": 1}
LORA_RANK = 16


@dataclass(frozen=True)
class Batch:
    """Sequences of tokens, the same in every step: what is timed and counted is the work, not the data."""

    sequences: int = 4
    length: int = 1024

    @property
    def tokens(self) -> int:
        """Of one step."""
        return self.sequences * self.length


class FineTune:
    """The model of transformers, the adapters of PEFT, torch's AdamW; ``run`` trains and waits for the device."""

    def __init__(self, method: str, checkpointing: bool) -> None:
        self.torch = torch_on_gpu()
        self.steps = 0
        self.batch = Batch(2, 16) if place.rehearsal() else Batch()
        self.torch.manual_seed(1)
        self._model = _model(self.torch, method, checkpointing)
        trained = [weights for weights in self._model.parameters() if weights.requires_grad]
        self.parameters = sum(weights.numel() for weights in self._model.parameters())
        self.trained = sum(weights.numel() for weights in trained)
        self._optimiser = self.torch.optim.AdamW(trained, lr=1e-5, fused=not place.rehearsal())
        shape = (self.batch.sequences, self.batch.length)
        self._tokens = self.torch.randint(0, _sizes()["vocab_size"], shape, device="cuda")

    def run(self, steps: int) -> None:
        """So many steps, and wait for them."""
        for _ in range(steps):
            self._model(input_ids=self._tokens, labels=self._tokens, use_cache=False).loss.backward()
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            self.steps += 1
        self.torch.cuda.synchronize()


def _sizes() -> dict[str, Any]:
    return TINY if place.rehearsal() else LLAMA_1B


def _model(torch: Any, method: str, checkpointing: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    if not place.rehearsal():
        torch.set_default_device("cuda")  # a billion random numbers: seconds on the processor, nothing here
    try:
        model = LlamaForCausalLM(LlamaConfig(**_sizes(), attn_implementation="sdpa"))
    finally:
        torch.set_default_dtype(before)
        if not place.rehearsal():
            torch.set_default_device(None)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return _with_adapters(model, checkpointing) if method == "lora" else model


def _with_adapters(model: Any, checkpointing: bool) -> Any:
    """On every linear layer of the blocks, as most LoRA recipes have it."""
    from peft import LoraConfig, get_peft_model

    if checkpointing:
        model.enable_input_require_grads()  # else nothing that is checkpointed has a gradient
    return get_peft_model(model, LoraConfig(r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear"))
