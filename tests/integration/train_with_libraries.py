"""Small real trainings with Hugging Face's Trainer, TRL and Lightning on the CPU, for the tests of their callbacks.

Models are made from a configuration, with random weights. Nothing here knows what a training should have executed: the
tests compare with torch's own counter around the same training.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
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


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=VOCABULARY, pad_token_id=0,
        )  # fmt: skip
    )


def rows(count: int) -> list[dict[str, torch.Tensor]]:
    return [{"input_ids": torch.arange(LENGTH) + i, "labels": torch.arange(LENGTH) + i} for i in range(count)]


def hugging_face_arguments(kind: Any, folder: str, **changes: Any) -> Any:
    given = dict(
        output_dir=folder, max_steps=4, per_device_train_batch_size=BATCH, per_device_eval_batch_size=BATCH,
        report_to=[], use_cpu=True, dataloader_pin_memory=False, disable_tqdm=True, logging_steps=1,
        save_strategy="steps", save_steps=2, eval_strategy="no",
    )  # fmt: skip
    return kind(**{**given, **changes})


def hugging_face(folder: str, callbacks: list[Any], **changes: Any) -> Any:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = hugging_face_arguments(TrainingArguments, folder, **changes)
    trainer = Trainer(
        model=llama(), args=arguments, train_dataset=rows(16), eval_dataset=rows(4), callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def stop_after(step: int, how: Callable[[Any], None]) -> Any:
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                how(control)

    return Stop()


def plainly(control: Any) -> None:
    control.should_training_stop = True


def badly(control: Any) -> None:
    raise RuntimeError("a failure of the user's own")
