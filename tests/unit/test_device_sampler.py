"""Which devices a run used, when, and how active they were: on a made-up NVML, with made-up times."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftprof.measure.device_sampler import DeviceSampler, DeviceWatch
from ftprof.measure.gpm import ERROR_PERCENT, SHARED, GpmMeter
from ftprof.measure.nvml import ComputeProcess, GpuInfo, MigInstance, NvmlError
from ftprof.measure.run_processes import INITIAL_PID_NAMESPACE, RunProcesses
from ftprof.record.device_window import Device, DeviceWindow

SECOND = 1_000_000
CYCLES = 132 * 1_980_000_000
BOUND = CYCLES * (16384 + 512)
H200 = GpuInfo(0, 0, "GPU-0", "NVIDIA H200", "9.0", 132, 1_980_000, False, "none", True)


class Members:
    """The run's processes: ids below 100."""

    def __init__(self, ids_mean_something: bool = True, files: tuple[int, ...] = ()) -> None:
        self._ids_mean_something = ids_mean_something
        self.files = files

    def __contains__(self, pid: object) -> bool:
        return isinstance(pid, int) and pid < 100

    def holds_device_file(self, minor: int) -> bool:
        return minor in self.files

    def ids_are_the_drivers(self) -> bool:
        return self._ids_mean_something


class Sample:
    def __init__(self, gpu: FakeGpu, instance: int | None) -> None:
        self._gpu, self._instance = gpu, instance

    def take(self) -> None:
        self._gpu.asked.append("take")
        if self._gpu.broken:
            raise NvmlError("nvmlGpmSampleGet", 15, "GPU is lost")

    def utilisation_since(self, earlier: Sample) -> dict[str, float]:
        assert earlier is not self
        return self._gpu.activity


class FakeGpu:
    def __init__(self, info: GpuInfo = H200) -> None:
        self.info = info
        self.pids: list[int | tuple[int, int]] = []
        self.activity: dict[str, float] = {}
        self.clock_khz = 1_980_000
        self.broken = False
        self.asked: list[str] = []
        self.samples = 0
        self.energy: int | None = None

    def energy_mj(self) -> int | None:
        return self.energy

    def compute_processes(self) -> list[ComputeProcess]:
        if self.broken:
            raise NvmlError("nvmlDeviceGetComputeRunningProcesses", 15, "GPU is lost")
        return [ComputeProcess(*pid) if isinstance(pid, tuple) else ComputeProcess(pid, None) for pid in self.pids]

    def sm_clock_khz(self) -> int:
        return self.clock_khz

    def gpm_sample(self, instance: int | None) -> Sample:
        self.samples += 1
        return Sample(self, instance)


class FakeNvml:
    def __init__(self, *gpus: FakeGpu) -> None:
        self._gpus = list(gpus)
        self.closed = False

    def gpus(self) -> list[FakeGpu]:
        return self._gpus

    def close(self) -> None:
        self.closed = True


class Watched:
    """A watch whose looks come a second apart, from second 0 on."""

    def __init__(self, *gpus: FakeGpu, members: Members | None = None, gpm: bool = False) -> None:
        self.reports: list[DeviceWindow | str] = []
        self.nvml = FakeNvml(*gpus)
        self.watch = DeviceWatch(0, members or Members(), gpm, lambda: self.nvml, self.reports.append)  # type: ignore[arg-type,return-value]
        self.opened = self.watch.open()
        self._now = 0

    def look(self, seconds: int = 1, last: bool = False) -> None:
        self._now += seconds * SECOND
        self.watch.look(self._now, last)

    def windows(self, method: str = "peak-bound") -> list[DeviceWindow]:
        return [r for r in self.reports if isinstance(r, DeviceWindow) and r.method == method]

    def notes(self) -> list[str]:
        return [report for report in self.reports if isinstance(report, str)]

    def spans(self, method: str = "peak-bound") -> list[tuple[str, float, float]]:
        return [(w.device.uuid, w.begin_us / SECOND, w.end_us / SECOND) for w in self.windows(method)]


