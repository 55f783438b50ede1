"""Each weakness of the AWS Fine-Tuning FLOPs Meter that shows in a run, and that ftprof has it not.

The ids (D1, P1, R1, ...) are those of the list of weaknesses that ftprof was built against; the thresholds are in
tests/unit/test_aws_weaknesses_verdicts.py. The GPUs here are a stand-in's, which says nothing about hardware.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Wrapped, clean_environment, ftprof
from counted_runs import SCRIPT, SHORT, wrapped
from cuda_standins import Standins, build
from nvml_standin import Standin, nvml_library, sample, standin  # noqa: F401

from ftprof.record.device_window import device_totals
from ftprof.report.run_text import METHOD_MEANING

Run = Callable[..., Wrapped]

PEAKS = """
import json
from ftprof.measure.nvml import Nvml
from ftprof.record.peaks import peak_flops_per_second
print(json.dumps({
    gpu.info.name: peak_flops_per_second(gpu.info.capability, gpu.info.multiprocessors, gpu.info.max_sm_clock_khz)
    for gpu in Nvml().gpus()
}))
"""


def test_d1_d2_d3_a_gpus_name_decides_nothing(standin: Standin) -> None:  # noqa: F811
    """The peak is that of capability, size and clock, as NVML gives them; of an unknown capability there is none."""
    same = ("NVIDIA H200", "NVIDIA H20", "NVIDIA GH200 480GB", "NVIDIA A10", "something")
    for index, name in enumerate(same):
        standin.gpu(index, name=name)
    standin.gpu(5, name="NVIDIA H100 PCIe", cores="14592").gpu(6, name="NVIDIA A10G", capability="8.6", cores="9216")
    standin.gpu(7, name="NVIDIA A100-like", capability="42.0")
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], env=standin.environment(), capture_output=True, text=True, check=True
    )
    peaks = json.loads(done.stdout)
    assert {peaks[name] for name in same} == {132 * 1_980_000_000 * (16384 + 512)}
    assert peaks["NVIDIA H100 PCIe"] == 114 * 1_980_000_000 * (16384 + 512)
    assert peaks["NVIDIA A10G"] == 72 * 1_980_000_000 * (2048 + 512)
    assert peaks["NVIDIA A100-like"] is None


def test_d3_an_unknown_peak_is_said(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, name="NVIDIA V100", capability="7.0", processes_file=str(ids))
    (window,) = sample(standin.environment(), ids=str(ids))["windows"]
    assert window.estimate.high is None
    assert window.note.startswith("NVIDIA V100: nothing bounds it, ")
    assert "compute capability 7.0" in window.note


def test_d4_an_estimate_is_no_upper_bound_and_the_bound_holds_fp8(
    standin: Standin,  # noqa: F811
    tmp_path: Path,
) -> None:
    ids = tmp_path / "ids"
    standin.gpu(0, processes_file=str(ids), gpm__5="100", gpm__7="100")
    totals = {total.method: total for total in device_totals(sample(standin.environment(), ids=str(ids))["windows"])}
    estimate, bound = totals["gpm"].estimate, totals["peak-bound"].estimate
    assert estimate.low < (estimate.flops or 0) < (estimate.high or 0)
    assert bound.low == 0
    dense_fp8 = 8192 * 132 * 1_980_000_000 * totals["peak-bound"].time_us // 10**6
    assert (bound.high or 0) > dense_fp8 > (estimate.flops or 0)
    assert "estimate" in METHOD_MEANING["gpm"]
    assert "bound" not in METHOD_MEANING["gpm"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("nvmlInitWithFlags", "the GPUs cannot be watched: nvmlInit: error 15"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "who uses NVIDIA H200 cannot be seen"),
    ],
)
def test_d6_an_nvml_that_fails_is_in_the_record(
    standin: Standin,  # noqa: F811
    wrap: Run,
    call: str,
    reason: str,
) -> None:
    environment = standin.gpu().set(**{f"fail__{call}": "15"}).environment()
    run = wrap(["sleep", "0.5"], "--method", "peak-bound", env=environment)
    assert run.code == 0
    assert run.record["complete"] is False
    assert any(reason in line for line in run.record["reasons"])
    assert {verdict["verdict"] for verdict in run.record["verdicts"]} == {"undetermined"}


def test_d7_own_gpus_by_uuid_each_once_and_nobody_elses(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    """Two processes of the run on one GPU take its time once; another tenant's GPU is not taken."""
    ids = tmp_path / "ids"
    program = (
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '1.2'])\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()}\\n{child.pid}\\n')\nchild.wait()"
    )
    standin.gpu(0, processes_file=str(ids)).gpu(1, processes="1")
    command = [sys.executable, "-c", program, str(ids)]
    answer = sample(standin.environment(CUDA_VISIBLE_DEVICES="0"), command=command, gpm=False)
    (total,) = device_totals(answer["windows"])
    assert total.device.uuid == "GPU-0"
    assert total.time_us <= answer["ended_us"] - answer["began_us"]


