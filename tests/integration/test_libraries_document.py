"""The code blocks of docs/libraries.md, with small pieces in the place of the reader's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, clean_environment

PIECES = """
import json
from pathlib import Path
from train_with_libraries import *
quiet()
import lightning.pytorch
from datasets import Dataset
from transformers import TrainingArguments
from trl import SFTConfig

def pieces():
    layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Linear(32, 1))
    texts = Dataset.from_dict({"text": ["w1 w2 w3 w4"] * 8})
    return {
        "model": llama(), "data": rows(8), "arguments": trainer_arguments(TrainingArguments, Path("plain")),
        "sft_arguments": trainer_arguments(SFTConfig, Path("sft"), max_length=16, bf16=False), "texts": texts,
        "tokenizer": tokenizer(), "lightning_module": perceptron(lightning.pytorch),
        "batches": torch.utils.data.DataLoader(torch.randn(8, 16), 2), "network": layers,
        "optimizer": torch.optim.SGD(layers.parameters(), 0.01), "train": lambda: torch.ones(4, 4) @ torch.ones(4, 4),
    }

for block in json.loads(Path("blocks.json").read_text()):
    exec(compile(block, "docs/libraries.md", "exec"), pieces())
"""


@pytest.mark.slow
def test_its_code_blocks_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "libraries.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    (tmp_path / "program.py").write_text(PIECES)
    environment = clean_environment(PYTHONPATH=str(Path(__file__).parent), HF_HUB_OFFLINE="1")
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "below" in done.stdout
    for name in ("plain/ftprof.json", "sft/ftprof.json", "ftprof.json", "accelerate.json", "distributed.json"):
        assert int(json.loads((tmp_path / name).read_text())["flops"]) > 0
    assert json.loads((tmp_path / "distributed.json").read_text())["flops"] == str(2 * 4**3)