def test_energy_is_that_of_the_windows_from_the_look_before_the_first_use() -> None:
    gpu = FakeGpu()
    run = Watched(gpu)
    for second, pids in enumerate(([], [7], [7], [], [], [9])):
        gpu.pids, gpu.energy = list(pids), 1000 * second**2
        run.look()
    gpu.energy = None  # NVML says it no longer
    run.look(last=True)
    assert [window.energy_mj for window in run.windows()] == [9000, None]
    divided = FakeGpu(replace(H200, mig=True, instances=(MigInstance("MIG-0", 1, 0, 60),)))
    divided.pids, divided.energy = [(7, 1)], 5
    run = Watched(divided)
    run.look()
    run.look(last=True)
    assert [window.energy_mj for window in run.windows()] == [None]


def test_time_counts_from_the_look_before_the_first_use_to_the_look_after_the_last() -> None:
    gpu = FakeGpu()
    run = Watched(gpu)
    for pids in ([], [], [7], [7, 8], [], [], [9]):
        gpu.pids = list(pids)
        run.look()
    run.look(last=True)
    assert run.spans() == [("GPU-0", 2, 5), ("GPU-0", 6, 8)]
    assert [w.estimate.high for w in run.windows()] == [3 * BOUND, 2 * BOUND]
    assert all(w.estimate.low == 0 for w in run.windows())
    assert run.nvml.closed


def test_other_peoples_processes_are_not_the_runs() -> None:
    gpu = FakeGpu()
    gpu.pids = [1000, 2000]
    run = Watched(gpu)
    run.look()
    run.look(last=True)
    assert run.reports == []


def test_many_processes_on_one_gpu_take_its_time_once_and_each_gpu_has_its_own() -> None:
    gpus = [FakeGpu(), FakeGpu(GpuInfo(1, 1, "GPU-1", "NVIDIA H200", "9.0", 132, 1_980_000, False, "none", True))]
    gpus[0].pids = [1, 2, 3, 4, 5, 6, 7, 8]
    gpus[1].pids = [9]
    run = Watched(*gpus)
    run.look(last=True)
    assert run.spans() == [("GPU-0", 0, 1), ("GPU-1", 0, 1)]


def test_windows_lengthen_as_the_run_goes_on_and_miss_nothing() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    run = Watched(gpu)
    for _ in range(4000):
        run.look()
    run.look(last=True)
    spans = run.spans()
    assert [end - begin for _, begin, end in spans[:7]] == [10, 20, 40, 80, 160, 320, 600]
    assert all(end - begin <= 600 for _, begin, end in spans)
    assert [begin for _, begin, _ in spans[1:]] == [end for _, _, end in spans[:-1]]
    assert (spans[0][1], spans[-1][2]) == (0, 4001)
    assert len(spans) < 15


def test_a_late_look_counts_all_the_time_since_the_one_before() -> None:
    """ftprof was stopped for an hour, or NVML took that long."""
    gpu = FakeGpu()
    run = Watched(gpu)
    run.look()
    gpu.pids = [7]
    run.look(seconds=3600, last=True)
    assert run.spans() == [("GPU-0", 1, 3601)]


def test_a_gpu_that_cannot_be_asked_stays_in_use_and_is_named() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    run = Watched(gpu)
    run.look()
    gpu.broken = True
    run.look()
    run.look(last=True)
    assert run.spans() == [("GPU-0", 0, 3)]
    assert "nvmlDeviceGetComputeRunningProcesses: error 15" in run.notes()[0]


def test_in_a_container_an_open_device_file_is_the_sign_of_use() -> None:
    gpus = [FakeGpu(), FakeGpu(GpuInfo(1, 5, "GPU-1", "NVIDIA H200", "9.0", 132, 1_980_000, False, "none", True))]
    gpus[0].pids = gpus[1].pids = [4711]  # of another namespace
    run = Watched(*gpus, members=Members(ids_mean_something=False, files=(5,)))
    run.look(last=True)
    assert run.spans() == [("GPU-1", 0, 1)]


def test_where_ids_do_match_in_a_container_open_files_mean_nothing() -> None:
    """Every process that initialises CUDA opens the files of all the GPUs that it sees."""
    gpus = [FakeGpu(), FakeGpu(GpuInfo(1, 5, "GPU-1", "NVIDIA H200", "9.0", 132, 1_980_000, False, "none", True))]
    gpus[0].pids = [7]
    run = Watched(*gpus, members=Members(ids_mean_something=False, files=(0, 5)))
    run.look(last=True)
    assert run.spans() == [("GPU-0", 0, 1)]


