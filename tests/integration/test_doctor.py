"""``ftprof doctor`` as its users call it: the real pynvml on a stand-in for NVML, the real CUPTI where it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import clean_environment, ftprof
from cuda_standins import Standins, build
from nvml_standin import Standin, nvml_library, standin  # noqa: F401

from ftprof.measure.device_chips import DeviceChips, ask_chips
from ftprof.record import schemas

SCHEMA = json.loads(schemas.RECORD.with_name("doctor-1.json").read_text())


def doctor(environment: dict[str, str]) -> dict[str, Any]:
    """Its answer, which fits the schema; it ends with 0 whatever it finds, and says nothing on stderr."""
    done = ftprof("doctor", "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(answer, SCHEMA)
    return answer


def text(environment: dict[str, str]) -> str:
    done = ftprof("doctor", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 79 for line in done.stdout.splitlines() if "/" not in line)
    return done.stdout


def problem(answer: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [problem for problem in answer["problems"] if problem["id"] == name]
    assert found["remedy"]
    return dict(found)


def method(answer: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [state for state in answer["methods"] if state["method"] == name]
    return dict(found)


def test_this_machine() -> None:
    """Whatever it is: an answer of the right form, one verdict, no traceback."""
    answer = doctor(clean_environment())
    assert answer["verdict"]["method"] in ("counters", "gpm", "analytic")
    assert f"auto would {'take' if answer['verdict']['available'] else 'try'}" in text(clean_environment())


def test_a_driver_with_an_h200(standin: Standin) -> None:  # noqa: F811
    answer = doctor(standin.gpu().environment())
    assert answer["driver"] == {
        "version": "580.95.05",
        "cuda": "13.0",
        "confidential_computing": False,
        "error": None,
    }
    (gpu,) = answer["gpus"]
    assert (gpu["name"], gpu["uuid"], gpu["capability"]) == ("NVIDIA H200", "GPU-0", "9.0")
    assert (gpu["multiprocessors"], gpu["max_sm_clock_khz"], gpu["mig"]) == (132, 1_980_000, False)
    assert gpu["peak_flops_per_second"] == str(132 * 1_980_000_000 * (16384 + 512))
    assert method(answer, "gpm")["available"]
    assert method(answer, "peak-bound")["available"]
    shown = text(standin.environment())
    assert "GPU 0     NVIDIA H200, capability 9.0, 132 SMs at up to 1980 MHz" in shown


def test_the_real_cupti_is_found_and_plans(standin: Standin) -> None:  # noqa: F811
    pytest.importorskip("nvidia.cu13", reason="no CUPTI 13 wheel in this environment")
    cupti = doctor(standin.gpu().environment())["cupti"]
    assert cupti["version"].startswith("13.")
    assert cupti["path"].endswith("libcupti.so.13")
    assert cupti["error"] is not None or cupti["chips_known"] > 20


def test_no_driver(tmp_path: Any) -> None:
    library = tmp_path / "libnvidia-ml.so.1"
    library.write_text("no library")  # found before a real one, should this machine have it
    answer = doctor(clean_environment(LD_LIBRARY_PATH=str(tmp_path)))
    assert problem(answer, "no-driver")["stops"] == ["counters", "gpm", "peak-bound"]
    assert (answer["verdict"]["method"], answer["gpus"]) == ("analytic", [])


def test_a_driver_without_gpus(standin: Standin) -> None:  # noqa: F811
    answer = doctor(standin.environment())
    assert problem(answer, "no-gpu")
    assert answer["verdict"]["method"] == "analytic"


@pytest.mark.parametrize(("code", "words"), [(18, "reboot"), (999, "Xid"), (4, "root")])
def test_an_nvml_that_fails_is_explained(standin: Standin, code: int, words: str) -> None:  # noqa: F811
    answer = doctor(standin.gpu().set(fail__nvmlInitWithFlags=str(code)).environment())
    assert words in problem(answer, "nvml")["remedy"]
    assert f"error {code}" in answer["driver"]["error"]


def test_a_gpu_that_was_lost(standin: Standin) -> None:  # noqa: F811
    answer = doctor(standin.gpu().set(fail__nvmlDeviceGetUUID="15").environment())
    assert "GPU_IS_LOST" in problem(answer, "nvml")["what"]
    assert answer["driver"]["version"] == "580.95.05"


@pytest.mark.parametrize(
    ("gpu", "lines", "name"),
    [
        ({"virtualization": "2"}, {}, "vgpu"),
        ({"mig": "1", "mig0__uuid": "MIG-0", "mig0__gi": "1", "mig0__ci": "0", "mig0__sms": "16"}, {}, "mig"),
        ({}, {"confidential": "1"}, "confidential-computing"),
        ({"capability": "7.0"}, {}, "old-chip"),
        ({"capability": "42.0"}, {}, "unknown-chip"),
        ({"capability": None}, {}, "unknown-chip"),
    ],
)
def test_what_is_in_the_way_of_a_gpu(
    standin: Standin,  # noqa: F811
    gpu: dict[str, str | None],
    lines: dict[str, str],
    name: str,
) -> None:
    answer = doctor(standin.gpu(**gpu).set(**lines).environment())
    assert problem(answer, name)["what"].startswith(("NVIDIA H200", "confidential computing"))
    assert problem(answer, name)["what"].split()[0] in text(standin.environment())


def test_confidential_computing_in_its_development_mode_forbids_nothing(standin: Standin) -> None:  # noqa: F811
    answer = doctor(standin.gpu().set(confidential="1", devtools="1").environment())
    assert "confidential-computing" not in [problem["id"] for problem in answer["problems"]]


def test_an_instance_of_a_divided_gpu_is_shown(standin: Standin) -> None:  # noqa: F811
    standin.gpu(mig="1", mig2__uuid="MIG-7", mig2__gi="3", mig2__ci="0", mig2__sms="32")
    (gpu,) = doctor(standin.environment())["gpus"]
    assert gpu["instances"] == [
        {"uuid": "MIG-7", "gpu_instance": 3, "compute_instance": 0, "multiprocessors": 32},
    ]


def test_another_tools_injection_is_named(standin: Standin) -> None:  # noqa: F811
    environment = standin.gpu().environment(CUDA_INJECTION64_PATH="/opt/x/libToolsInjection64.so")
    assert "/opt/x/libToolsInjection64.so" in problem(doctor(environment), "injection")["what"]


def test_an_old_driver_that_lacks_calls_is_still_described(standin: Standin) -> None:  # noqa: F811
    standin.gpu(minor=None, cores=None, max_sm_mhz=None, virtualization=None, gpm=None, mig=None)
    del standin.lines["confidential"]
    (gpu,) = doctor(standin.environment())["gpus"]
    assert {name for name, value in gpu.items() if value is None} >= {"multiprocessors", "mig", "gpm", "virtualisation"}


def test_help_imports_neither_pynvml_nor_the_native_module() -> None:
    program = (
        "import sys\nfrom ftprof.cli import main\n"
        "try:\n    main(['doctor', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'pynvml', 'ftprof._native', 'torch', 'cupy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_it_changes_nothing(standin: Standin, tmp_path: Any) -> None:  # noqa: F811
    folder = tmp_path / "here"
    folder.mkdir()
    environment = standin.gpu().environment()
    assert ftprof("doctor", env=environment, cwd=folder).returncode == 0
    assert list(folder.iterdir()) == []


UUID = "GPU-00000000-0000-0000-0000-00000000000"
CHIPS = {"devices": [{"uuid": f"{UUID}1", "chip": "GH100"}, {"uuid": f"{UUID}2", "chip": "TU116"}]}
# The stand-ins' CUPTI before the real one: in the tests' own environment that one would come first.
MAPPED = """
import ctypes, os
ctypes.CDLL(os.path.join(os.environ["FTPROF_TEST_STANDINS"], "libcupti.so.13"))
"""


@pytest.fixture
def cuda(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Standins:
    return Standins(build(tmp_path_factory), tmp_path)


def both(standin: Standin, cuda: Standins, script: dict[str, Any], **changes: str) -> dict[str, str]:  # noqa: F811
    """The environment of a process that finds NVML, the CUDA driver and CUPTI, all stand-ins."""
    mapped = cuda.work / "mapped"
    mapped.mkdir(exist_ok=True)
    (mapped / "sitecustomize.py").write_text(MAPPED)
    nvml = standin.environment()
    scripted = cuda.environment(script, PYTHONPATH=str(mapped), FTPROF_TEST_STANDINS=str(cuda.folder))
    path = os.pathsep.join([str(cuda.folder), nvml["LD_LIBRARY_PATH"]])
    return {**nvml, **scripted, "LD_LIBRARY_PATH": path, **changes}


def two_gpus(standin: Standin) -> Standin:  # noqa: F811
    standin.gpu(0, uuid=f"{UUID}1")
    return standin.gpu(1, uuid=f"{UUID}2", name="NVIDIA GTX 1660", capability="7.5", cores="1408", gpm="0")


def test_each_gpus_chip_and_plan(standin: Standin, cuda: Standins) -> None:  # noqa: F811
    """Also where the environment hides GPUs from CUDA, or injects a tool: those are not for doctor."""
    environment = both(two_gpus(standin), cuda, CHIPS, CUDA_VISIBLE_DEVICES="1", CUDA_INJECTION64_PATH="/none.so")
    hopper, turing = doctor(environment)["gpus"]
    assert (hopper["chip"], turing["chip"]) == ("GH100", "TU116")
    assert hopper["plan"]["precisions"] == ["bf16", "fp16", "fp8"]
    assert len(hopper["plan"]["base"]) == 4
    assert (hopper["plan"]["rotating"], hopper["plan"]["error"]) == (3, None)
    assert turing["plan"]["precisions"] == []
    assert turing["plan"]["cuda_core"] > 0
    shown = " ".join(text(environment).split())
    assert "chip GH100: counts bf16, fp16, fp8 always, 3 more groups in turn, CUDA cores in rare windows" in shown
    assert "chip TU116: counts SM cycles only (no tensor cores) always" in shown
    assert cuda.violations() == []


CHOSEN = "import os; from ftprof.measure.methods import chosen; print(chosen('auto', os.environ).label)"
NO_GPM = {"gpm": "0", "name": "NVIDIA A100", "capability": "8.0", "cores": "6912"}


@pytest.mark.parametrize(
    ("gpu", "lines", "method"),
    [
        ({}, {}, "counters"),
        ({}, {"confidential": "1"}, "gpm"),
        (NO_GPM, {"confidential": "1"}, "analytic"),
        ({"virtualization": "2"}, {}, "gpm"),
        ({**NO_GPM, "virtualization": "2"}, {}, "analytic"),
        ({"capability": "7.0", "gpm": "0"}, {}, "analytic"),
        ({"capability": None}, {"confidential": "1"}, "analytic"),
        ({"mig": "1"}, {}, "counters"),
        (None, {}, "analytic"),
        ({}, {"fail__nvmlInitWithFlags": "999"}, "counters"),
        ({}, {"fail__nvmlDeviceGetUUID": "15"}, "counters"),
        ({}, {"delay_ms__nvmlInitWithFlags": "5000"}, "counters"),
    ],
)
def test_auto_takes_what_doctor_says(
    standin: Standin,  # noqa: F811
    cuda: Standins,
    gpu: dict[str, str | None] | None,
    lines: dict[str, str],
    method: str,
) -> None:
    """Where NVML fails or hangs the counters may still be had, and neither of the two gives them up."""
    if gpu is not None:
        standin.gpu(0, **{"uuid": f"{UUID}1", **gpu})
    environment = both(standin.set(**lines), cuda, CHIPS)
    assert doctor(environment)["verdict"]["method"] == method
    done = subprocess.run([sys.executable, "-c", CHOSEN], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{method}\n", "")


def test_asking_for_the_chip_makes_no_context(standin: Standin, cuda: Standins) -> None:  # noqa: F811
    """The driver's calls, and what its ledger says of contexts."""
    assert doctor(both(two_gpus(standin), cuda, {**CHIPS, "trace": True}))["gpus"][0]["chip"] == "GH100"
    called = {line["call"] for line in cuda.trace() if "call" in line}
    assert {"cuInit", "cuDeviceGetCount", "cuptiDeviceGetChipName"} <= called
    assert not {call for call in called if "Ctx" in call}
    assert [truth.contexts for truth in cuda.truths() if truth.contexts] == []


