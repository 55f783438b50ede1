"""``ftprof estimate`` against what ``ftprof wrap`` counts on the same fine-tune, really run on the CPU."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import FTPROF, Wrapped, clean_environment, ftprof

from ftprof.cli import main

FINETUNE = Path(__file__).with_name("finetune_of_config.py")
Run = Callable[..., Wrapped]

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
QWEN3_MOE = {
    "model_type": "qwen3_moe", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
    "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "num_local_experts": 4,
    "num_experts_per_tok": 2, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 320,
    "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A config, and what estimate and the real training get."""

    config: dict[str, Any]
    method: str
    estimate: Sequence[str] = ()
    training: Sequence[str] = ()


# Seven samples in batches of four, twice: a partial batch in each epoch.
SAMPLES, LENGTH, BATCH, EPOCHS = 7, 48, 4, 2
CASES = {
    "lora": Case(LLAMA, "lora", ["--lora-rank", "8"], ["--rank", "8"]),
    "full": Case(LLAMA, "full"),
    "lora-some-targets": Case(
        LLAMA, "lora", ["--lora-targets", "q_proj,v_proj"], ["--targets", "q_proj,v_proj", "--rank", "16"]
    ),
    "qlora": Case(LLAMA, "qlora"),
    "qlora-checkpointing": Case(LLAMA, "qlora", ["--gradient-checkpointing"], ["--checkpointing"]),
    "full-checkpointing": Case(LLAMA, "full", ["--gradient-checkpointing"], ["--checkpointing"]),
    "full-eager": Case(LLAMA, "full", ["--attention", "eager"], ["--attention", "eager"]),
    "spectrum": Case(LLAMA, "spectrum", ["--spectrum-layers", "1"], ["--train", r"model\.layers\.1\."]),
    "spectrum-pattern": Case(
        LLAMA,
        "spectrum",
        ["--spectrum-layers", r"model\.layers\.2\.mlp"],
        ["--train", r"model\.layers\.2\.mlp"],
    ),
    "moe-full": Case(QWEN3_MOE, "full"),
    "moe-lora": Case(QWEN3_MOE, "lora"),
    "mixtral-checkpointing": Case(MIXTRAL, "full", ["--gradient-checkpointing"], ["--checkpointing"]),
    "gpt2": Case(GPT2, "full"),
}
QUICK = ("lora",)
# Loaded into every Python that has its folder on PYTHONPATH.
WITHOUT_NETWORK = """
import os, socket, sys
def refused(*_, **__):
    sys.stderr.write("the network was asked for\\n")
    os._exit(99)
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
"""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: Any
    out: str
    err: str