def test_d8_what_was_not_measured_is_said(wrap: Run) -> None:
    """No GPU and no torch: nothing is counted, which is no zero and no verdict."""
    run = wrap([sys.executable, "-c", "print(1)"])
    assert (run.code, run.out) == (0, "1\n")
    assert run.record["flops"] is None
    assert run.record["reasons"] == ["no Python process that imports torch was seen"]
    assert {verdict["verdict"] for verdict in run.record["verdicts"]} == {"undetermined"}
    assert run.err.startswith("ftprof: nothing was counted\n")


N, D, R = 32, 48, 4  # tokens, width, rank of an adapter
BLOCKS = f"""
import json, warnings
warnings.simplefilter("ignore")
import torch, ftprof
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
N, D, R = {N}, {D}, {R}
told = {{}}
def counted(name, work, **facts):
    with ftprof.count() as run:
        work()
    told[name] = {{"flops": run.flops, "high": run.interval.high, **facts}}

class Lora(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(D, D, bias=False)
        self.down, self.up = nn.Linear(D, R, bias=False), nn.Linear(R, D, bias=False)
        self.base.weight.requires_grad_(False)
    def forward(self, x):
        return self.base(x) + self.up(self.down(x))
adapted = nn.Sequential(Lora(), Lora())
counted("lora", lambda: adapted(torch.ones(N, D)).sum().backward(),
        parameters=sum(p.numel() for p in adapted.parameters()))

class FourBit(nn.Module):
    "Two weights a byte, kept as bfloat16, as quantisers do for sharding."
    def __init__(self):
        super().__init__()
        packed = torch.zeros(D * D // 2, dtype=torch.uint8).view(torch.bfloat16)
        self.packed = nn.Parameter(packed, requires_grad=False)
    def forward(self, x):
        nibbles = self.packed.view(torch.uint8)
        weight = torch.stack((nibbles >> 4, nibbles & 15), 1).reshape(D, D).float()
        return F.linear(x, weight)
quantised = FourBit()
counted("packed", lambda: quantised(torch.ones(N, D)), parameters=sum(p.numel() for p in quantised.parameters()))

sharded = nn.Linear(D, D, bias=False)
whole = sharded.weight.data
empty = torch.empty(0)
def gather(*_): sharded.weight.data = whole
def release(*_): sharded.weight.data = empty
sharded.register_forward_pre_hook(gather)
sharded.register_forward_hook(release)
release()
parameters = sum(p.numel() for p in sharded.parameters())
with torch.no_grad():
    counted("partitioned", lambda: sharded(torch.ones(N, D)), parameters=parameters)

plain = nn.Linear(D, D, bias=False)
padded, full = torch.zeros(N, D), torch.ones(N, D)
padded[: N // 4] = 1
with torch.no_grad():
    counted("padded", lambda: plain(padded))
    counted("full", lambda: plain(full))

def accumulated():
    optimiser = torch.optim.SGD(plain.parameters())
    for _ in range(3):
        plain(full).sum().backward()
    optimiser.step()
counted("accumulated", accumulated)

experts = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(4))
with torch.no_grad():
    counted("experts", lambda: [experts[i % 2](full[i::4]) for i in range(4)],
            parameters=sum(p.numel() for p in experts.parameters()))
    for length in (64, 128):
        q = torch.ones(1, 1, length, 16)
        counted(f"attention {{length}}", lambda: F.scaled_dot_product_attention(q, q, q))
grown = torch.ones(N, D, requires_grad=True)
two = nn.Sequential(plain, nn.Linear(D, D, bias=False))
counted("kept", lambda: two(grown).sum().backward())
counted("recomputed", lambda: checkpoint(two, grown, use_reentrant=False).sum().backward())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was counted in each block of a program, with its own parameter counts."""
    program = tmp_path_factory.mktemp("blocks") / "program.py"
    program.write_text(BLOCKS)
    done = subprocess.run(
        [sys.executable, str(program)], env=clean_environment(), cwd=program.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert all(block["flops"] == block["high"] for block in told.values())
    return told


def test_p1_frozen_weights_get_no_gradient_and_none_is_counted(blocks: dict[str, dict[str, Any]]) -> None:
    """The adapters are there when it is counted: no parameter is, only the products that run."""
    lora = blocks["lora"]
    small = 2 * N * R * D
    forward = 2 * (2 * N * D * D + 2 * small)
    second = 2 * N * D * D + 4 * small  # both adapters' gradients, and that of the input through all three
    first = 3 * small  # the input needs none
    assert lora["flops"] == forward + second + first
    assert lora["flops"] < 4 * lora["parameters"] * N < 6 * lora["parameters"] * N


def test_p2_four_bit_storage_is_not_what_is_counted(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["packed"]["parameters"] == D * D // 4
    assert blocks["packed"]["flops"] == 2 * N * D * D


def test_p3_weights_that_lie_elsewhere_count_as_they_run(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["partitioned"]["parameters"] == 0
    assert blocks["partitioned"]["flops"] == 2 * N * D * D


def test_p4_padding_is_executed_and_in_the_number_which_the_answer_says(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["padded"]["flops"] == blocks["full"]["flops"] == 2 * N * D * D
    assert "padding" in ftprof("check", "--flops", "1", "--policy", "ec-2025").stdout


def test_p5_every_micro_step_counts_without_a_hook_of_the_trainer(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["accumulated"]["flops"] == 3 * (2 * N * D * D + 2 * N * D * D)


@pytest.mark.slow
def test_p6_ranks_count_their_own_part_and_never_wait_for_each_other(wrap_python: Run) -> None:
    """A product split over two ranks counts once; one rank works longer than the other, and nobody hangs."""
    run = wrap_python(
        f"""
        import os, subprocess, sys
        if len(sys.argv) == 1:
            ranks = [subprocess.Popen([sys.executable, __file__, str(r)], env={{**os.environ, "RANK": str(r)}})
                     for r in range(2)]
            sys.exit(max(rank.wait() for rank in ranks))
        import torch
        rank = int(sys.argv[1])
        torch.ones({N}, {D}) @ torch.ones({D}, {D})[:, rank * {D // 2}:(rank + 1) * {D // 2}]
        for _ in range(3 * rank):
            torch.ones({N}, {D}) @ torch.ones({D}, 1)
        """
    )
    assert run.code == 0, run.err
    assert run.flops == 2 * N * D * D + 3 * 2 * N * D
    ranks = {p["rank"]["rank"]: int(p["flops"]) for p in run.record["processes"] if p["rank"]}
    assert ranks == {0: N * D * D, 1: N * D * D + 3 * 2 * N * D}


def test_p7_experts_that_are_not_asked_do_not_count(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["experts"]["parameters"] == 4 * D * D
    assert blocks["experts"]["flops"] == 2 * N * D * D


def test_p7_attention_grows_with_the_square_of_the_length(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["attention 128"]["flops"] == 4 * blocks["attention 64"]["flops"] > 0


def test_p7_what_is_computed_again_is_executed_again(blocks: dict[str, dict[str, Any]]) -> None:
    assert blocks["kept"]["flops"] == 3 * 2 * (2 * N * D * D)
    assert blocks["recomputed"]["flops"] == blocks["kept"]["flops"] + 2 * N * D * D  # the second layer's is not needed


WORK = "import torch; [torch.ones(64, 64) @ torch.ones(64, 64) for _ in range({})]"
ONE = 2 * 64**3


def test_r1_a_killed_training_leaves_its_record(wrap_python: Run) -> None:
    run = wrap_python(
        f"""
        import os, signal, time
        {WORK.format(3)}
        time.sleep(1.2)  # a window closes
        torch.ones(64, 64) @ torch.ones(64, 64)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert run.code == 137
    assert int(run.record["low"]) >= 3 * ONE
    assert (run.record["complete"], run.record["high"]) == (False, None)
    assert {verdict["verdict"] for verdict in run.record["verdicts"]} == {"undetermined"}


@pytest.mark.slow
def test_r2_a_resumed_training_adds_up_and_overwrites_nothing(tmp_path: Path) -> None:
    """Each part has its own record; one is never written over another, and merge adds them."""
    first, second, both = (tmp_path / name for name in ("first.json", "second.json", "both.json"))
    for path, times in ((first, 3), (second, 4)):
        command = [sys.executable, "-c", WORK.format(times)]
        assert ftprof("wrap", "-q", "-o", str(path), "--", *command).returncode == 0
    refused = ftprof("wrap", "-q", "-o", str(first), "--", sys.executable, "-c", WORK.format(1))
    assert refused.returncode == 125
    assert json.loads(first.read_text())["flops"] == str(3 * ONE)
    assert ftprof("merge", str(first), str(second), "-o", str(both)).returncode == 0
    merged = json.loads(both.read_text())
    assert (merged["flops"], len(merged["runs"])) == (str(7 * ONE), 2)
    assert ftprof("merge", str(first), str(both), "-o", str(tmp_path / "more.json")).returncode == 1


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A record of a plain run."""
    path = tmp_path_factory.mktemp("record") / "record.json"
    options = ["--pretrain-params", "1.23e9", "--pretrain-tokens", "9e12"]
    done = ftprof("wrap", "-q", "-o", str(path), *options, "--", sys.executable, "-c", WORK.format(2))
    assert done.returncode == 0, done.stderr
    return path, json.loads(path.read_text())


def test_r3_operations_are_exact_integers(record: tuple[Path, dict[str, Any]]) -> None:
    _, content = record
    assert content["flops"] == str(2 * ONE)
    rows = [content, *content["counts"], *content["processes"]]
    figures = [str(row[key]) for row in rows for key in ("flops", "low", "high", "calls") if key in row]
    assert len(figures) > 5
    assert all(re.fullmatch(r"0|[1-9][0-9]*", figure) for figure in figures)


def test_r4_a_record_says_by_what_when_and_on_what_it_was_made(record: tuple[Path, dict[str, Any]]) -> None:
    path, content = record
    (run,), process = content["runs"], content["processes"][0]
    assert content["schema"] == "ftprof.record/1"
    assert run["ftprof"] == ftprof("--version").stdout.split()[1]
    assert run["began_us"] <= process["began_us"] <= process["last_us"] <= run["ended_us"]
    assert {"torch", "python"} <= set(process["software"])
    assert process["devices"]
    assert content["low"] == content["high"] == content["flops"]
    assert content["policy_inputs"]["pretrain_flops_low"] == str(6 * 1_230_000_000 * 9 * 10**12)
    assert content["policy_inputs"]["pretrain_low_kind"] == "derived by 6PD"
    assert "Annex A.2, paragraph 132" in content["policy_inputs"]["pretrain_source"]
    changed = path.with_name("changed.json")
    changed.write_text(path.read_text().replace(str(2 * ONE), str(3 * ONE)))
    assert ftprof("check", str(changed)).returncode == 1


def test_r4_counters_have_their_driver_their_library_and_their_margin(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = wrapped(Standins(build(tmp_path_factory), tmp_path), SCRIPT, *SHORT).record
    (process,) = [process for process in content["processes"] if process["method"] in ("counters", "sampled")]
    assert process["software"]["driver"]
    assert process["software"]["cupti"]
    assert int(content["low"]) <= int(content["flops"]) <= int(content["high"])
    assert process["devices"][0]["uuid"] == SCRIPT["devices"][0]["uuid"]


def test_r5_the_closing_block_classifies_nobody(wrap: Run) -> None:
    run = wrap([sys.executable, "-c", WORK.format(1)], "--pretrain-flops", "1000")
    assert "ec-2025       above" in run.err
    assert not set(run.err.lower().split()) & {"you", "you're", "classified", "provider", "obligations"}
