"""What a person reads of a run that counters counted, word by word: the closing block and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_counted import one
from test_counters_journal import (
    BASE_ONLY,
    CYCLES,
    DEVICE,
    GROUPS,
    SOFTWARE,
    TF32,
    context,
    counters_journal,
    counts,
    end,
    gap,
    run,
    run_journal,
)

from ftprof.quantity import TIMES

NO_CUPTI = gap(
    1000, 1000, 0, "find CUPTI", reason="no libcupti under /usr/local/cuda, /opt/venv/lib/python3.12/site-packages",
    remedy="install one with: pip install 'ftprof[cupti]'",
)  # fmt: skip
RUN = Path("run")  # of the test's own folder
TERA = 10**12
FP16 = {**TF32, "name": "sm__ops_path_tensor_op_hgmma_src_fp16.sum", "precision": "fp16"}
SECOND = {"role": "rotating", "metrics": [FP16, CYCLES]}
# Windows of 9 ms with edges of 1 ms between them.
WINDOWS = [counts(TERA, 10_000 * n, 10_000 * n + 9000, counts=[str(TERA), "2000000"]) for n in range(1, 11)]
BASE = context(groups=BASE_ONLY, begin_us=10_000)


def good() -> None:
    run_journal(RUN)
    counters_journal(RUN, *one(TERA), end(2000))


def sampled() -> None:
    run_journal(RUN)
    counters_journal(RUN, BASE, *WINDOWS, end(109_000))


def refused() -> None:
    run_journal(RUN)
    why = gap(1000, 301_000, call="cuptiRangeProfilerEnable")
    counters_journal(RUN, context(groups=[]), why, end(301_000))


def busy() -> None:
    run_journal(RUN)
    why = gap(109_000, 309_000, 26, reason="CUPTI_ERROR_HARDWARE_BUSY")
    counters_journal(RUN, BASE, *WINDOWS, why, end(309_000))


def killed() -> None:
    run_journal(RUN, ("problem", {"what": "the command died of signal 9", "time_us": 5000}), exit_code=137)
    counters_journal(RUN, *one(TERA))


def no_cupti() -> None:
    run_journal(RUN)
    counters_journal(RUN, context(groups=[]), NO_CUPTI, end(), software={**SOFTWARE, "cupti": "", "cupti_path": ""})


def several() -> None:
    run_journal(RUN)
    for pid in range(8):
        device = {**DEVICE, "device": f"cuda:{pid % 4}", "uuid": f"GPU-{pid % 4}"}
        ranks = {"rank": pid, "world_size": 8}
        counters_journal(RUN, *one(TERA, device=device), end(2000), pid=10 + pid, rank=ranks)


def nothing() -> None:
    run_journal(RUN)


BLOCKS = {
    good: """\
ftprof: 1.0x10^12 FLOP executed (1000000000000)
  by precision  bf16 100 %
  method        counters: hardware counters
  coverage      bf16: 100.0 % of the time, 100.0 % of SM-active cycles
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 3.0x10^-11 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 3.0x10^-11 of 3.3x10^22 FLOP (scenario 2, default)
  not counted   nothing that was seen
  record        record.json
  next          ftprof report record.json
""",
    sampled: """\
ftprof: 1.1x10^13 FLOP executed (11000000000000)
  interval      [10000000000000, 31269550080000]
  by precision  bf16 100 %
  method        sampled: hardware counters in part, the rest extrapolated
  coverage      bf16: 90.9 % of the time, 100.0 % of SM-active cycles
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 3.3x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 3.3x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  not counted   nothing that was seen
  record        record.json
  next          ftprof report record.json
""",
    refused: """\
