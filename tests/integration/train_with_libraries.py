"""Small real trainings with Hugging Face's Trainer, TRL and Lightning on the CPU, for the tests of their callbacks.

Models are made from a configuration, with random weights. Nothing here knows what a training should have executed: the
tests compare with torch's own counter around the same training.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ftprof.measure.analytic.hook import extra_formulas

LENGTH, BATCH, VOCABULARY = 8, 2, 50


def quiet() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def counted_by_torch(train: Callable[[], object]) -> int:
    with FlopCounterMode(display=False, custom_mapping=extra_formulas()) as mode:
        train()
    return int(mode.get_total_flops())


def told(result: Any) -> dict[str, Any]:
    record = result.record
    return {
        "flops": result.flops, "high": result.interval.high, "complete": result.complete, "reasons": result.reasons,
        "by_phase": result.by_phase, "runs": [run.run for run in record.runs],
        "guidelines": int((record.guidelines or {}).get("flops") or 0),
        "ratio": float(result.verdict().ratio or 0),
    }  # fmt: skip


# ---------------------------------------------------------------- processes


def in_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own, which ends as Python does: what it raises is its end. Its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    work()
    sys.exit(0)


def in_ranks(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What it gives in each of so many ranks of gloo; ``None`` where a rank did not end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(count))
    children = []
    for rank in range(count):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            answer = json.dumps(work(rank))
            os.write(write, answer.encode())
            os.close(write)
            sys.exit(0)
        os.close(write)
        children.append((child, read))
    answers = []
    for child, read in children:
        with os.fdopen(read, "rb") as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        answers.append(json.loads(text) if text else None)
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        del os.environ[name]
    return answers


# ---------------------------------------------------------------- Hugging Face


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCABULARY, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def rows(count: int) -> list[dict[str, torch.Tensor]]:
    return [{"input_ids": torch.arange(LENGTH) + i, "labels": torch.arange(LENGTH) + i} for i in range(count)]


def trainer_arguments(kind: Any, folder: Path, **changes: Any) -> Any:
    given = {
        "output_dir": str(folder), "max_steps": 4, "per_device_train_batch_size": BATCH, "report_to": [],
        "per_device_eval_batch_size": BATCH, "use_cpu": True, "dataloader_pin_memory": False, "disable_tqdm": True,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no",
        "gradient_checkpointing": False,
    }  # fmt: skip
    return kind(**{**given, **changes})


def hugging_face(folder: Path, callbacks: list[Any], **changes: Any) -> Any:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = trainer_arguments(TrainingArguments, folder, **changes)
    data = {"train_dataset": rows(16), "eval_dataset": rows(4)}
    trainer = Trainer(model=llama(), args=arguments, callbacks=callbacks, **data)
    trainer.remove_callback(PrinterCallback)
    return trainer


def at_step(step: int, act: Callable[[Any], None]) -> Any:
    """A callback that acts once so many steps are done."""
    from transformers import TrainerCallback

    class Acts(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                act(control)

    return Acts()


def stop(control: Any) -> None:
    control.should_training_stop = True


def fail(control: Any) -> None:
    raise RuntimeError("a failure of the user's own")


# ---------------------------------------------------------------- TRL


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<unknown>", *(f"w{number}" for number in range(VOCABULARY - 3))]
    whole = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unknown>"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>")


def sft(folder: Path, callbacks: list[Any], **changes: Any) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    arguments = trainer_arguments(SFTConfig, folder, max_length=16, bf16=False, **changes)
    texts = [" ".join(f"w{(number + word) % 40}" for word in range(4 + number % 5)) for number in range(16)]
    data = Dataset.from_dict({"text": texts})
    trainer = SFTTrainer(
        model=llama(), args=arguments, train_dataset=data, eval_dataset=data.select(range(4)),
        processing_class=tokenizer(), callbacks=callbacks,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


# ---------------------------------------------------------------- Lightning


def perceptron(lightning: Any) -> Any:
    """A LightningModule of ``lightning.pytorch`` or ``pytorch_lightning``."""

    class Perceptron(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

        def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
            return self.layers(batch).square().mean()

        def validation_step(self, batch: torch.Tensor, number: int) -> None:
            self.log("loss", self.layers(batch).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    return Perceptron()


def fit(lightning: Any, folder: Path, callbacks: list[Any], resume: Any = None, **changes: Any) -> Any:
    """Four steps an epoch, with a checkpoint after every second one."""
    data = torch.utils.data.DataLoader(torch.randn(8, 16), BATCH)
    saves = lightning.callbacks.ModelCheckpoint(folder / "checkpoints", every_n_train_steps=2, save_top_k=-1)
    given = {
        "default_root_dir": folder, "accelerator": "cpu", "devices": 1, "max_epochs": 2, "log_every_n_steps": 1,
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 1,
        "logger": lightning.loggers.CSVLogger(folder), "limit_val_batches": 0,
    }  # fmt: skip
    trainer = lightning.Trainer(callbacks=[saves, *callbacks], **{**given, **changes})
    trainer.fit(perceptron(lightning), data, data, ckpt_path=resume)
    return trainer
