"""``ftprof selftest`` on the stand-in driver and CUPTI: what is expected, and what it says where a count is wrong.

The stand-ins count what their script says, so a pass here proves the self-test, not a counter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import FTPROF, REPOSITORY
from cuda_standins import BF16, FP16, TF32, Standins

from ftprof.record import schemas
from ftprof.selftest.known_kernels import BLOCKS, KNOWN_KERNELS, THREADS
from ftprof.selftest.machine_code import binary_for
from ftprof.selftest.products import ALIGNED, Shape, padded
from ftprof.selftest.selftest import Answer, selftest

SCHEMA = json.loads(schemas.SELFTEST.read_text())
PLAYING = str(REPOSITORY / "tests" / "playing_libraries")
FP8 = "sm__ops_path_tensor_src_fp8"
FP64 = "sm__ops_path_tensor_src_fp64"
HMMA_FP16 = "sm__ops_path_tensor_op_hmma_src_fp16_dst_fp32"
HOPPER = {"bf16": BF16, "fp16": FP16, "tf32": TF32, "fp8": FP8, "fp64": FP64}
AMPERE = {**HOPPER, "fp16": "sm__ops_path_tensor_src_fp16_dst_fp32"}
PATCHED, HARDWARE = "smsp__sass_thread_inst_executed", "smsp__thread_inst_executed"
FADD = "smsp__sass_thread_inst_executed_op_fadd_pred_on"
FMUL = "smsp__sass_thread_inst_executed_op_fmul_pred_on"
EDGES = {"fp8": 1008, "fp4": 1056}


def kernels(
    metrics: dict[str, str] = HOPPER, hmma_fp16: str = HMMA_FP16, capability: tuple[int, int] = (9, 0)
) -> dict[str, dict[str, int]]:
    """What each kernel of the self-test and each product of the playing libraries does on a GPU that is right."""
    length = binary_for(capability).lengths["known_ffma"]  # type: ignore[union-attr]
    found: dict[str, dict[str, int]] = {}
    for kernel in KNOWN_KERNELS:
        found[kernel.name] = {**kernel.core_counts, "duration_us": 20}
        if kernel.uses_tensor_cores:
            ((precision, flops),) = kernel.flops.items()
            found[kernel.name][hmma_fp16 if precision == "fp16" else metrics[precision]] = flops
    instructions = (length.least + length.most) // 2 * THREADS * BLOCKS
    found["known_ffma"] |= {PATCHED: instructions, HARDWARE: instructions}
    for precision, metric in metrics.items():
        for library in ("cupy", "torch"):
            found[f"{library}_{precision}_{ALIGNED.edge}"] = {metric: ALIGNED.flops, "duration_us": 20}
            edge = EDGES.get(precision, 1000)
            found[f"{library}_{precision}_{edge}"] = {metric: 2 * edge**3 + 1000, "duration_us": 20}
    return found


class Machine:
    """One machine, as a script describes it."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.standins = Standins(folder, work)
        # So that each row is counted: what a CUPTI gives that does not patch graphs has a test of its own.
        self.script: dict[str, Any] = {"kernels": kernels(), "patch_graphs": True}
        self.libraries = PLAYING

    def environment(self) -> dict[str, str]:
        home = self.standins.work / "home"
        home.mkdir(exist_ok=True)
        # Mapped before ftprof looks for one, as the CUPTI of a program that counts would be.
        cupti = str(self.standins.folder / "libcupti.so.13")
        found = {"PYTHONPATH": self.libraries, "LD_PRELOAD": cupti, "HOME": str(home), "TMPDIR": str(home)}
        return self.standins.environment(self.script, **found)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [FTPROF, "selftest", *options]
        where = self.standins.work / "home"
        environment = self.environment()
        return subprocess.run(command, env=environment, cwd=where, capture_output=True, text=True, timeout=60)

    def answer(self, code: int) -> dict[str, Any]:
        """Its answer, which fits the schema, with this exit code and nothing on stderr."""
        done = self.run("--json")
        assert (done.returncode, done.stderr) == (code, ""), done.stdout
        answer: dict[str, Any] = json.loads(done.stdout)
        jsonschema.validate(answer, SCHEMA)
        assert answer["exit_code"] == code
        assert self.standins.violations() == []
        return answer


@pytest.fixture
def machine(folder: Path, tmp_path: Path) -> Machine:
    return Machine(folder, tmp_path)


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {f"{row['name']} {row['precision']}": row["verdict"] for row in answer["rows"]}


def only(answer: dict[str, Any], verdict: str) -> list[dict[str, Any]]:
    return [row for row in answer["rows"] if row["verdict"] == verdict]