def mig() -> FakeGpu:
    instances = tuple(MigInstance(f"MIG-{i}", gi, ci, 16) for i, (gi, ci) in enumerate([(1, 0), (2, 0), (2, 1)]))
    return FakeGpu(GpuInfo(0, 0, "GPU-0", "NVIDIA H200", "9.0", 132, 1_980_000, True, "none", True, instances))


def test_a_gpu_instance_is_a_device_of_its_own_with_the_sms_of_its_compute_instances() -> None:
    gpu = mig()
    gpu.pids = [(7, 2), (1000, 1)]
    gpu.activity = {"any-tensor": 1.0, "hmma": 1.0}
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    (bound,), (estimate,) = run.windows(), run.windows("gpm")
    assert (bound.device.gpu_instance, bound.device.multiprocessors) == (2, 32)
    assert estimate.device == bound.device
    assert bound.device.instances == ("MIG-1", "MIG-2")
    assert run.watch.users == {(("GPU-0", "MIG-0", "MIG-1", "MIG-2"), 7)}
    assert estimate.estimate.flops == 32 * 1_980_000_000 * 4096


def test_an_instance_without_a_known_size_is_bounded_by_nothing() -> None:
    instance = (MigInstance("MIG-0", 1, 0, None),)
    gpu = FakeGpu(GpuInfo(0, 0, "GPU-0", "NVIDIA H200", "9.0", 132, 1_980_000, True, "none", True, instance))
    gpu.pids = [(7, 1)]
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    assert [w.estimate.high for w in run.windows()] == [None]
    assert run.windows("gpm") == []


def test_activity_times_clock_times_peak() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"any-tensor": 0.5, "hmma": 0.5}
    run = Watched(gpu, gpm=True)
    for _ in range(3):
        run.look()
    run.look(last=True)
    (window,) = run.windows("gpm")
    half = 4 * CYCLES // 2
    assert window.estimate.flops == half * 4096
    assert window.estimate.low == half * 2048 * (100 - ERROR_PERCENT) // 100
    assert window.estimate.high == half * 8192 * (100 + ERROR_PERCENT) // 100
    assert window.classes["tensor"] == window.estimate
    assert (window.unmeasured_us, window.note) == (0, "")
    assert window.estimate.high <= (run.windows()[0].estimate.high or 0)


def test_what_is_active_but_no_integer_and_no_fp64_is_floating() -> None:
    """Should a chip's newer instructions not be in the metric for HMMA."""
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"any-tensor": 0.9, "hmma": 0.1, "imma": 0.2, "dfma": 0.1}
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    (window,) = run.windows("gpm")
    assert window.classes["tensor"].flops == round(0.6 * CYCLES * 4096)
    assert window.classes["tensor-fp64"].flops == round(0.1 * CYCLES * 256)


def test_cuda_cores_have_a_range_from_additions_to_multiply_adds() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"any-tensor": 0.0, "fp64": 1.0, "fp32": 1.0, "fp16": 0.0}
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    classes = run.windows("gpm")[0].classes
    fp64, fp32 = CYCLES * 128, CYCLES * 256
    assert (classes["fp64"].low, classes["fp64"].flops) == (fp64 // 2 * 94 // 100, fp64 * 3 // 4)
    assert (classes["fp32"].low, classes["fp32"].flops) == (0, fp32 // 2)
    assert classes["fp32"].high == fp32 * 106 // 100
    assert classes["fp16"].high == 0


def test_the_spread_of_the_clock_is_in_the_range() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"hmma": 1.0}
    run = Watched(gpu, gpm=True)
    gpu.clock_khz = 990_000
    run.look(last=True)
    (window,) = run.windows("gpm")
    assert window.estimate.flops == CYCLES * 4096 * 3 // 4
    assert window.estimate.low == CYCLES // 2 * 2048 * 94 // 100


def test_work_of_others_on_the_same_gpu_leaves_no_low_end() -> None:
    gpu = FakeGpu()
    gpu.pids = [7, 1000]
    gpu.activity = {"hmma": 1.0}
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    (window,) = run.windows("gpm")
    assert (window.estimate.low, window.note) == (0, SHARED)
    assert window.estimate.flops == CYCLES * 4096


def test_time_without_a_sample_is_bounded_by_the_peak_and_named() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"hmma": 0.5}
    run = Watched(gpu, gpm=True)
    run.look()
    gpu.broken = True
    for _ in range(5):
        run.look()
    gpu.broken = False
    run.look()  # the first sample again: nothing to compare it with
    run.look(last=True)
    (window,) = run.windows("gpm")
    assert window.unmeasured_us == 6 * SECOND
    assert window.estimate.flops == 2 * CYCLES // 2 * 4096
    assert window.estimate.high == CYCLES * 8192 * 106 // 100 + 6 * BOUND
    assert "error 15" in window.note
    assert gpu.samples == 2  # however often it fails