@pytest.mark.parametrize(
    ("call", "code", "words", "remedy"),
    [
        ("cuInit", 802, "NVLink switches", "nvidia-fabricmanager"),
        ("cuInit", 803, "different versions", "reboot"),
        ("cuInit", 100, "CUDA_ERROR_NO_DEVICE", "container"),
        ("cuDeviceGetCount", 999, "no reason", "Xid"),
        ("cuDeviceGetUuid", 101, "no such GPU", "CUDA_VISIBLE_DEVICES"),
        ("cuptiProfilerInitialize", 14, "do not fit", "update the driver"),
        ("cuptiDeviceGetChipName", 2, "NVIDIA H200: its chip", "doctor"),
    ],
)
def test_a_driver_that_fails_says_why_and_what_to_do(
    standin: Standin,  # noqa: F811
    cuda: Standins,
    call: str,
    code: int,
    words: str,
    remedy: str,
) -> None:
    script = {**CHIPS, "failures": [{"call": call, "nth": 1, "code": code}]}
    answer = doctor(both(two_gpus(standin), cuda, script))
    found = problem(answer, "chip-not-told")
    assert words in found["what"]
    assert f"{call}: error {code}" in found["what"]
    assert remedy in found["remedy"]
    told = 1 if call == "cuptiDeviceGetChipName" else 0
    assert [gpu["chip"] for gpu in answer["gpus"]].count(None) == 2 - told