def test_a_gpu_that_counts_right_passes_in_every_row(machine: Machine) -> None:
    answer = machine.answer(0)
    rows = {f"{row['name']} {row['precision']}": row for row in answer["rows"]}
    assert set(verdicts(answer).values()) == {"pass"}, answer
    assert len(rows) == 15 + 2 * (3 + 5)  # known kernels; cupy's and torch's precisions, aligned and not
    assert rows["FFMA fp32"]["counted"] == rows["FFMA fp32"]["high"] == str(2 * 128 * 131072)
    assert rows["HFMA2 fp16"]["counted"] == str(4 * 160 * 131072)
    assert rows["integer kernel all"]["counted"] == "0"
    product = rows["product 1000x1000x1000, torch bf16"]
    assert (product["low"], product["high"]) == ("2000000000", str(2 * 1280 * 1280 * 1024))
    assert (product["counted"], product["proved"]) == ("2000001000", False)
    assert all(row["proved"] for name, row in rows.items() if not name.startswith("product"))
    assert answer["machine_code"]["architecture"] == "sm_90"
    assert answer["time_ms"] < 30_000
    assert list((machine.standins.work / "home").iterdir()) == []


def test_where_no_kernel_of_a_graph_is_patched_its_row_is_skipped(machine: Machine) -> None:
    """As on an H200 (docs/evidence/selftest-nvidia-h200.json)."""
    machine.script["patch_graphs"] = False
    answer = machine.answer(0)
    (skipped,) = only(answer, "skipped")
    assert skipped["name"].startswith("CUDA graph, ")
    assert skipped["why"].startswith("CUPTI patches no kernel of a CUDA graph")
    assert len(only(answer, "pass")) == len(answer["rows"]) - 1


SHOWN = """verdict  pass: every count is what was executed
rows     31 pass, in"""


def test_windows_of_a_group_follow_each_other(machine: Machine) -> None:
    """To change the group takes 0.18 s (H200): one for each of many windows would be more than the 30 s."""
    machine.script["trace"] = True
    machine.answer(0)
    calls = Counter(line["call"] for line in machine.standins.trace() if "call" in line)
    assert calls["cuGraphLaunch"] >= 2 * 3, "each of two graphs three times in each window"
    assert calls["cuptiRangeProfilerPushRange"] > 90
    assert calls["cuptiRangeProfilerEnable"] < 20


