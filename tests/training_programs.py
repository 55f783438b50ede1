"""Trainings as their users write them, for tests that run them in several ways."""

from __future__ import annotations

# Options: ``evaluate`` every two steps, ``predict`` at the end, ``checkpoint`` activations.
TRAINER = """
import sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=50,
))
data = [{"input_ids": torch.arange(8) + i, "labels": torch.arange(8) + i} for i in range(8)]
arguments = TrainingArguments(
    output_dir="out", max_steps=4, per_device_train_batch_size=2, per_device_eval_batch_size=2, report_to=[],
    use_cpu=True, eval_strategy="steps" if "evaluate" in sys.argv else "no", eval_steps=2,
    save_strategy="no", disable_tqdm=True,
    gradient_checkpointing="checkpoint" in sys.argv,
)
trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data[:4])
trainer.train()
if "predict" in sys.argv:
    trainer.predict(data[:2])
"""
