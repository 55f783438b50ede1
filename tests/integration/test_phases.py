"""Phases of a real training on the CPU: torch's checkpointing, Hugging Face's Trainer, marks and NVTX ranges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment
from training_programs import TRAINER

pytest.importorskip("torch", reason="phases are those of torch's operators")

MODEL = """
import sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
mode = sys.argv[1]
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=50,
))
if mode != "none":
    model.gradient_checkpointing_enable({"use_reentrant": mode == "reentrant"})
    model.enable_input_require_grads()
else:
    model.enable_input_require_grads()
model.train()
ids = torch.randint(0, 50, (2, 16))
for _ in range(2):
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
"""

LAYERS = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
"""


def phases(record: dict[str, Any]) -> dict[str, int]:
    return {phase: int(flops) for phase, flops in record["by_phase"].items()}


@pytest.fixture
def trained(wrap_python: Callable[..., Any]) -> Callable[[str], dict[str, Any]]:
    def train(mode: str) -> dict[str, Any]:
        run = wrap_python(MODEL, "-q", arguments=[mode])
        assert run.code == 0, run.err
        return dict(run.record)

    return train


FORWARD_OF_THE_LAYERS = """
from torch.utils.flop_counter import FlopCounterMode
from ftprof.measure.analytic.hook import extra_formulas
with FlopCounterMode(display=False, depth=9, custom_mapping=extra_formulas()) as mode, torch.no_grad():
    model(input_ids=ids, labels=ids, use_cache=False)
counts = mode.get_flop_counts()
layers = [name for name in counts if name.rpartition(".")[0].endswith("model.layers")]
last = [name for name in counts if name.endswith(".down_proj")]
print(len(layers), len(last), *(sum(sum(counts[name].values()) for name in names) for names in (layers, last)))
"""