def test_the_text_says_what_was_counted_and_expected(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(SHOWN)
    assert "kernels  machine code proved for sm_90, sha256 " in done.stdout
    assert "pass        FFMA (fp32)\n            counted 33,554,432, expected 33,554,432 FLOP\n" in done.stdout
    unaligned = "counted 2,000,001,000, expected 2,000,000,000 to 3,355,443,200 FLOP"
    assert f"product 1000x1000x1000, torch (bf16), machine code not proved\n            {unaligned}\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 79


# What one launch counts otherwise, and what the one row that must fail says.
WRONG: dict[str, tuple[dict[str, dict[str, int]], str, str]] = {
    "one FADD of all threads too few": (
        {"known_fadd": {FADD: 96 * 131072 - 1}}, "FADD fp32", f"{FADD} 12582911 instead",
    ),
    "two errors that add up to nothing": (
        {"known_mixed": {FADD: 48 * 131072 + 7, FMUL: 32 * 131072 - 7}},
        "FADD, FMUL, FFMA, DFMA and HFMA2 mixed fp16, fp32, fp64", f"{FADD} 6291463 instead of 6291456",
    ),
    "an empty kernel that counts": ({"known_nothing": {BF16: 1}}, "empty kernel all", "something else"),
    "an integer kernel that counts": ({"known_integer": {FMUL: 1}}, "integer kernel all", "something else"),
    "half of a product": (
        {"torch_bf16_7680": {BF16: ALIGNED.flops // 2}}, "product 7680x7680x512, torch bf16", "not proved",
    ),
    "more than the padded product": (
        {"cupy_fp16_1000": {FP16: padded(Shape(1000, 1000)) + 1}},
        "product 1000x1000x1000, cupy fp16", "something else",
    ),
    "less than the bare product": (
        {"torch_fp64_1000": {FP64: 2 * 1000**3 - 1}}, "product 1000x1000x1000, torch fp64", "something else",
    ),
    "another precision": (
        {"torch_fp8_7680": {FP8: 0, BF16: ALIGNED.flops}}, "product 7680x7680x512, torch fp8", "60397977600 as bf16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_count_fails_exactly_its_row(machine: Machine, name: str) -> None:
    changes, row, why = WRONG[name]
    for kernel, counts in changes.items():
        machine.script["kernels"][kernel] |= counts
    answer = machine.answer(1)
    (failed,) = only(answer, "fail")
    assert f"{failed['name']} {failed['precision']}" == row
    assert why in failed["why"]
    assert len(only(answer, "pass")) == len(answer["rows"]) - 1


def ci_check(machine: Machine, *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The script for CI jobs, with a program that does 3x10^12 operations; its folder."""
    machine.script["kernels"]["gemm"] = {BF16: 10**9, "duration_us": 100}
    folder = machine.standins.work / "check"
    program = [str(machine.standins.folder / "standin_program"), "--kernels", "gemm:3000", "--seconds", "0.5"]
    command = [str(REPOSITORY / "scripts" / "gpu_ci_check"), "--ftprof", FTPROF, "--output", str(folder)]
    done = subprocess.run(
        [*command, "--require", "counters", "--fail-on", "within-margin", *options, "--", *program],
        env=machine.environment(), cwd=machine.standins.work, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    record = json.loads((folder / "record.json").read_text())
    assert int(record["low"]) <= 3 * 10**12 <= int(record["high"])
    return done, folder


def test_the_check_for_ci_jobs_where_counters_are_proved(machine: Machine) -> None:
    """The whole way on a runner with a GPU: doctor, self-test, counted command, verdict, and no warning."""
    done, folder = ci_check(machine)
    assert done.returncode == 0, done.stderr
    summary = (folder / "summary.md").read_text()
    assert re.match(r"## ftprof: below \(method (counters|sampled)\)\n", summary)
    assert "NO HARDWARE COUNTERS" not in summary
    assert "Self-test of the counters: passed: the counters of this GPU give what was executed." in summary
    assert json.loads((folder / "selftest.json").read_text())["verdict"] == "pass"


@pytest.mark.slow
def test_an_interval_that_holds_the_threshold_fails_the_job_where_that_is_asked_for(machine: Machine) -> None:
    """P = 9x10^12: ec-2025 compares with P/3."""
    done, folder = ci_check(machine, "--no-selftest", "--pretrain-flops", "9e12", "--policy", "ec-2025")
    assert done.returncode == 4, done.stderr
    assert (folder / "summary.md").read_text().startswith("## ftprof: within margin (method ")


def test_instructions_that_patched_code_counts_otherwise_fail_their_row(machine: Machine) -> None:
    machine.script["kernels"]["known_ffma"][PATCHED] *= 2
    (failed,) = only(machine.answer(1), "fail")
    assert (failed["name"], failed["unit"]) == ("instructions, in patched and hardware windows", "instructions")
    assert failed["why"].startswith("patched code counted ")


def test_refused_counters_are_no_pass(machine: Machine) -> None:
    machine.script["failures"] = [{"call": "cuptiRangeProfilerEnable", "code": 35, "every": True, "nth": 1}]
    answer = machine.answer(5)
    assert set(verdicts(answer).values()) == {"not counted"}
    assert "only administrators may read the counters here (cuptiRangeProfilerEnable, error 35)" in answer["why"]
    assert "NVreg_RestrictProfilingToAdminUsers" in answer["remedy"]
    done = machine.run()
    assert done.returncode == 5
    assert done.stdout.startswith("verdict  not counted: no proof")
    assert "'ftprof doctor'" in done.stdout.replace("\n         ", " ")


def test_one_group_that_fails_leaves_the_other_rows_counted(machine: Machine) -> None:
    machine.script["failures"] = [{"call": "cuptiRangeProfilerDecodeData", "code": 999, "nth": 10}]
    answer = machine.answer(5)
    (missing,) = only(answer, "not counted")
    assert "cuptiRangeProfilerDecodeData, error 999" in missing["why"]
    assert len(only(answer, "pass")) == len(answer["rows"]) - 1


def test_without_a_gpu_nothing_passes(machine: Machine, tmp_path: Path) -> None:
    machine.script["devices"] = []
    answer = machine.answer(5)
    assert (answer["rows"], answer["device"]) == ([], None)
    assert answer["why"].startswith(("cuInit: error 100", "the driver sees no GPU"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "libcuda.so.1").write_text("no library")
    environment = machine.environment() | {"LD_LIBRARY_PATH": str(tmp_path / "broken"), "LD_PRELOAD": ""}
    done = subprocess.run([FTPROF, "selftest"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "there is no CUDA driver here" in done.stdout


def without_libraries(machine: Machine, folder: Path) -> None:
    """A torch that cannot be imported, and no cupy: the tests' environment has none."""
    (folder / "empty" / "torch").mkdir(parents=True)
    (folder / "empty" / "torch" / "__init__.py").write_text("raise ImportError('no such library')")
    machine.libraries = str(folder / "empty")


def test_without_cupy_and_torch_all_known_kernels_are_counted(machine: Machine, tmp_path: Path) -> None:
    without_libraries(machine, tmp_path)
    answer = machine.answer(0)
    assert len(only(answer, "pass")) == 15
    reasons = {row["why"] for row in only(answer, "skipped")}
    assert reasons == {
        "cupy is not installed here; pip install 'ftprof[cupy]'",
        "torch cannot be used here (no such library)",
    }


def test_a_chip_that_no_binary_fits(machine: Machine, tmp_path: Path) -> None:
    machine.script["devices"] = [{"chip": "GH100", "capability": "11.0"}]
    answer = machine.answer(0)
    assert answer["machine_code"] is None
    assert not any(row["proved"] for row in answer["rows"])
    (skipped,) = [row for row in only(answer, "skipped") if row["unit"] == "instructions"]
    assert "proved machine code only" in skipped["why"]
    assert "FFMA (fp32), machine code not proved\n            counted 33,554,432, expected" in machine.run().stdout
    without_libraries(machine, tmp_path)
    answer = machine.answer(5)
    assert only(answer, "pass") == []
    assert "no machine code ships for compute capability 11.0" in answer["why"]
    assert answer["remedy"] == "pip install 'ftprof[cupy]'"


CHIPS = {
    "A100": ({"chip": "GA100", "capability": "8.0"}, AMPERE, AMPERE["fp16"], "sm_80"),
    "the chip of a DGX Spark": (
        {"chip": "GB202", "capability": "12.1"},
        {**AMPERE, "fp8": "sm__ops_path_tensor_src_fp8_dst_fp32", "fp4": "sm__ops_path_tensor_src_fp4_dst_fp32"},
        AMPERE["fp16"], "sm_120",
    ),
    "a chip without tensor cores": ({"chip": "TU116", "capability": "7.5"}, HOPPER, FP16, "sm_75"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHIPS)
def test_other_chips(machine: Machine, name: str) -> None:
    device, metrics, hmma_fp16, architecture = CHIPS[name]
    major, minor = map(int, device["capability"].split("."))
    binary = binary_for((major, minor))
    assert binary is not None
    assert binary.architecture == architecture
    machine.script |= {"devices": [device], "kernels": kernels(metrics, hmma_fp16, binary.capability)}

    lacks_counter = device["chip"] == "TU116"  # it executes the products, and nothing counts them
    answer = machine.answer(5 if lacks_counter else 0)
    assert answer["machine_code"]["architecture"] == architecture
    skipped = {row["why"] for row in only(answer, "skipped")}
    if lacks_counter:
        assert skipped == set()
        assert {row["why"] for row in only(answer, "not counted")} == {
            "CUPTI has no counter for fp16 operations of this chip's tensor cores"
        }
    elif device["chip"] == "GB202":
        (reason,) = skipped
        assert "product in fp6" in reason
        assert verdicts(answer)["product 1056x1056x1056, torch fp4"] == "pass"
    else:
        assert skipped == set()


@pytest.fixture
def in_process(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """In less time than the command has."""
    installed = [path for path in sys.path if path not in ("", str(REPOSITORY))]
    monkeypatch.setattr(sys, "path", [PLAYING, *installed])

    def run(limit_s: float = 30.0, **changes: str) -> Answer:
        done = selftest(machine.environment() | changes, limit_s)
        assert done.rows, done.why
        return done

    return run


def test_a_gpu_that_hangs_is_left_alone_when_the_time_is_over(
    machine: Machine, in_process: Callable[..., Answer]
) -> None:
    machine.script["delays"] = [{"call": "cuCtxSynchronize", "nth": 190, "us": 30_000_000}]
    done = in_process(4.0)
    assert 4 < done.seconds < 8
    assert done.verdict == "not counted"
    assert {row.why for row in done.rows if row.verdict != "pass"} == {"it had not ended when the 4 s were over"}
    assert "pass" in {row.verdict for row in done.rows}


@pytest.mark.slow
def test_what_the_time_does_not_allow_is_named(machine: Machine, in_process: Callable[..., Answer]) -> None:
    machine.script["delays"] = [{"call": "cuCtxSynchronize", "nth": 1, "every": True, "us": 30_000}]
    done = in_process(6.0)
    assert done.verdict == "not counted"
    assert done.seconds < 8
    left_out = [row for row in done.rows if row.verdict == "not counted"]
    assert {row.why for row in left_out} == {"left out, since the time was over"}
    assert left_out[-1].name == done.rows[-1].name


def test_a_library_that_crashes_takes_no_row_before_it_along(machine: Machine, tmp_path: Path) -> None:
    without_libraries(machine, tmp_path)
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    (tmp_path / "empty" / "torch" / "__init__.py").write_text(crash)
    answer = machine.answer(5)
    assert len(only(answer, "pass")) == 15
    assert {row["why"] for row in only(answer, "not counted")} == {"the process that counts ended with SIGSEGV"}


def test_another_tools_injection_is_kept_out(in_process: Callable[..., Answer]) -> None:
    assert in_process(CUDA_INJECTION64_PATH="/no/such/library.so").verdict == "pass"


def test_wrong_usage() -> None:
    done = subprocess.run([FTPROF, "selftest", "--jsn"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