def estimate_here(config: Path, *options: str) -> Answer:
    """The command, in this process: to import torch, transformers and peft anew for each takes most of its time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        with pytest.raises(SystemExit) as ended:
            main(["estimate", str(config), *options])
    return Answer(ended.value.code, out.getvalue(), err.getvalue())


def estimated(config: Path, *options: str) -> dict[str, Any]:
    answer = estimate_here(config, *options, "--json")
    assert (answer.code, answer.err) == (0, "")
    return dict(json.loads(answer.out))


def written(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_the_estimate_is_what_wrap_counts_on_the_same_run(wrap: Run, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    config = written(tmp_path, case.config)
    run = wrap(
        [sys.executable, str(FINETUNE), str(config), "--method", case.method, *case.training, "--samples", str(SAMPLES),
         "--length", str(LENGTH), "--batch", str(BATCH), "--epochs", str(EPOCHS)]
    )  # fmt: skip
    assert run.code == 0, run.err
    answer = estimated(
        config, "--method", case.method, *case.estimate, "--samples", str(SAMPLES), "--sequence-length", str(LENGTH),
        "--batch-size", str(BATCH), "--epochs", str(EPOCHS), "--no-packing",
    )  # fmt: skip
    assert run.record["complete"] is True
    assert run.record["high"] == run.record["flops"]
    # Two per cent are asked for; the same operators by the same formulas leave none.
    assert int(answer["methods"][0]["executed"]) == int(answer["flops"]) == run.flops
    if case.method == "qlora":
        assert_parameters_are_the_real_ones(answer)
    if "--gradient-checkpointing" in case.estimate:
        assert int(answer["methods"][0]["recomputed"]) > 0


def assert_parameters_are_the_real_ones(answer: dict[str, Any]) -> None:
    """Not the half as many bytes in which the training keeps them."""
    hidden, inner, vocabulary, layers = 64, 160, 320, 3
    linear = 2 * hidden * hidden + 2 * hidden * (hidden // 2) + 3 * hidden * inner
    real = layers * (linear + 2 * hidden) + hidden + vocabulary * hidden
    chosen = answer["methods"][0]
    assert int(chosen["parameters"]["model"]) == real
    tokens = SAMPLES * LENGTH * EPOCHS
    six_pd, aws = (int(figure["flops"]) for figure in chosen["references"])
    assert six_pd == 6 * real * tokens
    assert aws == (4 * int(chosen["parameters"]["total"]) + 2 * int(chosen["parameters"]["trainable"])) * tokens


LLAMA_70B = {
    "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "vocab_size": 128256, "num_attention_heads": 64, "num_key_value_heads": 8,
    "max_position_embeddings": 8192, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.slow
def test_a_model_of_70_billion_parameters_takes_no_memory_for_weights(tmp_path: Path) -> None:
    config = written(tmp_path, LLAMA_70B)
    peak_memory = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(done.returncode)"
    )
    options = ["--method", "lora", "--lora-rank", "16", "--sequence-length", "2048", "--tokens", "2048000"]
    done = subprocess.run(
        [sys.executable, "-c", peak_memory, FTPROF, "estimate", str(config.parent), *options, "--json"],
        capture_output=True, text=True, env=clean_environment(), timeout=600, check=True,
    )  # fmt: skip
    assert int(done.stderr) < 3 << 20  # KiB; bf16 weights alone would be 132 GiB
    answer = json.loads(done.stdout)
    assert [method["name"] for method in answer["methods"]] == ["lora", "full", "spectrum"]
    lora, full, _ = answer["methods"]
    assert lora["parameters"]["model"] == full["parameters"]["trainable"] == "70553706496"
    linear, attention = 70553706496 - 128256 * 8192 - 161 * 8192, 80 * 2 * 2048 * 64 * 128 * 2
    # Every position passes each weight three times, the attention's two products, and five in its backward.
    assert int(full["executed"]) == 2048000 * (6 * linear + attention // 2 * 7)


@pytest.mark.slow
def test_a_mixture_of_experts_counts_the_active_ones(tmp_path: Path) -> None:
    few, many = ({**QWEN3_MOE, "num_experts": experts} for experts in (8, 64))
    options = ["--sequence-length", "32", "--tokens", "64", "--method", "full"]
    one, other = (estimated(written(tmp_path, config), *options)["methods"][0] for config in (few, many))
    router = 3 * 2 * 64 * 64 * (64 - 8) * 2  # its rows, three products of 64 tokens, in two layers
    assert int(other["executed"]) - int(one["executed"]) == router
    assert int(other["references"][0]["flops"]) > int(one["references"][0]["flops"]) + router


ERRORS = {
    "unknown-architecture": ({"model_type": "no_such_model"}, [], 1, "model type 'no_such_model' is unknown"),
    "no-language-model": ({"model_type": "vit"}, [], 1, "no causal language model"),
    "targets": (LLAMA, ["--method", "lora", "--lora-targets", "q_proj,nope"], 2, "'nope' matches no module"),
    "layers": (LLAMA, ["--method", "spectrum", "--spectrum-layers", "3"], 2, "'3' matches no parameter"),
    "pattern": (LLAMA, ["--method", "spectrum", "--spectrum-layers", "("], 2, "no regular expression"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_line(tmp_path: Path, name: str) -> None:
    config, options, code, says = ERRORS[name]
    done = estimate_here(written(tmp_path, config), "--sequence-length", "16", "--tokens", "64", *options)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_it_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_NETWORK)
    command = [FTPROF, "estimate", str(written(tmp_path, LLAMA)), "--sequence-length", "16", "--tokens", "64", "--json"]
    environment = clean_environment(PYTHONPATH=str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    asks = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    assert subprocess.run(asks, env=environment, capture_output=True, check=False).returncode == 99


@pytest.mark.slow
def test_the_answer_fits_a_screen(tmp_path: Path) -> None:
    config = written(tmp_path, LLAMA)
    done = ftprof(
        "estimate", str(config), "--method", "lora", "--sequence-length", "64", "--batch-size", "4", "--tokens", "1e6",
        "--chip", "NVIDIA H200", "--utilization", "0.5", "--pretrain-flops", "1e24",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 36
    assert max(map(len, lines)) <= 120
    for part in ("lora, rank 16 on all-linear", "aws-2026", "ec-2025", "GPU-hours at 50 %", "700 W", "Annex A.2"):
        assert part in done.stdout