@pytest.mark.slow
def test_checkpointing_changes_the_executed_figure_alone(
    trained: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    """Guidelines-basis is equal to the operation; executed differs by the forward of the layers, by torch's counter."""
    program = tmp_path / "forward.py"
    program.write_text(MODEL + FORWARD_OF_THE_LAYERS)
    counted = subprocess.run(
        [sys.executable, str(program), "none"], env=clean_environment(), capture_output=True, text=True, check=True
    )
    layers, lasts, forward, last = map(int, counted.stdout.split())
    assert (layers, lasts) == (3, 3)
    assert forward > last > 0
    bare = trained("none")
    assert set(phases(bare)) == {"train"}
    for mode in ("reentrant", "not reentrant"):
        record = trained(mode)
        again = phases(record)["recompute"]
        # Two steps. Without reentry torch stops once it has what the backward needs: before a layer's last product.
        assert again == 2 * (forward if mode == "reentrant" else forward - last), mode
        assert phases(record)["train"] == int(bare["flops"])
        assert int(record["flops"]) == int(bare["flops"]) + again
        assert record["guidelines_basis"]["flops"] == bare["guidelines_basis"]["flops"] == bare["flops"]
        (part,) = record["guidelines_basis"]["parts"]
        assert (part["name"], part["basis"], part["flops"]) == ("recompute", "measured", str(again))


@pytest.mark.slow
def test_what_is_computed_again_is_the_forward_of_the_layers(wrap_python: Callable[..., Any]) -> None:
    """By hand: three layers of two products, forward 2mnk each; nothing else is computed again."""
    program = (
        LAYERS
        + """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
    def forward(self, x):
        return torch.relu(self.down(torch.relu(self.up(x))))
blocks = nn.ModuleList(Block() for _ in range(3))
x = torch.randn(8, 32, requires_grad=True)
for reentrant in (True, False):
    out = x
    for block in blocks:
        out = checkpoint(block, out, use_reentrant=reentrant)
    out.sum().backward()
"""
    )
    forward = 3 * 2 * (2 * 8 * 32 * 64)
    assert phases(wrap_python(program).record) == {"train": 2 * 3 * forward, "recompute": 2 * forward}


@pytest.mark.slow
def test_a_checkpoint_in_a_checkpoint_and_a_backward_in_a_thread(wrap_python: Callable[..., Any]) -> None:
    program = (
        LAYERS
        + """
import threading
layer = nn.Linear(16, 16)
def inner(x):
    return torch.relu(layer(x))
def outer(x):
    return torch.relu(checkpoint(inner, x, use_reentrant=True))
x = torch.randn(4, 16, requires_grad=True)
loss = checkpoint(outer, x, use_reentrant=True).sum()
thread = threading.Thread(target=loss.backward)
thread.start()
thread.join()
"""
    )
    product = 2 * 4 * 16 * 16
    # Forward; again for the outer one; again for the inner one, whose backward is the training's.
    assert phases(wrap_python(program).record) == {"train": 3 * product, "recompute": 2 * product}


@pytest.mark.slow
def test_an_error_out_of_a_checkpoint_leaves_its_phase(wrap_python: Callable[..., Any]) -> None:
    program = (
        LAYERS
        + """
times = []
def fails(x):
    times.append(1)
    if len(times) > 1:
        raise KeyError("again")
    return torch.mm(x, x)
x = torch.randn(4, 4, requires_grad=True)
try:
    checkpoint(fails, x, use_reentrant=True).sum().backward()
except KeyError:
    pass
torch.mm(x.detach(), x.detach())
"""
    )
    assert phases(wrap_python(program).record) == {"train": 2 * 2 * 4**3}


@pytest.mark.slow
def test_the_trainer_s_evaluation_is_a_phase(wrap_python: Callable[..., Any]) -> None:
    bare = phases(wrap_python(TRAINER, "-q").record)
    assert set(bare) == {"train"}
    full = wrap_python(TRAINER, "-q", arguments=["evaluate", "predict", "checkpoint"])
    assert full.code == 0
    found = phases(full.record)
    assert found["train"] == bare["train"]
    # A training step of two rows is three forwards; eight rows in two evaluations, two in the prediction.
    step = bare["train"] // 4
    assert step * 5 // 4 < found["evaluate"] < step * 2
    assert found["recompute"] > 0
    assert full.record["guidelines_basis"]["flops"] == str(bare["train"])
    assert {part["name"] for part in full.record["guidelines_basis"]["parts"]} == {"evaluate", "recompute"}


def test_marks_hold_for_their_thread_and_the_innermost_wins(wrap_python: Callable[..., Any]) -> None:
    program = """
import threading
import torch
import ftprof
def product(n):
    torch.mm(torch.ones(n, n), torch.ones(n, n))
@ftprof.phase("generate")
def generate():
    product(3)
with ftprof.phase("evaluate"):
    product(2)
    generate()
    with ftprof.phase("train"):
        product(5)
    worker = threading.Thread(target=product, args=(7,))  # it has entered none: the main thread's holds
    worker.start(); worker.join()
def own():
    with ftprof.phase("auxiliary"):
        product(11)
    product(13)
worker = threading.Thread(target=own)
worker.start(); worker.join()
try:
    ftprof.phase("eval")
except ValueError as error:
    print(error)
"""
    run = wrap_python(program)
    assert "choose from train, recompute, evaluate, generate, auxiliary" in run.out
    cube = {"evaluate": 2**3 + 7**3, "generate": 3**3, "train": 5**3 + 13**3, "auxiliary": 11**3}
    assert phases(run.record) == {phase: 2 * n for phase, n in cube.items()}


def test_marks_without_any_count_do_nothing() -> None:
    import ftprof

    with ftprof.phase("evaluate"):
        pass


@pytest.mark.slow
def test_a_phase_in_count_and_in_a_forked_child(wrap_python: Callable[..., Any]) -> None:
    program = """
import os
import torch
import ftprof
def product(n):
    torch.mm(torch.ones(n, n), torch.ones(n, n))
with ftprof.count() as run:
    product(2)
    with ftprof.phase("evaluate"):
        product(3)
        if os.fork() == 0:
            product(5)
            os._exit(0)
        os.wait()
print(run.record.by_phase)
"""
    run = wrap_python(program)
    assert run.out.endswith("{'evaluate': 54, 'train': 16}\n")
    assert phases(run.record) == {"evaluate": 2 * (3**3 + 5**3), "train": 16}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torch.cuda.nvtx", "nvtx"])
def test_nvtx_ranges_that_name_a_phase(wrap_python: Callable[..., Any], package: str) -> None:
    """torch's own ranges need a GPU build: its C functions are stood in for, what calls them is torch's."""
    if package == "nvtx":
        pytest.importorskip("nvtx", reason="the package of that name")
    programs = {
        "torch.cuda.nvtx": """
import torch.cuda.nvtx as nvtx
class C:
    def rangePushA(self, message): return 1
    def rangePop(self): return 0
    def rangeStartA(self, message): return 17
    def rangeEnd(self, handle): pass
nvtx._nvtx = C()
with nvtx.range("evaluate"):
    product(2)
handle = nvtx.range_start("auxiliary")
product(3)
nvtx.range_end(handle)
nvtx.range_push("a step"); nvtx.range_push("generate")
product(5)
nvtx.range_pop()
product(7)
nvtx.range_pop()
""",
        "nvtx": """
import nvtx
with nvtx.annotate("evaluate", color="blue"):
    product(2)
@nvtx.annotate("auxiliary")
def auxiliary():
    product(3)
auxiliary()
@nvtx.annotate()
def plain():
    product(7)
nvtx.push_range("a step"); nvtx.push_range("generate")
product(5)
nvtx.pop_range()
plain()
nvtx.pop_range()
""",
    }
    work = "import torch\ndef product(n):\n    torch.mm(torch.ones(n, n), torch.ones(n, n))\n"
    run = wrap_python(work + programs[package])
    assert (run.code, run.err.count("Traceback")) == (0, 0)
    assert phases(run.record) == {"evaluate": 16, "auxiliary": 54, "generate": 250, "train": 686}


def test_functions_that_tell_phases_keep_names_and_signatures(wrap_python: Callable[..., Any]) -> None:
    """A program may hand them to another process, which finds them by their names, or ask what they take."""
    pytest.importorskip("nvtx", reason="the package of that name")
    program = """
import inspect, pickle
import nvtx, torch.cuda.nvtx, torch.utils.checkpoint as module
functions = [module.CheckpointFunction.backward, module._CheckpointFrame.__init__]
functions += [getattr(torch.cuda.nvtx, name) for name in ("range_push", "range_pop", "range_start", "range_end")]
functions += [nvtx.push_range, nvtx.pop_range]
assert [pickle.loads(pickle.dumps(function)) for function in functions] == functions
for function in [*functions, nvtx.annotate.__init__, nvtx.annotate.__call__]:
    print(function.__module__, function.__qualname__, inspect.signature(function), (function.__doc__ or "")[:60])
"""
    run = wrap_python(program, "-q")
    bare = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert (run.code, run.out, run.err) == (0, bare.stdout, bare.stderr)
