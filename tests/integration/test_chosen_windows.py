"""Windows of chosen groups on the stand-in driver and CUPTI: the native part of ``ftprof selftest``."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from cuda_standins import BF16, FFMA, FP16, TF32, Standins

KERNELS = {name: {metric: 1000 + i, "duration_us": 50} for i, (name, metric) in enumerate(
    {"bf16": BF16, "fp16": FP16, "tf32": TF32, "ffma": FFMA}.items()
)}  # fmt: skip
PROLOGUE = """
import json
from python_cuda import Gpu, call
from ctypes import byref, c_void_p
from ftprof import _native
from ftprof.measure.cupti_search import search_roots

gpu = Gpu()
_native.load_cupti(search_roots())
(context,) = _native.cuda_contexts()
windows = _native.ChosenWindows(context)
groups = windows.plan["groups"]
place = {group["role"]: number for number, group in reversed(list(enumerate(groups)))}

def count(group, *kernels):
    windows.begin(group)
    for kernel in kernels:
        gpu.launch(kernel)
    gpu.synchronize()
    return dict(zip([m["name"].removesuffix(".sum") for m in groups[group]["metrics"]], windows.end(), strict=True))

def refused(act):
    try:
        act()
    except _native.CuptiError as error:
        return [error.call, error.code, error.name]
"""


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Standins:
    return Standins(folder, tmp_path)


def run(standins: Standins, program: str, **script: Any) -> Any:
    path = standins.work / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(program))
    environment = standins.environment({"kernels": KERNELS, **script}, PYTHONPATH=str(REPOSITORY / "tests"))
    done = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert standins.violations() == []
    return json.loads(done.stdout)


def test_each_group_counts_what_lies_in_its_window_and_nothing_else(standins: Standins) -> None:
    program = """
        _native.captures_are_announced()
        gpu.launch("bf16", 5)
        gpu.synchronize()
        print(json.dumps([[group["role"], count(number, *"bf16 fp16 fp16 tf32 ffma".split())]
                          for number, group in enumerate(groups)]))
    """
    rows = run(standins, program)
    found = {metric: counts for _, row in rows for metric, counts in row.items()}
    assert (found[BF16], found[FP16]) == (1000, 2002)
    assert (found[TF32], found[FFMA]) == (1002, 1003)
    assert rows[0][0] == "base"
    assert sum(count for metric, count in found.items() if "ops_path" in metric) == 1000 + 2002 + 1002
    assert {role for role, _ in rows} >= {"base", "rotating", "cuda-core", "link"}


def test_code_is_patched_only_where_no_capture_can_come(standins: Standins) -> None:
    program = """
        core = place["cuda-core"]
        said = [refused(lambda: windows.begin(core))]
        _native.captures_are_announced()
        _native.capture_begins()
        said.append(refused(lambda: windows.begin(core)))
        said.append(count(place["base"], "bf16")["sm__ops_path_tensor_src_bf16_dst_fp32"])
        _native.capture_ends()
        said.append(count(core, "ffma")["smsp__sass_thread_inst_executed_op_ffma_pred_on"])
        print(json.dumps(said))
    """
    first, second, hardware, patched = run(standins, program)
    assert first == second == ["open a window", 0, "code may not be patched now: a stream is being captured"]
    assert (hardware, patched) == (1000, 1003)


@pytest.mark.parametrize("call", ["cuptiRangeProfilerSetConfig", "cuptiRangeProfilerPopRange"])
def test_after_a_failure_the_next_window_counts(standins: Standins, call: str) -> None:
    program = """
        print(json.dumps([refused(lambda: count(0, "bf16")), count(0, "bf16"), refused(windows.end),
                          refused(lambda: windows.begin(99)), windows.close(), refused(lambda: windows.begin(0))]))
    """
    failed, counted, not_open, no_group, _, closed = run(standins, program, failures=[{"call": call, "code": 35}])
    assert failed[:2] == [call, 35]
    assert counted[BF16] == 1000
    assert not_open[2] == "none is open"
    assert no_group[2] == "the plan has no such group"
    assert closed[2] == "they were closed"