ftprof: at most 1.3x10^15 FLOP executed (1324781568000000)
  method        peak-bound: an upper bound, time at peak rate
  coverage      none: no counter was read
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 4.0x10^-8 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 4.0x10^-8 of 3.3x10^22 FLOP (scenario 2, default)
  incomplete    only administrators may read the counters here: 300 ms not
                counted on cuda:0 of process 7 on h (cuptiRangeProfilerEnable:
                error 35, CUPTI_ERROR_INSUFFICIENT_PRIVILEGES); let everybody
                read them with the module option
                NVreg_RestrictProfilingToAdminUsers=0
                (https://developer.nvidia.com/ERR_NVGPUCTRPERM), or run as ...
  not counted   operations: only time
  record        record.json
  next          ftprof report record.json
""",
    busy: """\
ftprof: 3.3x10^13 FLOP executed (33222222000000)
  interval      [10000000000000, 459481774080000]
  by precision  bf16 100 %
  method        sampled: hardware counters in part, the rest extrapolated
  coverage      bf16: 30.1 % of the time, 100.0 % of SM-active cycles
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 1.0x10^-9 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 1.0x10^-9 of 3.3x10^22 FLOP (scenario 2, default)
  incomplete    another profiler holds the counters, such as DCGM: 200 ms not
                counted on cuda:0 of process 7 on h (cuptiRangeProfilerStart:
                error 26, CUPTI_ERROR_HARDWARE_BUSY); dcgmi profile --pause
                (and --resume afterwards), or end the other profiler
  not counted   what makes the record incomplete
  record        record.json
  next          ftprof report record.json
""",
    killed: """\
ftprof: 1.0x10^12 FLOP executed (1000000000000)
  interval      [1000000000000, 18663754240000]
  by precision  bf16 100 %
  method        counters: hardware counters
  coverage      bf16: 100.0 % of the time, 100.0 % of SM-active cycles
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 3.0x10^-11 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 3.0x10^-11 of 3.3x10^22 FLOP (scenario 2, default)
  command       exit code 137: this is what ran until then
  incomplete    the command died of signal 9 on h
                process 7 on h was killed or is still running: the 4 ms after
                its last window are not counted, and bounded by the peak
  not counted   what makes the record incomplete
  record        record.json
  next          ftprof report record.json
""",
    no_cupti: """\
ftprof: at most 1.8x10^13 FLOP executed (17663754240000)
  method        peak-bound: an upper bound, time at peak rate
  coverage      none: no counter was read
  devices       cuda:0 (NVIDIA H200); 1 process
  aws-2026      below: 5.4x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 5.3x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  incomplete    no CUPTI was found: 4 ms not counted on cuda:0 of process 7 on
                h (find CUPTI: no libcupti under /usr/local/cuda,
                /opt/venv/lib/python3.12/site-packages); install one with: pip
                install 'ftprof[cupti]'
  not counted   operations: only time
  record        record.json
  next          ftprof report record.json
""",
    several: """\
ftprof: 8.0x10^12 FLOP executed (8000000000000)
  by precision  bf16 100 %
  method        counters: hardware counters
  coverage      bf16: 100.0 % of the time, 100.0 % of SM-active cycles
  devices       4 x NVIDIA H200 (cuda:0, cuda:1, cuda:2, ...); 8 processes
  aws-2026      below: 2.4x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       below: 2.4x10^-10 of 3.3x10^22 FLOP (scenario 2, default)
  not counted   nothing that was seen
  record        record.json
  next          ftprof report record.json
""",
    nothing: """\
ftprof: nothing was counted
  devices       none; 0 processes
  aws-2026      undetermined: threshold 3.3x10^22 FLOP (scenario 2, default)
  ec-2025       undetermined: threshold 3.3x10^22 FLOP (scenario 2, default)
  why           no GPU was seen in use by this run
  not counted   nothing that was seen
  record        record.json
  next          ftprof report record.json
""",
}


def shown(case: Callable[[], None], capsys: pytest.CaptureFixture[str], *command: str) -> str:
    if not RUN.exists():
        case()
    code, out, err = run(list(command), capsys)
    assert (code, err) == (0, "")
    return out.replace(TIMES, "x")


MERGE = ("merge", str(RUN), "-o", "record.json")


@pytest.mark.parametrize("case", BLOCKS, ids=lambda case: case.__name__)
def test_the_closing_block(case: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(case, capsys, *MERGE)
    assert text == BLOCKS[case]
    assert len(text.splitlines()) <= 15
    assert max(map(len, text.splitlines())) <= 79


REPORTS = {
    several: """\
Method: counters: hardware counters
Coverage: bf16: 100.0 % of the time, 100.0 % of SM-active cycles
Devices: 4 x NVIDIA H200 (cuda:0, cuda:1, cuda:2, ...); 8 processes

Precisions
  bf16: 8000000000000 FLOPs, interval [8.0x10^12, 8.0x10^12]
    8.0x10^12 measured, 0 over rotation, 0 over gaps; 100.0 % of the time, 100.0 % of SM-active cycles

By precision (FLOPs)
  bf16  8000000000000  100 %

By counter (FLOPs)
  sm__ops_path_tensor_src_bf16_dst_fp32.sum  8000000000000  100 %

Processes
  process 10 on h (rank 0 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 11 on h (rank 1 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 12 on h (rank 2 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 13 on h (rank 3 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 14 on h (rank 4 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 15 on h (rank 5 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 16 on h (rank 6 of 8): 1000000000000 FLOPs in 1 windows, ended: exit
  process 17 on h (rank 7 of 8): 1000000000000 FLOPs in 1 windows, ended: exit

CUPTI and driver
  CUPTI 13.0 (CUDA toolkit, /x/libcupti.so.13), driver 13.0

Command: x
  on h, exit code 0, ftprof 0.1.0

Not counted
  nothing that was seen
""",
    refused: """\
Method: peak-bound: an upper bound, time at peak rate
Coverage: none: no counter was read
Devices: cuda:0 (NVIDIA H200); 1 process

Processes
  process 7 on h: 0 FLOPs in 0 windows, ended: exit

CUPTI and driver
  CUPTI 13.0 (CUDA toolkit, /x/libcupti.so.13), driver 13.0

Command: x
  on h, exit code 0, ftprof 0.1.0

Not counted
  operations: only time

Incomplete because
  only administrators may read the counters here: 300 ms not counted on cuda:0 of process 7 on h
    (cuptiRangeProfilerEnable: error 35, CUPTI_ERROR_INSUFFICIENT_PRIVILEGES); let everybody read
    them with the module option NVreg_RestrictProfilingToAdminUsers=0
    (https://developer.nvidia.com/ERR_NVGPUCTRPERM), or run as root; a container needs
    --cap-add=SYS_ADMIN, or with driver 565 and later PERFMON
""",
    nothing: """\
Method: counters: hardware counters
Coverage: none: no window was counted
Devices: none; 0 processes

Processes
  none

Command: x
  on h, exit code 0, ftprof 0.1.0

Not counted
  nothing that was seen

Note
  no GPU was seen in use by this run
""",
}


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.__name__)
def test_the_report(case: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    shown(case, capsys, *MERGE)
    text = shown(case, capsys, "report", "record.json")
    form = text.index("\nFor the EU Model Documentation Form\n")  # its own tests: test_report_form.py
    assert text[text.index("\nMethod: ") + 1 : form] == REPORTS[case]


def test_precisions_that_no_window_saw(capsys: pytest.CaptureFixture[str]) -> None:
    """What was looked for in vain has a limit, what was never looked for too; both are told apart."""

    def case() -> None:
        run_journal(RUN)
        zeros = counts(0, 2000, 3000, group=1)
        counters_journal(RUN, context(groups=[*GROUPS[:2], SECOND, *GROUPS[2:]]), counts(TERA), zeros, end(3000))

    block = shown(case, capsys, *MERGE)
    told = "never looked for: fp16, CUDA cores (fp32); wrap --cuda-core looks; looked for and not seen: tf32"
    assert told in " ".join(block.replace("\n                ", " ").split("\n"))
    report = shown(case, capsys, "report", "record.json")
    assert "  tf32: none seen, at most 1.1x10^12; 50.0 % of the time, 50.0 % of SM-active cycles\n" in report
    assert "  fp16: never looked for, at most 4.3x10^12\n" in report
    assert "  fp32 on CUDA cores: never looked for, at most 1.3x10^11\n" in report


@pytest.mark.parametrize(
    ("looked_for", "unseen"),
    [
        ("primary", "; contexts that a program makes itself are seen with --subscribe only"),
        ("current", "; contexts other than the current and the primary ones are not seen"),
        ("all", ""),
    ],
)
def test_what_nobody_could_see_is_told_even_of_a_complete_run(
    capsys: pytest.CaptureFixture[str], looked_for: str, unseen: str
) -> None:
    def case() -> None:
        run_journal(RUN)
        counters_journal(RUN, *one(TERA), end(2000), software={**SOFTWARE, "contexts": looked_for})

    block = " ".join(shown(case, capsys, *MERGE).split())
    assert f"not counted nothing that was seen{unseen} record record.json" in block
    assert f"Not counted\n  nothing that was seen{unseen}\n" in shown(case, capsys, "report", "record.json")


def test_a_long_list_of_reasons_is_cut_and_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    def case() -> None:
        run_journal(RUN)
        for pid in range(60):
            counters_journal(RUN, *one(TERA // 100), pid=10 + pid)

    lines = shown(case, capsys, *MERGE).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 79
    assert lines[8] == "  incomplete    process 10 on h was killed or is still running: the 4 ms after"
    assert lines[10].endswith("(and 59 more)")
    report = shown(case, capsys, "report", "record.json")
    # The verdicts before it name some of them, and so does the form behind it.
    told = report[report.index("\nIncomplete because") :].partition("\n\n")[0]
    assert told.count("was killed or is still running") == 60


def test_what_a_journal_says_cannot_move_a_terminal_s_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    def case() -> None:
        run_journal(RUN)
        why = gap(1000, 2000, 0, "plan \x1b[2J", reason="\x1b[31mred\n\tnews")
        counters_journal(RUN, context(groups=[]), why, end(2000))

    assert "\x1b" not in shown(case, capsys, *MERGE)
    assert "\x1b" not in shown(case, capsys, "report", "record.json")
