"""Every code block of the README and the docs runs, in the order of its page, in a folder with a training of its own.

A block that cannot run here says why in a comment above it: ``<!-- ci: not run: REASON -->``. The README's two commands
are run by .ci/run itself (``<!-- ci: NAME -->``), its example's output is compared by test_example.py, and fragments
are run by a test of their own (``<!-- ci: run by TEST -->``). One for each of two nodes (``<!-- ci: on two nodes -->``)
runs on two simulated ones, under the real launcher. One that ends with another code than 0 where there is no
GPU says with which (``<!-- ci: ends with CODE ... -->``).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import metadata
from pathlib import Path

import pytest
from conftest import REPOSITORY, clean_environment
from simulated_hosts import Host, two_hosts

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ELSEWHERE = ("ci: example", "ci: tests", "output: example")
_NOT_RUN, _FILE, _RUN_BY, _ENDS = "ci: not run: ", "file: ", "ci: run by ", "ci: ends with "
_TWO_NODES = "ci: on two nodes"
_PIP = """\
#!{python}
'''Stands in for pip, which needs a network: whether ftprof has the extras that are asked for.'''
import sys
asked = [text for text in sys.argv[2:] if text.startswith("ftprof[")]
missing = {{extra for text in asked for extra in text[7:-1].split(",")}} - {extras}
sys.exit(f"ftprof has no extra {{missing}}" if missing else 0)
"""
_SRUN = """\
#!/bin/sh
# Stands in for SLURM's: two tasks on one node, with the variables of a step.
for task in 0 1; do
    SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=1 \\
        SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 "$@" &
    tasks="$tasks $!"
done
for task in $tasks; do wait "$task" || exit; done
"""
_MPIRUN = """\
#!/bin/sh
# Stands in for Open MPI's: "-np N COMMAND", so many ranks on one node.
count=$2
shift 2
for rank in $(seq 0 $((count - 1))); do
    PMIX_NAMESPACE=one OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_LOCAL_RANK=$rank OMPI_COMM_WORLD_SIZE=$count "$@" &
    ranks="$ranks $!"
done
for rank in $ranks; do wait "$rank" || exit; done
"""
# What launchers and SageMaker's container set before the page's commands begin.
_LAUNCHED = {"SLURM_JOB_ID": "7", "SM_NUM_GPUS": "1"}
_TRAIN = """\
'''Trains a layer for three steps.'''
import torch
model = torch.nn.Linear(64, 64)
optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.randn(8, 64)).square().mean().backward()
    optimiser.step()
"""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comment above it."""

    comment: str
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(*match) for match in _BLOCK.findall(document.read_text())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_has_a_language_and_runs_or_says_why_not(document: Path) -> None:
    text = document.read_text()
    assert len(blocks(document)) * 2 == len(re.findall(r"^\s*```", text, re.MULTILINE)), (
        "a fence is not closed, or indented"
    )
    for block in blocks(document):
        assert block.language in ("python", "bash", "console", "yaml", "json", "csv"), block
        if block.comment.startswith(_RUN_BY):
            test = REPOSITORY / block.comment.removeprefix(_RUN_BY)
            assert document.name in test.read_text(), block
        elif block.comment:
            known = rf"{_NOT_RUN}\w+|{_ENDS}\d+ |{_FILE}[\w./-]+$"
            assert block.comment in (*_ELSEWHERE, _TWO_NODES) or re.match(known, block.comment), block


@pytest.mark.slow
@pytest.mark.parametrize("document", [path for path in DOCUMENTS if blocks(path)], ids=lambda path: path.name)
def test_every_block_runs(document: Path, tmp_path: Path) -> None:
    environment = place(tmp_path) | (_LAUNCHED if document.name == "launchers.md" else {})
    for block in blocks(document):
        if block.comment in (*_ELSEWHERE, _TWO_NODES) or block.comment.startswith((_NOT_RUN, _RUN_BY)):
            continue
        if block.comment.startswith(_FILE):
            file = tmp_path / block.comment.removeprefix(_FILE)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        if block.language in ("bash", "console", "python"):
            done = subprocess.run(
                command(block, tmp_path), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )
            expected = int(block.comment.removeprefix(_ENDS).split()[0]) if block.comment.startswith(_ENDS) else 0
            assert done.returncode == expected, f"{block.text}\n{done.stdout}\n{done.stderr}"
        else:
            assert parsed(block)
    if document.name == "launchers.md":
        check_ranks(tmp_path / "run-7-0.json", 2)
        check_ranks(tmp_path / "run-17.json", 4)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate launch", "deepspeed"])
