"""Fine-tune a small Llama with LoRA, on the text beside this script, in about a minute on two CPU cores.

The model starts from random weights and a token is one byte, so nothing is downloaded. Run it alone with

    python finetune_lora.py

or on two processes with

    torchrun --nproc-per-node 2 finetune_lora.py
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

TEXT = Path(__file__).with_name("text.txt")
EVAL_SHARE = 0.1
VOCABULARY = 256  # a token is a byte


class TextBlocks(Dataset[dict[str, torch.Tensor]]):
    """Overlapping blocks of equal length, cut from one text."""

    def __init__(self, text: bytes, length: int) -> None:
        starts = range(0, len(text) - length + 1, length // 2)
        self.blocks = [torch.tensor(list(text[start : start + length])) for start in starts]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block = self.blocks[index]
        return {"input_ids": block, "labels": block}


def load_blocks(length: int) -> tuple[TextBlocks, TextBlocks]:
    """Split the text into blocks to train on and blocks to evaluate on."""
    text = TEXT.read_bytes()
    split = int(len(text) * (1 - EVAL_SHARE))
    return TextBlocks(text[:split], length), TextBlocks(text[split:], length)


def build_model(width: int, layers: int, length: int) -> PeftModel:
    """Make a Llama with random weights and put LoRA adapters on its linear layers."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 4,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=length,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    # peft still asks transformers for this property by its old name.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    return get_peft_model(LlamaForCausalLM(config), lora)


def training_arguments(args: argparse.Namespace, output: Path) -> TrainingArguments:
    """Say how to train: on the CPU, with a fixed seed, and with a loss printed now and then."""
    return TrainingArguments(
        output_dir=str(output),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        per_device_eval_batch_size=args.batch,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(5, args.steps // 4),
        logging_steps=max(1, args.steps // 10),
        logging_first_step=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=args.seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        torch_compile=args.compile,
    )


def train(args: argparse.Namespace, output: Path) -> None:
    """Train, evaluate once on the text held back, and save the adapter."""
    set_seed(args.seed)
    train_blocks, eval_blocks = load_blocks(args.length)
    model = build_model(args.width, args.layers, args.length)
    trainer = Trainer(
        model=model,
        args=training_arguments(args, output),
        train_dataset=train_blocks,
        eval_dataset=eval_blocks,
    )
    trainer.train()
    trainer.evaluate()
    trainer.save_model()


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="LoRA fine-tuning of a small, randomly initialised Llama.")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="random seed (default: %(default)s)")
    parser.add_argument("--width", type=int, default=256, help="hidden size (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="decoder layers (default: %(default)s)")
    parser.add_argument("--length", type=int, default=256, help="tokens in a sequence (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="sequences a process (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="(default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the model with torch.compile")
    parser.add_argument("--output", type=Path, help="where to save the adapter (default: nowhere)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the fine-tune."""
    args = parse_args(argv)
    if args.output is not None:
        train(args, args.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        train(args, Path(folder))


if __name__ == "__main__":
    main()
