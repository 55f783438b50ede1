"""Writes run directories as a big run leaves them, in the journals' own format, for the benchmarks.

The counts are made up, and hold what a reader checks: sums and squares are of windows that were drawn.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ftprof.record.canonical import FIRST_HASH, canonical
from ftprof.record.rollup import Stratum, Sums

BEGAN_US = 1_795_000_000_000_000
SLOT_US = 3_800_000
SLOTS = 34
DEVICE = {"name": "NVIDIA H200", "capability": "9.0", "chip": "GH100", "multiprocessors": 132, "clock_khz": 1_980_000}
SOFTWARE = {"cupti": "13.0", "cupti_path": "/opt/cuda/lib/libcupti.so.13", "cupti_origin": "CUDA toolkit",
            "cupti_warning": "", "driver": "13.0", "system": "Linux 6.8"}  # fmt: skip
_TENSOR, _SASS = "sm__ops_path_tensor_", "smsp__sass_thread_inst_executed"
_CYCLES = ("sm__cycles_active", "", "cycles", 0)
_SASS_OPS = [(f"{_SASS}_op_{t}{op}_pred_on", precision, "cuda-core", weight * lanes)
             for t, precision, lanes in (("f", "fp32", 1), ("d", "fp64", 1), ("h", "fp16", 2))
             for op, weight in (("add", 1), ("mul", 1), ("fma", 2))]  # fmt: skip
# The groups that ftprof plans for a GH100 (tests/integration/test_plan_real_cupti.py), with what each metric counts.
_GH100: list[tuple[str, list[tuple[str, str, str, int]]]] = [
    ("base", [(f"{_TENSOR}src_bf16_dst_fp32", "bf16", "floating", 1),
              (f"{_TENSOR}op_hgmma_src_fp16", "fp16", "floating", 1), (f"{_TENSOR}src_fp8", "fp8", "floating", 1)]),
    ("rotating", [(f"{_TENSOR}op_hmma_src_fp16_dst_fp32", "fp16", "floating", 1)]),
    ("rotating", [(f"{_TENSOR}op_hmma_src_fp16_dst_fp16", "fp16", "floating", 1),
                  (f"{_TENSOR}src_fp64", "fp64", "floating", 1)]),
    ("rotating", [(f"{_TENSOR}src_tf32_dst_fp32", "tf32", "floating", 1)]),
    ("cuda-core", _SASS_OPS),
    ("link", [("smsp__thread_inst_executed", "", "instructions", 0)]),
    ("integer", [(f"{_TENSOR}op_igmma_src_int8", "int8", "integer", 1),
                 (f"{_TENSOR}op_imma_src_int8_sparsity_off", "int8", "integer", 1)]),
    ("integer", [(f"{_TENSOR}op_imma_src_int8_sparsity_on", "int8", "integer", 1)]),
    ("integer", [(f"{_TENSOR}src_int1", "int1", "integer", 1)]),
    ("sparse", [(f"{_TENSOR}op_{op}_src_{p}_sparsity_on", p.partition("_")[0], "sparse", 1)
                for op, p in (("hgmma", "bf16_dst_fp32"), ("hmma", "bf16_dst_fp32"), ("hgmma", "fp16"),
                              ("hmma", "fp16_dst_fp32"), ("hgmma", "tf32_dst_fp32"))]
               + [(f"{_TENSOR}src_fp8_sparsity_on", "fp8", "sparse", 1)]),
    ("sparse", [(f"{_TENSOR}op_hmma_src_fp16_dst_fp16_sparsity_on", "fp16", "sparse", 1),
                (f"{_TENSOR}op_hmma_src_tf32_dst_fp32_sparsity_on", "tf32", "sparse", 1)]),
]  # fmt: skip


def whole_plan() -> list[dict[str, Any]]:
    """The eleven groups of a GH100, as a ``context`` line has them: 28 metrics that count operations."""
    found = []
    for role, metrics in _GH100:
        last = [(_SASS, "", "instructions", 0)] if role == "cuda-core" else [_CYCLES]
        rows = [
            {"name": f"{name}.sum", "precision": precision, "kind": kind, "weight": weight}
            for name, precision, kind, weight in [*metrics, *last]
        ]
        found.append({"role": role, "metrics": rows})
    return found


def small_plan() -> list[dict[str, Any]]:
    """Four groups with one metric each: bf16, tf32, the multiply-adds of fp32, and the link between them."""
    base, tf32, patched, link = (whole_plan()[index] for index in (0, 3, 4, 5))
    kept = ("src_bf16_dst_fp32.sum", "op_ffma_pred_on.sum", f"{_SASS}.sum", f"{_CYCLES[0]}.sum")
    for group in (base, patched):
        group["metrics"] = [metric for metric in group["metrics"] if metric["name"].endswith(kept)]
    return [base, tf32, patched, link]


def write_chain(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write a journal: each line with its own hash and that of the line before it."""
    previous, texts = FIRST_HASH, []
    for line in lines:
        whole = {**line, "previous": previous}
        previous = hashlib.sha256(canonical(whole)).hexdigest()
        texts.append(canonical({**whole, "hash": previous}))
    path.write_bytes(b"\n".join([*texts, b""]))