def test_a_block_for_each_of_two_nodes_runs(launcher: str, tmp_path: Path) -> None:
    """The launcher itself, eight processes in all, on the CPU; the address is the simulated node's."""
    page = blocks(REPOSITORY / "docs" / "launchers.md")
    (block,) = [block for block in page if block.comment == _TWO_NODES and f" {launcher} " in block.text]
    environment = place(tmp_path) | {"HF_HOME": str(tmp_path)}  # no settings of this machine's for accelerate
    with two_hosts() as hosts, contextlib.ExitStack() as stack:
        # The simulated nodes know no names.
        block = replace(block, text=block.text.replace("node-a", hosts[0].address))
        words = command(block, tmp_path)
        started = [start(words, host, environment | {"NODE_RANK": str(rank)}) for rank, host in enumerate(hosts)]
        for process in started:
            stack.callback(clear, process)
        outcomes = [(*process.communicate(timeout=300), process.returncode) for process in started]
        assert [code for _, _, code in outcomes] == [0, 0], outcomes
        check_ranks(tmp_path / "run-17.json", 8)
        runs = json.loads((tmp_path / "run-17.json").read_text())["runs"]
        assert {run["host"] for run in runs} == {host.name for host in hosts}


def start(words: list[str], host: Host, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*host.enter, *words], env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def clear(process: subprocess.Popen[str]) -> None:
    """With what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check_ranks(path: Path, ranks: int) -> None:
    """A record of the page's trainings holds all their ranks."""
    record = json.loads(path.read_text())
    assert (record["complete"], record["reasons"]) == (True, [])
    ranked = [process["rank"]["rank"] for process in record["processes"] if process["rank"]]  # a launcher has none
    assert sorted(ranked) == list(range(ranks))
    assert int(record["flops"]) == ranks * 3 * 2 * 2 * 8 * 64 * 64  # three steps: forward, and the weights' gradient


def command(block: Block, folder: Path) -> list[str]:
    if block.language == "python":
        return [sys.executable, "-c", block.text]
    text = block.text.replace("/shared/", f"{folder}/")
    if block.language == "console":
        text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
    return ["bash", "-euo", "pipefail", "-c", text]


def parsed(block: Block) -> object:
    if block.language == "yaml":
        import yaml

        return list(yaml.safe_load_all(block.text))
    if block.language == "json":
        return json.loads(block.text)
    rows = list(csv.DictReader(io.StringIO(block.text), strict=True))
    return all(None not in row and None not in row.values() for row in rows) and rows


def place(folder: Path) -> dict[str, str]:
    """What the pages take for granted: a training, a model's config, an adapter, DeepSpeed's hosts, the
    project's scripts, pip.
    """
    (folder / "train.py").write_text(_TRAIN)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(64))
    (folder / "path" / "to").mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 8192}
    (folder / "path" / "to" / "config.json").write_text(json.dumps(config))
    (folder / "hosts").write_text("node-a slots=4\nnode-b slots=4\n")
    (folder / "scripts").symlink_to(REPOSITORY / "scripts")
    programs = folder / "programs"
    programs.mkdir()
    extras = set(metadata("ftprof").get_all("Provides-Extra") or ())
    (programs / "pip").write_text(_PIP.format(python=sys.executable, extras=extras))
    (programs / "srun").write_text(_SRUN)
    (programs / "mpirun").write_text(_MPIRUN)
    for program in programs.iterdir():
        program.chmod(0o755)
    assert shutil.which("bash")
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return clean_environment(PATH=path)
