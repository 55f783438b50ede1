"""What is in the way of the counters: from made-up trees of /proc, and from made-up machines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ftprof
from ftprof.measure import diagnosis, machine
from ftprof.measure.device_chips import ChipUnknown, DeviceChips
from ftprof.measure.diagnosis import Diagnosis, judge
from ftprof.measure.machine import Cupti, Driver, Machine, look
from ftprof.measure.nvml import GpuInfo, MigInstance, NvmlError
from ftprof.measure.plan_summary import PlanSummary
from ftprof.measure.privilege import Privilege
from ftprof.record import explanation
from ftprof.record.explanation import explain
from ftprof.report.doctor_text import doctor_lines

H200 = GpuInfo(0, 0, "GPU-0", "NVIDIA H200", "9.0", 132, 1_980_000, False, "none", True)
A100 = GpuInfo(0, 0, "GPU-0", "NVIDIA A100", "8.0", 108, 1_410_000, False, "none", False)
MACHINE = Machine(
    driver=Driver("580.95.05", "13.0", False),
    gpus=(H200,),
    chips={"GPU-0": "GH100"},
    cupti=Cupti("13.0", "/c/libcupti.so.13", "Python environment", chips=("GH100", "GA100")),
    privilege=Privilege(True, True, False),
    container=None,
    dcgm=(),
    mps=(),
    injection=None,
    torch=True,
)


class CuptiError(RuntimeError):
    """Stands for _native.CuptiError."""

    def __init__(self, call: str, code: int, remedy: str = "") -> None:
        super().__init__(f"{call}: error {code} WHY" + (f"; {remedy}" if remedy else ""))
        self.call, self.code, self.remedy = call, code, remedy


@dataclass
class Info:
    version: str = "13.0"
    path: str = "/c/libcupti.so.13"
    origin: str = "Python environment"
    warning: str = ""


@dataclass
class Group:
    role: str
    metrics: list[str]


@dataclass
class Metric:
    precision: str
    weight: int


@dataclass
class Plan:
    groups: list[Group]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    module = ModuleType("ftprof._native")
    module.CuptiError = CuptiError
    module.load_cupti = lambda roots: Info()
    module.chips = lambda: ["GA100", "GH100"]
    module.plan = lambda chip: Plan([Group("base", ["a", "b"]), Group("rotating", ["c"]), Group("cuda-core", ["d"])])
    module.find_metric = {"a": Metric("bf16", 1), "b": Metric("", 0)}.get
    monkeypatch.setitem(sys.modules, "ftprof._native", module)
    monkeypatch.setattr(ftprof, "_native", module, raising=False)
    library = tmp_path_factory.mktemp("ftprof") / "libftprof_inject.so"
    library.touch()
    monkeypatch.setattr(machine, "LIBRARY", library)
    return module


def no_nvml() -> Any:
    raise NvmlError("nvmlInit", 12, "NVML Shared Library Not Found")


class FakeNvml:
    def __init__(self, *gpus: GpuInfo, confidential: bool = False) -> None:
        self._gpus, self._confidential, self.closed = gpus, confidential, False

    def driver_version(self) -> str:
        return "580.95.05"

    def cuda_version(self) -> str:
        return "13.0"

    def confidential(self) -> bool:
        return self._confidential

    def gpus(self) -> list[Any]:
        if not self._gpus:
            raise NvmlError("nvmlDeviceGetCount", 15, "GPU is lost")
        return [type("Gpu", (), {"info": info})() for info in self._gpus]

    def close(self) -> None:
        self.closed = True


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def seen(root: Path, environ: dict[str, str] | None = None, *gpus: GpuInfo) -> Machine:
    chips = DeviceChips({"GPU-0": "GH100"})
    return look(root, environ or {}, (lambda: FakeNvml(*gpus)) if gpus else no_nvml, lambda _: chips)  # type: ignore[arg-type,return-value]


def problems(machine: Machine) -> dict[str, diagnosis.Problem]:
    found = judge(machine).problems
    assert all(problem.what and "\n" not in problem.what + problem.remedy for problem in found)
    return {problem.id: problem for problem in found}


def state(result: Diagnosis, method: str) -> diagnosis.MethodState:
    return next(state for state in result.methods if state.method == method)


def test_a_machine_where_all_is_well() -> None:
    result = judge(MACHINE)
    assert result.problems == ()
    assert [s.available for s in result.methods] == [True] * 4
    assert (result.verdict.method, result.verdict.why) == ("counters", "on every GPU")


@pytest.mark.parametrize(
    ("effective", "params", "enough"),
    [
        ("000001ffffffffff", "RmProfilingAdminOnly: 1", True),  # root
        ("0000000000000000", "RmProfilingAdminOnly: 0", True),
        ("0000000000000000", "RmProfilingAdminOnly: 1", False),
        ("00000000a80425fb", "RmProfilingAdminOnly: 1", False),  # root in a container
        ("00000000a80425fb", "ModifyDeviceFiles: 0", None),
        ("0000000000200000", "ModifyDeviceFiles: 0", True),
    ],
)
def test_who_may_read_counters(
    native: ModuleType, tmp_path: Path, effective: str, params: str, enough: bool | None
) -> None:
    tree(
        tmp_path,
        proc__self__status=f"Name:\tx\nCapPrm:\t0\nCapEff:\t{effective}\n",
        proc__self__uid_map="         0          0 4294967295\n",
        proc__driver__nvidia__params=f"ResmanDebugLevel: 4294967295\n{params}\n",
    )
    machine = seen(tmp_path, {}, H200)
    assert machine.privilege.enough is enough
    found = set(problems(machine))
    assert found == {True: set(), False: {"privilege"}, None: {"privilege-unknown"}}[enough]


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ({"sys__module__nvidia__version": "565.57.01\n"}, True),
        ({"proc__driver__nvidia__version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue\n"}, True),
        ({"proc__driver__nvidia__version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue\n"}, False),
        ({}, None),
    ],
)
def test_the_smaller_capability_is_enough_for_newer_drivers(
    native: ModuleType, tmp_path: Path, version: dict[str, str], enough: bool | None
) -> None:
    tree(
        tmp_path,
        proc__self__status="CapEff:\t0000004000000000\n",
        proc__self__uid_map="         0          0 4294967295\n",
        proc__driver__nvidia__params="RmProfilingAdminOnly: 1\n",
        **version,
    )
    assert seen(tmp_path, {}, H200).privilege.enough is enough


def test_a_capability_of_a_user_namespace_does_not_count(native: ModuleType, tmp_path: Path) -> None:
    tree(
        tmp_path,
        proc__self__status="CapEff:\t000001ffffffffff\n",
        proc__self__uid_map="         0       1000          1\n",
        proc__driver__nvidia__params="RmProfilingAdminOnly: 1\n",
    )
    found = problems(seen(tmp_path, {}, H200))["privilege"]
    assert "user namespace" in found.what
    assert found.stops == ("counters",)


@pytest.mark.parametrize(("name", "value", "admin_only"), [
    ("NVreg_RestrictProfilingToAdminUsers", "0\n", False), ("RmProfilingAdminOnly", "1\n", True), ("other", "1", None),
])  # fmt: skip
def test_the_modules_own_parameter_is_read_where_proc_has_none(
    native: ModuleType, tmp_path: Path, name: str, value: str, admin_only: bool | None
) -> None:
    tree(tmp_path, **{f"sys__module__nvidia__parameters__{name}": value})
    assert seen(tmp_path, {}, H200).privilege == Privilege(None, admin_only, False, None)


def test_the_remedy_in_a_container_names_the_capability(tmp_path: Path) -> None:
    refused = replace(MACHINE, privilege=Privilege(False, True, False))
    assert "--cap-add" not in problems(refused)["privilege"].remedy
    assert "--cap-add=SYS_ADMIN" in problems(replace(refused, container="docker"))["privilege"].remedy
    assert "NVreg_RestrictProfilingToAdminUsers=0" in problems(refused)["privilege"].remedy
    assert judge(refused).verdict.method == "gpm"
    assert judge(replace(refused, gpus=(A100,), chips={})).verdict.method == "analytic"


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ({}, {}, None),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run__.containerenv": "engine=podman"}, {}, "podman"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({"proc__1__cgroup": "0::/kubepods.slice/x"}, {}, "kubepods"),
        ({"proc__1__cgroup": "12:cpu:/docker/0a1b"}, {}, "docker"),
        ({"proc__self__mountinfo": "1 2 0:3 / / rw - overlay none lowerdir=/lib/containerd/x"}, {}, "containerd"),
        ({"proc__1__cgroup": "0::/init.scope", "proc__self__mountinfo": "1 2 8:1 / / rw - ext4 /dev/sda rw"}, {}, None),
    ],
)  # fmt: skip
def test_containers_are_recognised(
    native: ModuleType, tmp_path: Path, files: dict[str, str], environ: dict[str, str], kind: str | None
) -> None:
    assert seen(tree(tmp_path, **files), environ).container == kind


@pytest.mark.parametrize(("target", "kind"), [
    ("pid:[4026531836]", None), ("pid:[4026532999]", "a process namespace of its own"),
])  # fmt: skip
def test_a_process_namespace_of_its_own_is_a_container(
    native: ModuleType, tmp_path: Path, target: str, kind: str | None
) -> None:
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to(target)
    assert seen(tmp_path).container == kind


def test_neighbours_are_seen_and_named(native: ModuleType, tmp_path: Path) -> None:
    tree(
        tmp_path,
        proc__10__comm="nv-hostengine\n",
        proc__11__comm="nvidia-cuda-mps\n",
        proc__12__comm="python\n",
        proc__driver__nvidia__params="RmProfilingAdminOnly: 0\n",
    )
    machine = seen(tmp_path, {"CUDA_INJECTION64_PATH": "/opt/nsight/libToolsInjection64.so"}, H200)
    assert (machine.dcgm, machine.mps) == (("nv-hostengine",), ("nvidia-cuda-mps",))
    found = problems(machine)
    assert set(found) == {"injection", "dcgm", "mps"}
    assert "/opt/nsight/libToolsInjection64.so" in found["injection"].what
    assert "dcgmi profile --pause" in found["dcgm"].remedy
    assert judge(machine).verdict.method == "gpm"
    assert state(judge(replace(machine, injection=None)), "counters").available is None
    assert seen(tmp_path, {"CUDA_INJECTION64_PATH": "/x/libftprof_inject.so"}).injection is None
    assert seen(tmp_path / "none", {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"}).mps == ("CUDA_MPS_PIPE_DIRECTORY",)


@pytest.mark.parametrize(
    ("change", "problem", "counters", "gpm"),
    [
        ({"driver": Driver("1", "13.0", True)}, "confidential-computing", False, True),
        ({"gpus": (replace(H200, virtualisation="vgpu"),)}, "vgpu", False, True),
        ({"gpus": (replace(H200, virtualisation="passthrough"),)}, None, True, True),
        ({"gpus": (replace(H200, mig=True, instances=(MigInstance("MIG-0", 1, 0, 16),)),)}, "mig", None, True),
        ({"gpus": (replace(H200, mig=True),)}, "mig", None, False),
        ({"gpus": (replace(H200, capability="7.0"),)}, "old-chip", False, False),
        ({"gpus": (replace(H200, capability="13.0"),)}, "unknown-chip", True, False),
        ({"gpus": (replace(H200, capability=None),)}, "unknown-chip", True, False),
        ({"gpus": (replace(H200, max_sm_clock_khz=None),)}, None, True, False),
        ({"gpus": ()}, "no-gpu", False, False),
        ({"library": False}, "library", False, True),
        ({"chips": {"GPU-0": "GB300"}}, "chip-newer-than-cupti", False, True),
        ({"cupti": Cupti(None, error="it is CUPTI 12.4", remedy="ftprof needs 12.6 to 13.x")}, "cupti", False, True),
        ({"cupti": Cupti("13.9", warning="CUPTI 13.9 is newer than tested")}, "cupti-untested", True, True),
        ({"driver": Driver(None, error=NvmlError("nvmlInit", 9, "x")), "gpus": ()}, "no-driver", False, False),
        ({"driver": Driver(None, error=NvmlError("nvmlInit", 18, "x")), "gpus": ()}, "nvml", False, False),
    ],
)  # fmt: skip
def test_each_problem_is_named_with_its_remedy(
    change: dict[str, Any], problem: str | None, counters: bool | None, gpm: bool
) -> None:
    machine = replace(MACHINE, **change)
    found = problems(machine)
    assert set(found) == ({problem} if problem else set())
    assert all(p.remedy for p in found.values())
    result = judge(machine)
    assert (state(result, "counters").available, state(result, "gpm").available) == (counters, gpm)
    if problem and counters is False:
        assert found[problem].what in state(result, "counters").why


def test_one_gpu_in_the_way_leaves_the_others() -> None:
    other = replace(H200, uuid="GPU-1", index=1, virtualisation="vgpu")
    result = judge(replace(MACHINE, gpus=(H200, other), chips={"GPU-0": "GH100", "GPU-1": "GH100"}))
    assert state(result, "counters").why == "on 1 of 2 GPUs"
    assert [problem.device for problem in result.problems] == ["GPU-1"]


def test_no_native_module_is_said_and_no_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ftprof._native", None)  # importing it raises ImportError
    machine = seen(tmp_path, {}, H200)
    assert machine.cupti.version is None
    assert "native module" in problems(machine)["cupti"].what


def test_no_pynvml_is_said_and_no_crash(native: ModuleType, tmp_path: Path) -> None:
    def missing() -> Any:
        raise ImportError("No module named 'pynvml'")

    machine = look(tmp_path, {}, missing)
    assert "pynvml" in problems(machine)["nvml"].what


def test_an_nvml_that_fails_half_way_keeps_what_it_said(native: ModuleType, tmp_path: Path) -> None:
    nvml = FakeNvml()
    machine = look(tmp_path, {}, lambda: nvml)  # type: ignore[arg-type,return-value]
    assert machine.driver.version == "580.95.05"
    assert "nvmlDeviceGetCount" in problems(machine)["nvml"].what
    assert nvml.closed


def test_a_cupti_that_cannot_be_used_brings_its_remedy(native: ModuleType, tmp_path: Path) -> None:
    def refuse(_roots: object) -> Any:
        raise CuptiError("load /c/libcupti.so.12", 0, "ftprof needs 12.6 to 13.x")

    native.load_cupti = refuse
    found = problems(seen(tmp_path, {}, H200))["cupti"]
    assert (found.what, found.remedy) == ("load /c/libcupti.so.12: error 0 WHY", "ftprof needs 12.6 to 13.x")


def test_the_plan_of_the_chip_that_cupti_names(native: ModuleType, tmp_path: Path) -> None:
    machine = seen(tmp_path, {}, H200)
    assert machine.chips == {"GPU-0": "GH100"}
    assert machine.plans == {"GH100": PlanSummary(("a", "b"), ("bf16",), rotating=1, cuda_core=1)}
    assert problems(machine).keys() == {"privilege-unknown"}

    def refuse(*_: object) -> Any:
        raise CuptiError("cuptiX", 999)

    native.plan = refuse
    assert seen(tmp_path, {}, H200).plans == {"GH100": PlanSummary(error="cuptiX: error 999 WHY")}


def test_a_divided_gpu_is_known_by_its_instance(native: ModuleType, tmp_path: Path) -> None:
    divided = replace(H200, mig=True, instances=(MigInstance("MIG-7", 3, 0, 32),))
    machine = look(tmp_path, {}, lambda: FakeNvml(divided), lambda _: DeviceChips({"GPU-7": "GH100"}))  # type: ignore[arg-type,return-value]
    assert machine.chips == {"GPU-0": "GH100"}


def asked(unknown: ChipUnknown, *gpus: GpuInfo) -> Diagnosis:
    """Where the driver did not tell."""
    return judge(replace(MACHINE, gpus=gpus or (H200,), chips={}, chips_unknown=(unknown,)))


def test_a_driver_that_does_not_tell_the_chip_throws_doubt_on_the_counters() -> None:
    result = asked(ChipUnknown(None, "cuInit: error 802 WHY", "start it"))
    (problem,) = result.problems
    assert (problem.id, problem.device, problem.remedy) == ("chip-not-told", None, "start it")
    assert problem.what == "the GPUs' chips could not be asked: cuInit: error 802 WHY"
    assert state(result, "counters").available is None

    result = asked(ChipUnknown("GPU-1", "cuptiX: error 1 WHY", ""), H200, replace(A100, uuid="GPU-1"))
    (problem,) = result.problems
    assert (problem.device, problem.what.partition(":")[0]) == ("GPU-1", "NVIDIA A100")
    assert state(result, "counters").why == "on 1 of 2 GPUs"


def test_without_the_cuda_driver_nothing_is_counted() -> None:
    result = asked(ChipUnknown(None, "libcuda.so.1 cannot be loaded (why)", "do this", no_driver=True))
    assert [problem.id for problem in result.problems] == ["no-cuda"]
    assert state(result, "counters").available is False
    assert result.verdict.method == "gpm"


def test_a_gpu_that_cuda_does_not_show_is_named() -> None:
    result = judge(replace(MACHINE, gpus=(H200, replace(A100, uuid="GPU-1"), replace(A100, uuid="GPU-2", mig=True))))
    assert [(p.id, p.device) for p in result.problems if p.id != "mig"] == [("chip-not-told", "GPU-1")]


def test_diagnose_reads_this_machine(native: ModuleType) -> None:
    result = diagnosis.diagnose(open_nvml=no_nvml)
    assert [unknown.no_driver for unknown in result.machine.chips_unknown] == [True], result.machine.chips_unknown
    assert result.verdict.method == "analytic"
    assert [problem.id for problem in result.problems] == ["no-driver"]


def test_codes_of_three_kinds_are_told_apart_by_the_call() -> None:
    assert explain("cuptiRangeProfilerStart", 35).reason.startswith("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES: ")
    assert "NVreg_RestrictProfilingToAdminUsers=0" in explain("cuptiRangeProfilerStart", 35).remedy
    assert "dcgmi profile --pause" in explain("cuptiRangeProfilerEnable", 26).remedy
    assert explain("cuCtxGetCurrent", 4).reason.startswith("CUDA_ERROR_DEINITIALIZED")
    assert explain("nvmlInit", 18).reason.startswith("NVML_ERROR_LIB_RM_VERSION_MISMATCH")
    assert explain("cuptiX", 0) == explain("cuX", 0) == explanation.Explanation("", "")


@pytest.mark.parametrize(("call", "code"), [("cuptiRangeProfilerStart", 777), ("cuInit", 77), ("nvmlInit", 7777)])
def test_an_unknown_code_is_named_and_sends_to_doctor(call: str, code: int) -> None:
    explained = explain(call, code)
    assert str(code) in explained.reason
    assert "ftprof doctor" in explained.remedy


@pytest.mark.parametrize("table", [explanation._CUPTI, explanation._DRIVER, explanation._NVML])
def test_every_reason_is_one_line(table: dict[int, tuple[str, str, str]]) -> None:
    for name, reason, remedy in table.values():
        assert name.isupper()
        assert reason
        assert "\n" not in reason + remedy
        assert len(reason) < 100


@pytest.mark.parametrize("code", [26, 33, 35, 39, 40, 41, 43, 45, 46])
def test_what_forbids_counting_has_a_remedy(code: int) -> None:
    assert explain("cuptiRangeProfilerEnable", code).remedy


Change = Callable[[Machine], Machine]


@pytest.mark.parametrize(
    "machine",
    [
        MACHINE,
        replace(MACHINE, gpus=tuple(replace(H200, index=i, uuid=f"GPU-{i}") for i in range(8))),
        replace(MACHINE, gpus=(H200, replace(A100, index=1, uuid="GPU-1", mig=True)), chips={}),
        replace(MACHINE, driver=Driver(None, error=NvmlError("nvmlInit", 12, "x")), gpus=(), container="docker"),
        replace(MACHINE, privilege=Privilege(False, True, True), dcgm=("nv-hostengine",), mps=("m",), torch=False),
        replace(MACHINE, gpus=(replace(H200, name="a very long name " * 9),), cupti=Cupti(None, error="e", remedy="r")),
    ],
)
def test_the_text_fits_one_screen(machine: Machine) -> None:
    from ftprof.cli.doctor import doctor_answer

    lines = doctor_lines(doctor_answer(judge(machine)))
    assert lines[0].startswith("verdict")
    assert len(lines) <= 20 + 5 * len(judge(machine).problems), "\n".join(lines)
    assert all(len(line) <= 79 for line in lines)
