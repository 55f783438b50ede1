"""The estimate from NVML's activity samples, through the real pynvml on a stand-in. It says nothing of hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nvml_standin import Standin, nvml_library, sample, standin  # noqa: F401

from ftprof.measure.gpm import ERROR_PERCENT, SHARED
from ftprof.record.device_window import DeviceTotal, device_totals

CYCLES = 132 * 1_755_000_000  # a second, at the stand-in's clock


def totals(answer: dict[str, Any]) -> dict[str, DeviceTotal]:
    return {total.method: total for total in device_totals(answer["windows"])}


def test_activity_times_clock_times_dense_peak(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, processes_file=str(ids), gpm__5="40", gpm__7="40", gpm__12="10")
    found = totals(sample(standin.environment(), ids=str(ids)))
    estimate, bound = found["gpm"], found["peak-bound"]
    assert (estimate.begin_us, estimate.end_us) == (bound.begin_us, bound.end_us)
    assert estimate.unmeasured_us == 0
    seconds = estimate.time_us / 1e6
    tensor, fp32 = estimate.classes["tensor"], estimate.classes["fp32"]
    assert tensor.flops == pytest.approx(0.4 * seconds * CYCLES * 4096, rel=1e-6)
    assert tensor.low == pytest.approx(0.4 * seconds * CYCLES * 2048 * (100 - ERROR_PERCENT) / 100, rel=1e-6)
    assert tensor.high == pytest.approx(0.4 * seconds * CYCLES * 8192 * (100 + ERROR_PERCENT) / 100, rel=1e-6)
    assert fp32.flops == pytest.approx(0.1 * seconds * CYCLES * 128, rel=1e-6)
    assert fp32.low == 0
    assert estimate.estimate.flops == sum(part.flops or 0 for part in estimate.classes.values())
    assert (estimate.estimate.high or 0) < (bound.estimate.high or 0)


def test_a_gpu_instance_is_sampled_by_itself(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(
        0, mig="1", processes_file=str(ids), gpm__7="100", gi2__gpm__7="50",
        mig0__uuid="MIG-0", mig0__gi="2", mig0__ci="0", mig0__sms="16",
    )  # fmt: skip
    found = totals(sample(standin.environment(), ids=str(ids)))["gpm"]
    assert (found.device.uuid, found.device.gpu_instance, found.device.multiprocessors) == ("GPU-0", 2, 16)
    expected = 0.5 * found.time_us / 1e6 * 16 * 1_755_000_000 * 4096
    assert found.estimate.flops == pytest.approx(expected, rel=1e-6)


def test_others_on_the_gpu_take_the_low_end_away(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, processes="1", processes_file=str(ids), gpm__7="40")
    found = totals(sample(standin.environment(), ids=str(ids)))["gpm"]
    assert found.estimate.low == 0
    assert found.notes == (SHARED,)


@pytest.mark.parametrize(
    "call", ["nvmlGpmSampleGet", "nvmlGpmMetricsGet", "nvmlGpmSampleAlloc", "nvmlDeviceGetClockInfo"]
)
def test_a_call_that_fails_leaves_time_that_the_peak_bounds(
    standin: Standin,  # noqa: F811
    tmp_path: Path,
    call: str,
) -> None:
    ids = tmp_path / "ids"
    standin.gpu(0, processes_file=str(ids), gpm__7="40").set(**{f"fail__{call}": "999"})
    found = totals(sample(standin.environment(), ids=str(ids)))
    assert found["gpm"].unmeasured_us == found["gpm"].time_us
    assert found["gpm"].estimate.low == 0
    assert found["gpm"].estimate.high == found["peak-bound"].estimate.high
    assert "error 999" in found["gpm"].notes[0]


def test_no_gpm_no_estimate(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, gpm="0", capability="8.0", cores="6912", processes_file=str(ids))
    assert list(totals(sample(standin.environment(), ids=str(ids)))) == ["peak-bound"]
