"""The self-test's table, its binaries, and its verdicts."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ftprof.errors import UntrustedInput
from ftprof.record import schemas
from ftprof.record.spans import Metric
from ftprof.report.selftest_text import selftest_lines
from ftprof.selftest import cases
from ftprof.selftest.counts import Counts
from ftprof.selftest.known_kernels import (
    FFMA,
    INSTRUCTIONS,
    KERNELS,
    KNOWN_KERNELS,
    SOURCE,
    TENSOR_FP16,
    KnownKernel,
    kernels_of,
)
from ftprof.selftest.machine_code import binary_for
from ftprof.selftest.products import ALIGNED, TILE_DEPTH, UNALIGNED, UNALIGNED_ELSE, Shape, padded
from ftprof.selftest.rows import FAIL, NOT_COUNTED, PASS, SKIPPED, Row, exit_code_of, row_from_json, verdict_of

MANIFEST = json.loads((KERNELS / "manifest.json").read_text())
ROW = Row("FFMA", "fp32", 100, 100, True)


def test_the_manifest_is_that_of_the_table_and_of_the_files() -> None:
    assert MANIFEST["source"]["sha256"] == hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    architectures = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
    assert [row["architecture"] for row in MANIFEST["binaries"]] == architectures
    for row in MANIFEST["binaries"]:
        assert hashlib.sha256((KERNELS / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        major, minor = map(int, row["capability"].split("."))
        expected = {kernel.name: kernel.executes for kernel in kernels_of((major, minor))}
        assert row["kernels"].keys() == expected.keys()
        for name, kernel in row["kernels"].items():
            floating: dict[str, int] = {}
            for opcode, times in kernel["opcodes"].items():
                for claimed in INSTRUCTIONS:
                    if opcode == claimed or opcode.startswith(f"{claimed}."):
                        floating[claimed] = floating.get(claimed, 0) + times
            assert floating == expected[name]
            assert kernel["instructions"] == sum(kernel["opcodes"].values()) >= kernel["least"] > 0


def test_the_table_weighs_instructions_as_the_catalogue_does() -> None:
    native = importlib.import_module("ftprof._native")
    for instruction in INSTRUCTIONS.values():
        if instruction.metric is not None:
            row = native.find_metric(instruction.metric)
            assert (row.kind, row.precision, row.weight) == ("cuda-core", instruction.precision, instruction.flops)


def test_every_instruction_is_in_a_kernel_of_its_own_number() -> None:
    alone = {opcode: times for kernel in KNOWN_KERNELS for opcode, times in kernel.executes.items() if times > 1}
    assert alone.keys() == INSTRUCTIONS.keys()
    core = [kernel.core_counts for kernel in KNOWN_KERNELS if len(kernel.executes) == 1 and kernel.core_counts]
    numbers = [count for counts in core for count in counts.values()]
    assert len(set(numbers)) == len(numbers) == 5  # so that no counter can pass for another


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [
        ((7, 0), None), ((7, 5), "sm_75"), ((8, 0), "sm_80"), ((8, 6), "sm_86"), ((8, 7), "sm_86"), ((8, 9), "sm_89"),
        ((9, 0), "sm_90"), ((10, 0), "sm_100"), ((10, 3), "sm_100"), ((11, 0), None), ((12, 0), "sm_120"),
        ((12, 1), "sm_120"), ((13, 0), None),
    ],
)  # fmt: skip
def test_a_chip_gets_the_newest_binary_that_it_executes(capability: tuple[int, int], architecture: str | None) -> None:
    binary = binary_for(capability)
    assert (binary and binary.architecture) == architecture


def test_a_binary_that_was_not_proved_is_not_run(tmp_path: Path) -> None:
    shutil.copytree(KERNELS, tmp_path / "kernels")
    code = bytearray((tmp_path / "kernels" / "sm_90.cubin").read_bytes())
    code[-1] ^= 1
    (tmp_path / "kernels" / "sm_90.cubin").write_bytes(code)
    assert binary_for((8, 0), tmp_path / "kernels") is not None
    with pytest.raises(UntrustedInput, match=r"sm_90\.cubin is not the binary that was proved; reinstall ftprof"):
        binary_for((9, 0), tmp_path / "kernels")
    (tmp_path / "kernels" / "manifest.json").write_text("{}")
    with pytest.raises(UntrustedInput, match="cannot be read"):
        binary_for((8, 0), tmp_path / "kernels")


@pytest.mark.parametrize(
    ("verdicts", "verdict", "code"),
    [
        ([PASS], PASS, 0), ([PASS, SKIPPED], PASS, 0), ([SKIPPED], NOT_COUNTED, 5), ([], NOT_COUNTED, 5),
        ([PASS, NOT_COUNTED], NOT_COUNTED, 5), ([PASS, ""], NOT_COUNTED, 5), ([FAIL, PASS], FAIL, 1),
        ([NOT_COUNTED, FAIL, SKIPPED], FAIL, 1),
    ],
)  # fmt: skip
def test_there_is_no_pass_without_counting(verdicts: list[str], verdict: str, code: int) -> None:
    rows = [replace(ROW, verdict=each) for each in verdicts]
    assert verdict_of(rows) == verdict
    assert exit_code_of(verdict) == code


def test_a_row_is_judged_by_both_ends_and_comes_back_from_json() -> None:
    between = replace(ROW, low=10**30, high=10**30 + 5)
    assert [between.judged(10**30 + n).verdict for n in (-1, 0, 5, 6)] == [FAIL, PASS, PASS, FAIL]
    assert ROW.judged(100, "under another name").verdict == FAIL
    for row in (between.judged(10**30 + 1), ROW.skipped("no library"), ROW):
        assert row_from_json(json.loads(json.dumps(row.to_json()))) == row


def test_products_are_padded_to_whole_tiles() -> None:
    assert padded(ALIGNED) == ALIGNED.flops == 2 * 7680 * 7680 * 512
    assert all(ALIGNED.edge % (2 * tile) == 0 for tile in (64, 96, 128, 160, 192, 256, 320))
    assert ALIGNED.depth % TILE_DEPTH == 0
    assert padded(Shape(1000, 1000)) == 2 * 1280 * 1280 * 1024
    assert padded(Shape(1056, 1056)) == 2 * 1280 * 1280 * 1152
    assert padded(Shape(8192, 8192)) >= 1_116_691_496_960  # what an H200 executed of it (docs/evidence)
    for edge in (UNALIGNED_ELSE, *UNALIGNED.values()):
        assert 2 * edge**3 < padded(Shape(edge, edge))


@pytest.mark.parametrize(("kernel", "counted", "verdict"), [
    (FFMA, 0, SKIPPED), (FFMA, 1, PASS), (FFMA, 2, FAIL), (TENSOR_FP16, 0, FAIL), (TENSOR_FP16, 1, PASS),
])  # fmt: skip
def test_a_graph_of_which_patched_code_counts_nothing_is_skipped(
    kernel: KnownKernel, counted: int, verdict: str
) -> None:
    """As on an H200. A wrong count fails, and so does nothing where hardware counts."""
    bench: Any = RecordingBench()
    case = cases._skipped_where_no_graph_is_patched(cases._case(bench, kernel, "graph", 15, cases._in_graph))
    counts: Any = FakeCounts(kernel, 15 * counted)
    assert case.judge(case.row, counts).verdict == verdict


class FakeCounts:
    """So many launches of one kernel."""

    def __init__(self, kernel: KnownKernel, launches: int) -> None:
        self._kernel, self._launches = kernel, launches

    def of_kind(self, _: str) -> dict[str, int]:
        return {metric: self._launches * count for metric, count in self._kernel.core_counts.items()}

    def flops(self, *_: str) -> int:
        return self._launches * sum(self._kernel.flops.values())

    def elsewhere(self, _: str) -> dict[str, int]:
        return {}


class RecordingBench:
    """Notes what work launches, and where."""

    def __init__(self) -> None:
        self.kernels = self.gpu = self
        self.binary = None
        self.launched: list[tuple[str, object]] = []

    def launch(self, name: str, stream: object = None) -> None:
        self.launched.append((name, stream))

    def stream(self) -> object:
        return object()

    def captured(self, launch: Callable[[object], None]) -> str:
        launch("the capture's stream")
        return "the graph"

    def launch_graph(self, graph: object) -> None:
        self.launched.append(("launched", graph))


def test_the_rows_of_streams_and_graphs_do_what_they_say() -> None:
    bench: Any = RecordingBench()
    work = cases._on_streams(bench, FFMA)
    bench.launched.clear()
    work()
    streams = Counter(stream for _, stream in bench.launched)
    assert (len(streams), set(streams.values())) == (4, {2})
    assert None not in streams
    work = cases._in_graph(bench, FFMA)
    assert bench.launched[-5:] == [(FFMA.name, "the capture's stream")] * 5
    bench.launched.clear()
    work()
    assert bench.launched == [("launched", "the graph")] * 3


def test_operations_under_another_precision_are_found() -> None:
    both = Metric("several", "fp16_bf16_tf32", "floating", 1)
    half = Metric("one", "fp16", "floating", 1)
    integer = Metric("other", "int8", "integer", 1)
    counts = Counts(((both, 5), (half, 7), (integer, 9)))
    assert counts.elsewhere("fp16") == {}
    assert counts.elsewhere("bf16") == {"fp16": 7}
    assert counts.elsewhere("fp8") == {"fp16_bf16_tf32": 5, "fp16": 7}
    assert counts.flops("floating") == 12


ANSWER: dict[str, Any] = {
    "schema": "ftprof.selftest/1", "verdict": "not counted", "exit_code": 5, "why": "the counters are busy",
    "remedy": "dcgmi profile --pause", "time_ms": 1234, "machine_code": None,
    "software": {"ftprof": "0", "cupti": "13.0", "driver": "13.0"},
    "device": {"device": "cuda:0", "name": "H200", "uuid": "GPU-0", "capability": "9.0", "chip": "GH100",
               "multiprocessors": 132, "clock_khz": 1980000, "visible": 8},
    "rows": [ROW.judged(99).to_json(), ROW.skipped("no cupy").to_json(), ROW.skipped("no cupy").to_json(),
             ROW.not_counted("the counters are busy").to_json()],
}  # fmt: skip


def test_the_answer_as_text() -> None:
    jsonschema.validate(ANSWER, json.loads(schemas.SELFTEST.read_text()))
    assert selftest_lines(ANSWER) == [
        "verdict  not counted: no proof: not everything could be counted",
        "rows     1 fail, 2 skipped, 1 not counted, in 1.2 s",
        "why      the counters are busy; dcgmi profile --pause; 'ftprof doctor' says",
        "         what is in the way",
        "GPU      H200, capability 9.0, chip GH100, GPU-0; 8 are visible,",
        "         CUDA_VISIBLE_DEVICES chooses",
        "with     ftprof 0, CUPTI 13.0, CUDA 13.0",
        "kernels  machine code not proved: none ships for this chip",
        "",
        "FAIL        FFMA (fp32)",
        "            counted 99, expected 100 FLOP",
        "            the counters say something else than what was executed",
        "skipped     FFMA (fp32), and 1 more",
        "            no cupy",
        "not counted FFMA (fp32)",
        "            the counters are busy",
    ]
