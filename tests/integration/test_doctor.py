"""``ftprof doctor`` as its users call it: the real pynvml on a stand-in for NVML, the real CUPTI where it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from conftest import clean_environment, ftprof
from nvml_standin import Standin, nvml_library, standin  # noqa: F401

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