class Windows:
    """Draws the windows of one process: which group has a slot, and what it counts."""

    def __init__(self, plan: Sequence[dict[str, Any]], seed: int) -> None:
        self._plan = plan
        self._chance = random.Random(seed)
        self._rotating = [index for index, group in enumerate(plan) if group["role"] == "rotating"]
        self._others = [i for i, group in enumerate(plan) if group["role"] not in ("base", "rotating")]

    def stratum(self, number: int) -> list[int]:
        """The groups of its slots: each rotating one once, the others taking turns over six strata."""
        turn = self._others[number % 6 :: 6]
        slots = [*self._rotating, *turn]
        slots += [0] * (SLOTS - len(slots))
        self._chance.shuffle(slots)
        return slots

    def counts(self, group: int) -> list[int]:
        """Of bf16 training with fp32 on the CUDA cores; all else is zero."""
        busy = self._chance.uniform(0.55, 0.95)
        cycles = int(busy * SLOT_US * 1_980 * 132)
        found = []
        for metric in self._plan[group]["metrics"]:
            name = metric["name"]
            rate = 0.0
            if metric["kind"] == "cycles":
                found.append(cycles)
                continue
            if metric["kind"] == "instructions":
                rate = 60.0
            elif "src_bf16_dst_fp32.sum" in name:
                rate = 1900.0
            elif "op_ffma" in name or "op_fadd" in name or "op_fmul" in name:
                rate = 3.0
            found.append(int(cycles * rate * self._chance.uniform(0.9, 1.1)))
        return found


def day_of_process(
    number: int, processes: int, strata: int, open_windows: int, plan: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The lines of one of so many processes, on one GPU: header, context, roll-up, the windows since, the end."""
    identity = {"host": f"node{number // 8:04d}", "boot": f"{number // 8:08x}-0000-4000-8000-000000000000",
                "pid": 4000 + number % 8, "start_ticks": 5000 + number}  # fmt: skip
    yield {
        "kind": "header", "schema": "ftprof.journal/1", "run": "5ca1ab1e00000000", "role": "process",
        "method": "counters", **identity, "parent_pid": 3999, "time_us": BEGAN_US, "software": SOFTWARE,
        "rank": {"rank": number, "local_rank": number % 8, "world_size": processes}, "devices": [], "unwatched": [],
    }  # fmt: skip
    device = {"device": f"cuda:{number % 8}", "uuid": f"GPU-{number:08x}-0000-4000-8000-000000000000", **DEVICE}
    yield {"kind": "context", "context": 0, "device": device, "groups": list(plan), "unsupported": [],
           "seed": str(number), "begin_us": BEGAN_US}  # fmt: skip
    windows, now_us = Windows(plan, number), BEGAN_US
    finished = []
    for stratum_number in range(strata):
        stratum = Stratum(stratum_number, now_us, now_us)
        for group in windows.stratum(stratum_number):
            metrics = plan[group]["metrics"]
            denominator = len(metrics) - 1
            sums = Sums.of_window(SLOT_US, windows.counts(group), denominator)
            stratum.add(Stratum(stratum_number, now_us, now_us + SLOT_US, {group: sums}))
            now_us += SLOT_US + 20_000
        finished.append(stratum.to_json(0))
    if finished:
        yield {"kind": "rollup", "replaces_head": hashlib.sha256(str(number).encode()).hexdigest(),
               "replaced_lines": strata * SLOTS + 2, "first_us": BEGAN_US, "last_us": now_us - 20_000,
               "strata": finished}  # fmt: skip
    for index in range(open_windows):
        stratum_number = strata + index // SLOTS
        if index % SLOTS == 0:
            slots = windows.stratum(stratum_number)
        group = slots[index % SLOTS]
        yield {"kind": "counts", "context": 0, "group": group, "stratum": stratum_number, "begin_us": now_us,
               "end_us": now_us + SLOT_US, "counts": [str(count) for count in windows.counts(group)]}  # fmt: skip
        now_us += SLOT_US + 20_000
    yield {"kind": "end", "reason": "exit", "time_us": now_us}


def run_lines(ended_us: int) -> Iterator[dict[str, Any]]:
    """Those of ``ftprof wrap`` itself."""
    yield {
        "kind": "header", "schema": "ftprof.journal/1", "run": "5ca1ab1e00000000", "role": "run", "method": "counters",
        "host": "node0000", "boot": "00000000-0000-4000-8000-000000000000", "pid": 3998, "start_ticks": 4000,
        "parent_pid": 1, "time_us": BEGAN_US, "rank": None, "devices": [], "unwatched": [],
        "software": {"ftprof": "0.1.0", "python": "3.11.7", "system": "Linux 6.8"},
        "command": ["torchrun", "train.py"], "policy_inputs": {},
    }  # fmt: skip
    yield {"kind": "end", "reason": "the command ended", "exit_code": 0, "time_us": ended_us}


def write_run(folder: Path, processes: int, strata: int, open_windows: int, plan: Sequence[dict[str, Any]]) -> int:
    """A run directory of so many processes; how many lines each one's journal has."""
    folder.mkdir(parents=True)
    ended_us = lines = 0
    for number in range(processes):
        journal = list(day_of_process(number, processes, strata, open_windows, plan))
        lines, ended_us = len(journal), journal[-1]["time_us"]
        write_chain(folder / f"node{number // 8:04d}-{number}-counters.journal", journal)
    write_chain(folder / "node0000-3998-run.journal", list(run_lines(ended_us)))
    return lines
