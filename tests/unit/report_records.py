"""Records of every method and of every way in which a run can go wrong, for the tests of reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ftprof.cli.check import check_record
from ftprof.cli.report import judged_run
from ftprof.policy.choice import PolicyOptions
from ftprof.policy.claims import Claims
from ftprof.policy.inputs import PolicyInputs
from ftprof.record.device_use import DeviceUse
from ftprof.record.estimate_rows import EstimateRow, PrecisionRow
from ftprof.record.interval import NOTHING_COUNTED, Interval
from ftprof.record.journal import Cell, ProcessIdentity, UncountedWork
from ftprof.record.record import ProcessRecord, Record, RunInfo, load_record, save_record
from ftprof.record.timeline import Timeline
from ftprof.report.judged_run import JudgedRun

EXA, PETA = 10**18, 10**15
BEGAN_US = 1_795_600_000_000_000
HOUR_US = 3_600_000_000
H200, A100 = "NVIDIA H200", "NVIDIA A100-SXM4-80GB"
BF16 = "sm__ops_path_tensor_src_bf16_dst_fp32.sum"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"
KNOWN_BASE = PolicyInputs(
    Fraction(84 * 10**21), Fraction(84 * 10**21), "given with --pretrain-flops", "Llama-2-7B"
).to_json()
COMMAND = ("torchrun", "--nproc-per-node", "8", "train.py", "--model", "meta-llama/Llama-2-7b-hf", "--lora-rank", "16")
UNMEASURED = UncountedWork("operator", "aten::sum", None)


def uuid(number: int) -> str:
    return f"GPU-{number:08x}-0000-4000-8000-000000000000"


def process(number: int, flops: int, method: str = "counters", host: str = "node-01", **changes: Any) -> ProcessRecord:
    software = {"cupti": "13.0", "cupti_path": "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so.13", "driver": "13.0",
                "cupti_origin": "CUDA toolkit", "system": "Linux 6.8 x86_64"}  # fmt: skip
    if method == "analytic":
        software = {"torch": "2.13.0", "python": "3.11.7", "system": "Linux 6.8 x86_64"}
    device = {"device": f"cuda:{number % 8}", "name": H200, "uuid": uuid(number)}
    whole = ProcessRecord(
        ProcessIdentity(host, "0d7e2c1a", 1000 + number, 4711), method, flops, 240, BEGAN_US, BEGAN_US + HOUR_US,
        "exit", {"rank": number, "world_size": 8}, software, (device,),
        f"{host}-0d7e2c1a-{1000 + number}-4711.journal", 612, f"{number:064x}",
    )  # fmt: skip
    return replace(whole, **changes)


def run_info(host: str = "node-01", **changes: Any) -> RunInfo:
    whole = RunInfo("3af9294901cdc1c6", COMMAND, host, BEGAN_US, BEGAN_US + 2 * HOUR_US, 0, "0.1.0", "a" * 64)
    return replace(whole, **changes)


def timeline(flops: int, length_us: int = 2 * HOUR_US) -> Timeline:
    """Work with a warm-up, a plateau and a dip for evaluation."""
    weights = [1, 3, 8, 9, 9, 9, 9, 2, 9, 9, 9, 8, 9, 9, 2, 9, 9, 7]
    whole, sofar = Timeline(), 0
    for number, weight in enumerate(weights):
        part = flops * weight // sum(weights) if number < len(weights) - 1 else flops - sofar
        sofar += part
        step = length_us // len(weights)
        whole.add(BEGAN_US + number * step, BEGAN_US + (number + 1) * step, part)
    return whole


def devices(count: int, name: str = H200, energy_mj: int | None = 4_100_000_000) -> tuple[DeviceUse, ...]:
    return tuple(DeviceUse(uuid(number), None, name, 2 * HOUR_US, energy_mj) for number in range(count))


def estimate(number: int, flops: int) -> EstimateRow:
    rotation, gaps = flops // 50, flops // 100
    measured = flops - rotation - gaps
    return EstimateRow(
        f"process {1000 + number} on node-01", f"cuda:{number % 8}", uuid(number), BF16, "bf16", "floating", 240,
        measured, rotation, gaps, flops - flops // 60, flops + flops // 60, None, Fraction(93, 100), Fraction(96, 100),
    )  # fmt: skip


def precision(name: str, flops: int, kind: str = "floating", high: int | None = 0) -> PrecisionRow:
    rotation, gaps = flops // 50, flops // 100
    bound = flops + flops // 60 if high == 0 else high
    return PrecisionRow(
        name, kind, flops - rotation - gaps, rotation, gaps, flops - flops // 60, bound, None, Fraction(93, 100),
        Fraction(96, 100),
    )  # fmt: skip


def check(method: str, flops: int | None, low: int, high: int | None, **more: Any) -> dict[str, Any]:
    return {
        "method": method, "device": None, "low": str(low), "flops": None if flops is None else str(flops),
        "high": None if high is None else str(high), **more,
    }  # fmt: skip


def sampled() -> Record:
    """Eight H200s for two hours, phases marked, energy told, two other methods beside."""
    each = 3 * EXA
    total = 8 * each
    rows = tuple(estimate(number, each) for number in range(8))
    # The sums over precisions must hold those over contexts.
    bf16 = replace(
        precision("bf16", total), measured=sum(r.measured for r in rows), rotation=sum(r.rotation for r in rows),
        gaps=sum(r.gaps for r in rows),
    )  # fmt: skip
    blind = replace(precision("fp16", 0, high=9 * PETA), upper_limit=9 * PETA, time_share=Fraction(0))
    phases = {"train": str(8 * EXA), "recompute": str(2 * EXA), "evaluate": str(EXA)}
    by_process = [
        {
            **asdict(process(number, each).identity),
            "by_phase": {phase: str(int(flops) // 8) for phase, flops in phases.items()},
            "meanwhile": dict.fromkeys(("low", "flops", "high"), str(each)),
        }
        for number in range(8)
    ]
    gpu = {"name": H200, "uuid": uuid(0), "gpu_instance": None}
    return Record(
        method="sampled",
        interval=Interval(total - total // 60, total, total + total // 60 + 9 * PETA),
        complete=True,
        reasons=(),
        runs=(run_info(),),
        processes=(
            *(process(number, each) for number in range(8)),
            *(process(number, 11 * EXA // 8, "analytic") for number in range(8)),  # beside it, for the phases
        ),
        counts={Cell(BF16, "bf16", f"cuda:{number}"): (240, each) for number in range(8)},
        uncounted={},
        policy_inputs=KNOWN_BASE,
        estimates=rows,
        precisions=(bf16, blind),
        cross_checks=(
            check("analytic", 11 * EXA, 11 * EXA, None, by_phase=phases, by_process=by_process, partial=True),
            {**check("gpm", 21 * EXA, 18 * EXA, 23 * EXA), "device": gpu},
            {**check("peak-bound", 90 * EXA, 0, 90 * EXA), "device": gpu},
        ),
        devices=devices(8),
        timeline=timeline(total - total // 33),
    )


def analytic(**changes: Any) -> Record:
    """One process on a CPU, with phases that were counted and work that no formula knows."""
    cells = {
        Cell("aten.mm", "bf16", "cpu"): (5000, 60 * PETA),
        Cell("aten.addmm", "fp32", "cpu"): (2000, 25 * PETA),
        Cell("aten.mm", "bf16", "cpu", "recompute"): (1000, 10 * PETA),
        Cell("aten.mm", "bf16", "cpu", "evaluate"): (500, 5 * PETA),
    }
    cpu = {"device": "cpu", "name": "AMD EPYC 9354"}
    whole = Record(
        method="analytic",
        interval=Interval(100 * PETA, 100 * PETA, 100 * PETA),
        complete=True,
        reasons=(),
        runs=(run_info(),),
        processes=(process(1, 100 * PETA, "analytic", devices=(cpu,), rank=None),),
        counts=cells,
        uncounted={UNMEASURED: 40, UncountedWork("operator", "aten::softmax", None): 12},
        unwatched=("aten::add", "aten::mul"),
        timeline=timeline(100 * PETA),
    )
    return replace(whole, **changes)


def unbounded() -> Record:
    """A Triton kernel ran, which nothing bounds."""
    return analytic(
        interval=Interval(100 * PETA, 100 * PETA, None),
        uncounted={UNMEASURED: 40, UncountedWork("triton", "flash_kernel", "attention"): 3},
    )


def peak_bound() -> Record:
    high = 90 * EXA
    gpu = {"name": A100, "uuid": uuid(0), "gpu_instance": None}
    reason = "only administrators may read the counters here: 2.0 h not counted on cuda:0; run as root"
    return Record(
        method="peak-bound",
        interval=Interval(0, high, high),
        complete=False,
        reasons=(reason,),
        runs=(run_info(),),
        processes=(process(0, 0, rank=None),),
        counts={},
        uncounted={},
        cross_checks=({**check("peak-bound", high, 0, high), "device": gpu},),
        devices=devices(1, A100, None),
    )


def gpm() -> Record:
    gpu = {"name": H200, "uuid": uuid(0), "gpu_instance": None}
    rows = ({**check("gpm", 3 * EXA, 2 * EXA, 5 * EXA), "device": gpu},)
    return replace(
        peak_bound(), method="gpm", interval=Interval(2 * EXA, 3 * EXA, 5 * EXA), complete=True, reasons=(),
        cross_checks=rows, devices=devices(1), timeline=timeline(3 * EXA),
    )  # fmt: skip


def nothing() -> Record:
    return Record(
        method="counters",
        interval=NOTHING_COUNTED,
        complete=False,
        reasons=("the journal of the ftprof that wrapped the run is missing",),
        runs=(),
        processes=(),
        counts={},
        uncounted={},
    )


def killed() -> Record:
    """One context was counted until the process and ftprof were killed."""
    row = estimate(0, 3 * EXA)
    whole = precision("bf16", 3 * EXA)
    return Record(
        method="counters",
        interval=Interval(2 * EXA, 3 * EXA, 40 * EXA),
        complete=False,
        reasons=(
            "the command died of signal 9 on node-01",
            "process 1000 on node-01 was killed or is still running: the 2.0 h after its last window are not counted, "
            "and bounded by the peak",
        ),
        runs=(run_info(ended_us=None, exit_code=None),),
        processes=(process(0, 3 * EXA, end=None, rank=None),),
        counts={Cell(BF16, "bf16", "cuda:0"): (240, 3 * EXA)},
        uncounted={},
        estimates=(row,),
        precisions=(replace(whole, measured=row.measured, rotation=row.rotation, gaps=row.gaps),),
        devices=(*devices(1), DeviceUse(uuid(1), 3, A100, HOUR_US, None)),
        timeline=timeline(3 * EXA),
    )


def many(count: int = 16_384) -> Record:
    """A run of two thousand nodes."""
    each = 3 * 10**20
    total = count * each
    rows = tuple(estimate(number, each) for number in range(count))
    summed = replace(
        precision("bf16", total), measured=sum(r.measured for r in rows), rotation=sum(r.rotation for r in rows),
        gaps=sum(r.gaps for r in rows),
    )  # fmt: skip
    hosts = [f"node-{number:04d}" for number in range(-(-count // 8))]
    cells: dict[Cell, tuple[int, int]] = {}
    for number in range(count):
        cell = Cell(BF16, "bf16", f"cuda:{number % 8}")
        calls, flops = cells.get(cell, (0, 0))
        cells[cell] = calls + 240, flops + each
    return Record(
        method="sampled",
        interval=Interval(total - total // 60, total, total + total // 60),
        complete=False,
        reasons=tuple(f"process {number} on {hosts[number // 8]} was killed" for number in range(0, count, 4)),
        runs=tuple(run_info(host) for host in hosts),
        processes=tuple(process(number, each, host=hosts[number // 8]) for number in range(count)),
        counts=cells,
        uncounted={},
        policy_inputs=KNOWN_BASE,
        estimates=rows,
        precisions=(summed,),
        devices=devices(count),
        timeline=timeline(total),
    )


def declared() -> Record:
    """Generation outside the run is declared, and one deduction is left out."""
    claims = Claims(deduct=("recompute",), generated_flops=Fraction(7 * PETA))
    inputs = PolicyInputs(Fraction(10**23), Fraction(4 * 10**23), "two derivations", "Base-3B", None, True, claims)
    return analytic(policy_inputs=inputs.to_json())


def hostile() -> Record:
    """Texts that are long, without a blank, written from right to left, or would be markup."""
    long = "x" * 400
    markup = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    cpu = {"device": markup, "name": long}
    flops = 10**59 - 1
    work = Timeline()
    work.add(BEGAN_US, BEGAN_US + HOUR_US, flops)
    return analytic(
        interval=Interval(flops, flops, None),
        complete=False,
        reasons=(markup, long, "\u05d0" * 200, "\u202e reversed"),
        runs=(run_info(long, command=("python", markup, long), ended_us=None),),
        processes=(process(1, flops, "analytic", host=long, devices=(cpu,), rank=None, journal=long),),
        counts={Cell(long, markup, long): (1, flops)},
        uncounted={UncountedWork("triton", long, markup): 10**59},
        unwatched=(long, markup),
        policy_inputs=PolicyInputs(Fraction(1, 3), Fraction(1, 3), markup, long).to_json(),
        devices=(DeviceUse(long, 1, markup, HOUR_US, 7),),
        timeline=work,
    )


RECORDS: dict[str, Callable[[], Record]] = {
    "sampled": sampled,
    "analytic": analytic,
    "unbounded": unbounded,
    "peak-bound": peak_bound,
    "gpm": gpm,
    "nothing": nothing,
    "killed": killed,
    "many": lambda: many(200),
    "declared": declared,
}


def saved(record: Record, folder: Path) -> Path:
    """A file that ``ftprof report`` takes, checked as it checks it."""
    path = folder / "record.json"
    save_record(record, path, overwrite=True)
    load_record(path)
    return path


def judged(record: Record) -> JudgedRun:
    """As the command makes it, from a record that went through its file's form."""
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    return judged_run(again, check_record(again, "record.json", PolicyOptions()))