def test_a_driver_without_its_cuda_part(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    """As in a container that was given NVIDIA_DRIVER_CAPABILITIES=utility."""
    (tmp_path / "libcuda.so.1").write_text("no library")  # found before a real one, should this machine have it
    environment = standin.gpu().environment()
    environment["LD_LIBRARY_PATH"] = f"{tmp_path}{os.pathsep}{environment['LD_LIBRARY_PATH']}"
    answer = doctor(environment)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in problem(answer, "no-cuda")["remedy"]
    assert method(answer, "counters")["available"] is False


def chips(standin: Standin, cuda: Standins, script: dict[str, Any], patience_s: float) -> DeviceChips:  # noqa: F811
    return ask_chips(both(standin, cuda, {**CHIPS, **script}), patience_s)


def test_a_driver_that_never_answers_does_not_hang_doctor(standin: Standin, cuda: Standins) -> None:  # noqa: F811
    began = time.monotonic()
    answer = chips(standin, cuda, {"delays": [{"call": "cuInit", "us": 120_000_000}]}, 1)
    assert time.monotonic() - began < 60
    (unknown,) = answer.unknown
    assert (unknown.uuid, unknown.what) == (None, "the CUDA driver did not answer within 1 s")
    assert "Xid" in unknown.remedy


def test_a_driver_that_crashes_does_not_take_doctor_along(standin: Standin, tmp_path: Path) -> None:  # noqa: F811
    """One whose loading kills the process."""
    library = tmp_path / "libcuda.so.1"
    source = "#include <signal.h>\n__attribute__((constructor)) static void die(void) { raise(SIGSEGV); }\n"
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert compiler is not None  # the stand-in of NVML was built with it
    build_one = [compiler, "-shared", "-fPIC", "-xc", "-", "-o", str(library)]
    subprocess.run(build_one, input=source, text=True, check=True)
    environment = standin.gpu().environment()
    environment["LD_LIBRARY_PATH"] = f"{tmp_path}{os.pathsep}{environment['LD_LIBRARY_PATH']}"
    assert "SIGSEGV" in problem(doctor(environment), "chip-not-told")["what"]
