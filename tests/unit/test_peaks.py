"""The peaks: sourced figures, what products publish, and what bounds each metric."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

from ftprof.record import peaks
from ftprof.record.peaks import chip_peaks, peak_counts_per_second, peak_flops_per_second

DATA = json.loads((Path(peaks.__file__).parent / "data" / "peaks.json").read_text(encoding="ascii"))
CAPABILITIES = [chip["capability"] for chip in DATA["chips"]]
ROWS = re.findall(
    r'^\{"(\w+)", "(\w*)", Kind::k(\w+), Unit::k\w+, (\d+),',
    (REPOSITORY / "csrc" / "counters" / "metric_table.inc").read_text(),
    re.MULTILINE,
)
UNITS = ("cuda_core", "tensor", "tensor_sparse")


def test_every_figure_names_its_source_and_every_source_is_used() -> None:
    named = {source for chip in DATA["chips"] for unit in UNITS for _, source in chip[unit].values()}
    assert named == set(DATA["sources"])
    assert all(source["title"] and source["url"].startswith("https://") for source in DATA["sources"].values())


def test_every_capability_is_listed_once() -> None:
    assert len(CAPABILITIES) == len(set(CAPABILITIES))
    assert {"7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1"} == set(CAPABILITIES)


@pytest.mark.parametrize("row", DATA["published"], ids=lambda row: f"{row['product']}-{row['unit']}-{row['precision']}")
def test_the_figures_give_what_products_publish(row: dict[str, object]) -> None:
    chip = chip_peaks(str(row["capability"]))
    assert chip is not None
    per_clock = getattr(chip, str(row["unit"]))[row["precision"]]
    tflops = per_clock * row["multiprocessors"] * row["clock_mhz"] / 1e6
    assert 0.99 * row["tflops"] <= tflops <= 1.1 * row["tflops"]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nothing_is_above_the_bound(capability: str) -> None:
    chip = chip_peaks(capability)
    assert chip is not None
    for precision in ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp6", "fp4"):
        assert (chip.fastest(precision) or 0) <= chip.bound
    for precision, sparse in chip.tensor_sparse.items():
        assert chip.tensor[precision] < sparse <= 2 * chip.tensor[precision]


def test_an_h200_in_operations_a_second() -> None:
    h200 = ("9.0", 132, 1_980_000)
    cycles = 132 * 1_980_000_000
    assert peak_flops_per_second(*h200) == cycles * (16384 + 512)
    assert peak_flops_per_second(*h200, "bf16") == cycles * (8192 + 512)
    assert peak_flops_per_second(*h200, "fp64") == cycles * (256 + 128)
    assert peak_flops_per_second(*h200, "fp4") is None


@pytest.mark.parametrize("capability", ["7.0", "6.1", "9.1", "13.0", "90", "NVIDIA H200", "", None])
def test_an_unknown_chip_gets_no_figure(capability: str | None) -> None:
    assert chip_peaks(capability) is None
    assert peak_flops_per_second(capability, 132, 1_980_000) is None
    assert peak_counts_per_second("sm__cycles_active.sum", capability, 132, 1_980_000) is None


@pytest.mark.parametrize(("multiprocessors", "clock_khz"), [(None, 1), (1, None), (0, 1), (1, 0)])
def test_an_unknown_size_or_clock_gets_no_figure(multiprocessors: int | None, clock_khz: int | None) -> None:
    assert peak_flops_per_second("9.0", multiprocessors, clock_khz) is None
    assert peak_counts_per_second("sm__cycles_active.sum", "9.0", multiprocessors, clock_khz) is None


@pytest.mark.parametrize(
    ("metric", "per_clock"),
    [
        ("sm__cycles_active.sum", 1),
        ("sm__cycles_active_realtime.sum", 1),
        ("smsp__thread_inst_executed.sum", 128),
        ("smsp__sass_thread_inst_executed.sum", 128),
        ("sm__ops_path_tensor_src_bf16_dst_fp32.sum", 8192),
        ("sm__ops_path_tensor_src_bf16_dst_fp32_realtime.sum", 8192),
        ("sm__ops_path_tensor_src_bf16_dst_fp32_sparsity_on.sum", 8192),
        ("sm__ops_path_tensor_src_bf16_dst_fp32_sparsity_off.sum", 4096),
        ("sm__ops_path_tensor_op_hgmma_src_fp16.sum", 8192),
        ("sm__ops_path_tensor_src_fp8", 16384),
        ("sm__ops_path_tensor_src_tf32_dst_fp32.sum", 4096),
        ("sm__ops_path_tensor_src_fp64.sum", 256),
        ("sm__ops_path_tensor_src_fp4_fp6_fp8_dst_fp32.sum", 16384),
        ("sm__ops_path_tensor_src_fp4_dst_fp32.sum", 16384),  # no figure of its own: the fastest
        ("sm__ops_path_tensor_src_int8.sum", None),
        ("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", 128),
        ("smsp__sass_thread_inst_executed_op_ffma2_pred_on.sum", 64),
        ("smsp__sass_thread_inst_executed_op_dadd_pred_on.sum", 64),
        ("smsp__sass_thread_inst_executed_op_hfma_pred_on.sum", 128),
        ("smsp__sass_thread_inst_executed_op_qfma4_pred_on.sum", 128),
        ("dram__bytes.sum", None),
        ("", None),
    ],
)
def test_the_most_that_a_metric_counts_on_an_h200(metric: str, per_clock: int | None) -> None:
    expected = None if per_clock is None else per_clock * 132 * 1_980_000_000
    assert peak_counts_per_second(metric, "9.0", 132, 1_980_000) == expected


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_metric_that_ftprof_counts_has_a_bound_on_every_chip(capability: str) -> None:
    """All but integer operations; and no metric alone, times its weight, passes the chip's own bound."""
    assert len(ROWS) > 80
    chip = chip_peaks(capability)
    assert chip is not None
    for name, _precision, kind, weight in ROWS:
        rate = peak_counts_per_second(f"{name}.sum", capability, 1, 1)
        assert (rate is None) == (kind == "Integer"), name
        if kind in ("Floating", "Sparse", "CudaCore"):
            assert rate is not None
            assert 0 < rate * int(weight) <= chip.bound * 1000, name