def test_a_driver_without_the_tensor_metric_leaves_the_time_unmeasured() -> None:
    gpu = FakeGpu()
    gpu.pids = [7]
    gpu.activity = {"fp32": 0.5}
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    (window,) = run.windows("gpm")
    assert (window.unmeasured_us, window.estimate.flops, window.estimate.high) == (SECOND, 0, BOUND)
    assert "tensor cores" in window.note


def test_the_estimate_never_passes_the_bound() -> None:
    device = Device("GPU-0", None, "NVIDIA H200", "9.0", 132, 1_980_000)
    meter = GpmMeter.of(device)
    assert meter is not None
    full = dict.fromkeys(("any-tensor", "hmma", "dfma", "dmma", "fp64", "fp32", "fp16"), 1.0)
    for _ in range(3):
        meter.add(SECOND, full, (1_980_000, 1_980_000))
        meter.missed(10 * SECOND, "a reason")
    window = meter.take(0, 3 * SECOND)
    assert window.estimate.high == 3 * BOUND
    assert meter.take(0, SECOND).estimate.high == 0  # it begins anew


@pytest.mark.parametrize("info", [
    GpuInfo(0, 0, "GPU-0", "a chip to come", "99.0", None, 1_980_000, False, "none", True),
    GpuInfo(0, 0, "GPU-0", "NVIDIA A100", "8.0", 108, 1_410_000, False, "none", False),
])  # fmt: skip
def test_no_estimate_without_a_peak_or_without_gpm(info: GpuInfo) -> None:
    gpu = FakeGpu(info)
    gpu.pids = [7]
    run = Watched(gpu, gpm=True)
    run.look(last=True)
    assert (len(run.windows()), run.windows("gpm"), gpu.asked) == (1, [], [])


def test_no_driver_is_nothing_wrong_and_a_broken_one_is() -> None:
    reports: list[Any] = []

    def watch(open_nvml: Callable[[], Any]) -> bool:
        return DeviceWatch(0, Members(), True, open_nvml, reports.append).open()

    def failing(code: int) -> Callable[[], Any]:
        def fail() -> Any:
            raise NvmlError("nvmlInit", code, "why")

        return fail

    assert not watch(failing(12))
    assert not watch(failing(9))
    assert not watch(FakeNvml)
    assert reports == []
    assert not watch(failing(18))
    assert reports == ["the GPUs cannot be watched: nvmlInit: error 18 why"]
    assert not watch(lambda: int("no number"))
    assert "ValueError" in reports[1]


def test_the_samplers_thread_takes_no_signal_and_writes_only_from_the_callers() -> None:
    import signal
    import threading

    writers: list[str] = []
    masks: list[set[signal.Signals]] = []
    gpu = FakeGpu()
    gpu.pids = [7]

    def opened() -> Any:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))  # type: ignore[arg-type]
        return FakeNvml(gpu)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    sampler = DeviceSampler(lambda line: writers.append(threading.current_thread().name), Members(), True, opened)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    sampler.tick()
    assert sampler.finish() == []
    assert writers == ["MainThread"] * 2
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGTSTP} <= masks[0]


def proc(root: Path, pid: int, parent: int, environ: bytes = b"", files: tuple[str, ...] = ()) -> None:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (a (strange) name) S {parent} " + "0 " * 17 + f"{pid * 10} 0\n")
    (folder / "environ").write_bytes(environ)
    for number, target in enumerate(files):
        (folder / "fd" / str(number)).symlink_to(target)


