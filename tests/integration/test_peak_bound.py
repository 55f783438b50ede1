"""Device time through the real pynvml on a stand-in for NVML, with real processes. It says nothing of hardware."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import clean_environment, ftprof
from nvml_standin import Standin, nvml_library, sample, standin  # noqa: F401

from ftprof.record.device_use import device_uses
from ftprof.record.device_window import device_totals

RATE = 132 * 1_980_000_000 * (16384 + 512)


def test_the_bound_over_the_time_in_which_the_run_used_a_gpu(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, processes="1", processes_file=str(ids)).gpu(1, processes="1,2")  # of others
    answer = sample(standin.environment(), ids=str(ids), gpm=False)
    (total,) = device_totals(answer["windows"])
    assert answer["notes"] == []
    assert (total.method, total.device.uuid) == ("peak-bound", "GPU-0")
    assert answer["began_us"] <= total.begin_us
    assert total.end_us <= answer["ended_us"]
    assert 1_000_000 <= total.time_us <= answer["ended_us"] - answer["began_us"]
    assert total.estimate.low == 0
    assert total.estimate.high == -(-RATE * total.time_us // 10**6)


def test_the_energy_that_a_gpu_took_in_that_time(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, processes_file=str(ids), watts="700").gpu(1, watts="300")
    (use,) = device_uses(device_totals(sample(standin.environment(), ids=str(ids), gpm=False)["windows"]))
    assert (use.uuid, use.name) == ("GPU-0", "NVIDIA H200")
    assert use.energy_mj is not None
    # Its counter and the looks' times are not read at the same moment.
    assert abs(use.energy_mj - 700 * use.time_us // 1000) < 700 * 300


def test_processes_under_mps_count_too(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    program = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(1)"
    ids = tmp_path / "ids"
    standin.gpu(0, processes="1")
    standin.lines["gpu0.mps_processes"] = "1"
    environment = standin.environment()
    assert sample(environment, command=[sys.executable, "-c", program, str(ids)], gpm=False)["windows"] == []
    standin.lines["gpu0.mps_processes"] = "2"
    standin.lines["gpu0.processes_file"] = str(ids)
    answer = sample(standin.environment(), command=[sys.executable, "-c", program, str(ids)], gpm=False)
    assert len(answer["windows"]) == 1


def test_an_unknown_chip_is_bounded_by_nothing(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, capability="42.0", processes_file=str(ids))
    (window,) = sample(standin.environment(), ids=str(ids))["windows"]
    assert (window.method, window.estimate.high) == ("peak-bound", None)
    assert "42.0" in window.note


def test_an_nvml_that_hangs_holds_nobody_up_and_the_bound_stays(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    ids = tmp_path / "ids"
    standin.gpu(0, processes_file=str(ids))
    environment = standin.environment()
    standin.script.write_text(standin.script.read_text() + "delay_ms.nvmlDeviceGetClockInfo=0\n")
    program = (
        "import pathlib, sys, time\ntime.sleep(0.7)\nscript = pathlib.Path(sys.argv[1])\n"
        "script.write_text(script.read_text().replace('ClockInfo=0', 'ClockInfo=30000'))\ntime.sleep(0.7)\n"
    )
    answer = sample(environment, command=[sys.executable, "-c", program, str(standin.script)], ids=str(ids))
    assert answer["notes"] == ["NVML did not answer in time"]
    assert answer["longest_tick_s"] < 0.5
    assert answer["finish_s"] < 4
    totals = device_totals(answer["windows"])
    assert totals[0].method == "peak-bound"
    assert totals[0].end_us >= answer["ended_us"] - 1_000_000


@pytest.mark.parametrize("call", ["nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetUUID", "nvmlInitWithFlags"])
def test_an_nvml_that_fails_is_named_and_the_command_goes_on(standin: Standin, call: str) -> None:  # noqa: F811
    answer = sample(standin.gpu().set(**{f"fail__{call}": "15"}).environment())
    assert answer["windows"] == []
    (note,) = answer["notes"]
    assert "error 15" in note


@pytest.mark.parametrize("method", ["auto", "gpm", "peak-bound"])
def test_an_nvml_that_fails_never_keeps_a_command_from_running(standin: Standin, method: str, tmp_path: Path) -> None:  # noqa: F811
    environment = standin.gpu().set(fail__nvmlDeviceGetHandleByIndex_v2="15").environment()
    record = tmp_path / "record.json"
    done = ftprof("wrap", "--method", method, "-o", str(record), "--", "sh", "-c", "echo ran; exit 7", env=environment)
    assert (done.returncode, done.stdout) == (7, "ran\n"), done.stderr
    assert json.loads(record.read_text())["high"] is None
    if method != "auto":
        assert "error 15" in done.stderr
        refused = ftprof("wrap", "--require", method, "--", "echo", "ran", env=environment)
        assert (refused.returncode, refused.stdout) == (125, "")


def test_without_a_driver_there_is_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    answer = sample(clean_environment(LD_LIBRARY_PATH=str(tmp_path)))
    assert (answer["windows"], answer["notes"]) == ([], [])
