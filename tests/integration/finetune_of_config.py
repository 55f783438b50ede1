"""Fine-tune a randomly initialised model of a config.json for a few steps on the CPU: what an estimate is held against.

It knows nothing of ftprof. ``qlora`` keeps the frozen weights as bitsandbytes does, two 4-bit values in a byte, and
makes them whole in every forward.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments


class PackedLinear(nn.Linear):
    """A frozen linear layer whose weight lies in half as many bytes as it has elements."""

    @classmethod
    def of(cls, layer: nn.Linear) -> PackedLinear:
        packed = cls(layer.in_features, layer.out_features, bias=layer.bias is not None)
        weight = layer.weight.detach().flatten()
        packed.scale = float(weight.abs().max()) / 7.5
        levels = (weight / packed.scale + 7.5).round().clamp(0, 15).to(torch.uint8)
        packed.weight = nn.Parameter(levels[::2] | (levels[1::2] << 4), requires_grad=False)
        packed.bias = layer.bias
        return packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            levels = torch.stack((self.weight & 15, self.weight >> 4), dim=1).to(x.dtype)
            weight = ((levels - 7.5) * self.scale).view(self.out_features, self.in_features)
        return nn.functional.linear(x, weight, self.bias)


def pack(model: nn.Module) -> None:
    linear = [name for name, m in model.named_modules() if isinstance(m, nn.Linear) and not name.endswith("lm_head")]
    for name in linear:
        model.set_submodule(name, PackedLinear.of(model.get_submodule(name)))


def prepare(model: Any, args: argparse.Namespace) -> Any:
    if args.method == "spectrum":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(re.match(args.train, name) is not None)
    if args.method in ("full", "spectrum"):
        return model
    if args.method == "qlora":
        pack(model)
    targets = "all-linear" if args.targets is None else args.targets.split(",")
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=args.rank, target_modules=targets))


class RandomTokens(Dataset):
    def __init__(self, samples: int, length: int, vocabulary: int) -> None:
        self.rows = torch.randint(vocabulary, (samples, length))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--method", default="full")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets")
    parser.add_argument("--train")
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--checkpointing", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    config = AutoConfig.from_pretrained(args.config)
    model = prepare(AutoModelForCausalLM.from_config(config, attn_implementation=args.attention), args)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=args.epochs, per_device_train_batch_size=args.batch,
            gradient_checkpointing=args.checkpointing, save_strategy="no", report_to=[], disable_tqdm=True,
            use_cpu=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=RandomTokens(args.samples, args.length, config.vocab_size)).train()


if __name__ == "__main__":
    main()