def test_a_process_is_the_runs_by_its_mark_or_by_its_ancestors(tmp_path: Path) -> None:
    proc(tmp_path, 1, 0)
    proc(tmp_path, 10, 1)  # ftprof
    proc(tmp_path, 20, 10, b"A=1\0FTPROF_RUN_ID=abc\0")  # the command
    proc(tmp_path, 30, 20, b"A=1\0")  # one that cleaned its environment
    proc(tmp_path, 40, 1, b"FTPROF_RUN_ID=abc\0")  # an orphan
    proc(tmp_path, 50, 1, b"FTPROF_RUN_ID=abcd\0")  # another run's
    (tmp_path / "proc" / "60").mkdir()
    run = RunProcesses("abc", 20, tmp_path)
    assert [pid for pid in (1, 10, 20, 30, 40, 50, 60, 70) if pid in run] == [20, 30, 40]
    assert "20" not in run
    assert [pid for pid in (1, 10, 20, 30, 40, 50, 60, 70) if pid in run] == [20, 30, 40]  # from memory


def test_one_that_is_no_member_may_become_one(tmp_path: Path) -> None:
    """Between fork and exec a process has its parent's environment, or none."""
    proc(tmp_path, 40, 1)
    run = RunProcesses("abc", 20, tmp_path)
    assert 40 not in run
    (tmp_path / "proc/40/environ").write_bytes(b"FTPROF_RUN_ID=abc\0")
    assert 40 in run
    (tmp_path / "proc/40/environ").unlink()  # from memory
    assert 40 in run
    (tmp_path / "proc/40/stat").write_text("40 (another) S 1 " + "0 " * 17 + "999 0\n")  # the id, taken over
    assert 40 not in run


def test_device_files_of_the_runs_processes_only(tmp_path: Path) -> None:
    proc(tmp_path, 20, 1, b"FTPROF_RUN_ID=abc\0", ("/dev/null", "/dev/nvidia0", "/dev/nvidia10"))
    proc(tmp_path, 30, 1, b"", ("/dev/nvidia2",))
    run = RunProcesses("abc", 20, tmp_path)
    assert [minor for minor in range(12) if run.holds_device_file(minor)] == [0, 10]
    assert not RunProcesses("abc", 20, tmp_path / "nowhere").holds_device_file(0)


def test_whether_ids_are_the_drivers_follows_from_the_namespace(tmp_path: Path) -> None:
    run = RunProcesses("abc", 20, tmp_path)
    assert not run.ids_are_the_drivers()
    (tmp_path / "proc" / "self" / "ns").mkdir(parents=True)
    link = tmp_path / "proc" / "self" / "ns" / "pid"
    link.symlink_to(INITIAL_PID_NAMESPACE)
    assert run.ids_are_the_drivers()
    link.unlink()
    link.symlink_to("pid:[4026532999]")
    assert not run.ids_are_the_drivers()


def test_a_real_child_is_recognised() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "FTPROF_RUN_ID": "abc"},
    )
    assert child.stdout is not None
    child.stdout.readline()  # it has its own environment now
    try:
        assert child.pid in RunProcesses("abc", 1 << 22)
        assert child.pid in RunProcesses("other", os.getpid())  # a descendant of the command
        assert child.pid not in RunProcesses("other", 1 << 22)
    finally:
        child.communicate(b"\n")


@pytest.mark.slow
def test_memory_is_constant_however_long_the_run_is() -> None:
    """Eight GPUs, processes that come and go; what the watch keeps after five hours is what it kept after one."""
    gpus = [FakeGpu(replace(H200, uuid=f"GPU-{number}")) for number in range(8)]
    ends = 0

    def count(_: object) -> None:
        nonlocal ends
        ends += 1

    watch = DeviceWatch(0, Members(), True, lambda: FakeNvml(*gpus), count)  # type: ignore[arg-type,return-value]
    assert watch.open()
    kept = []
    tracemalloc.start()
    try:
        for hour in range(5):
            for second in range(0, 3600, 2):
                for gpu in gpus:
                    gpu.pids = [second % 90, 100 + second % 7]
                    gpu.activity = {"tensor": second % 100}
                watch.look((hour * 3600 + second + 1) * SECOND, False)
            for gpu in gpus:
                gpu.asked.clear()
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert ends > 5 * 8
    assert max(kept[1:]) - kept[0] < 20_000
