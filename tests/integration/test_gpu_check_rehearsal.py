"""Experiments of scripts/gpu_check on the stand-ins: that they run to their end. Their figures say nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, clean_environment

if not (REPOSITORY / "scripts" / "gpu_check").exists():
    pytest.skip("scripts are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from gpu_checks import child, place

Experiment = Callable[[str], dict[str, Any]]


def rehearsed(folder: Path, work: Path) -> dict[str, str]:
    """The environment of gpu_check's programs, by this environment's ftprof."""
    from gpu_checks import rehearsal

    return clean_environment(
        **{place.STANDINS: str(folder), place.WORK: str(work), place.OUTPUT: str(work)},
        LD_LIBRARY_PATH=str(folder),
        CUDA_HOME=str(folder),
        FTPROF_STANDIN_SCRIPT=str(rehearsal.write_script(work)),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )


@pytest.fixture
def experiment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Runs one as gpu_check does, but for the build."""
    pytest.importorskip("torch")
    monkeypatch.setenv(place.STANDINS, str(folder))
    environment = rehearsed(folder, tmp_path)
    command = [sys.executable, str(REPOSITORY / "scripts" / "gpu_check"), "--experiment"]
    return lambda name: child.experiment(command, name, tmp_path, 150, environment)


def figures(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert result["state"] == "done", result
    return {figure["name"]: figure for figure in result["figures"]}


@pytest.mark.slow
def test_a_llamas_fine_tune_beside_every_other_method(experiment: Experiment) -> None:
    pytest.importorskip("peft")
    result = experiment("accuracy/lora-checkpointed")
    found = figures(result)
    assert found["Llama 1B, LoRA, checkpointing: the training ended as it should"]["ok"], json.dumps(result)
    row = result["facts"]["row"]
    assert row["exact_by"] == "one step alone"  # there is no Nsight Compute here
    assert row["low"] <= row["exact"] <= (row["high"] or row["exact"])
    assert row["formula"] == (4 * row["parameters"] + 2 * row["trained"]) * row["tokens"]
    assert 0 < row["trained"] < row["parameters"]
    assert row["analytic"] > 0
    assert row["gpm"] is None  # nor an NVML


@pytest.mark.slow
def test_what_tools_cost(experiment: Experiment) -> None:
    result = experiment("tools/eager-small")
    tools = ("torch.profiler", "FlopCounterMode", "ftprof's meter with CUDA-core windows")
    assert set(figures(result)) == {f"eager, small: with {tool} / bare" for tool in tools}
    assert result["notes"] == []


@pytest.mark.slow
def test_what_the_meter_costs_as_it_ships(experiment: Experiment) -> None:
    result = experiment("shipped/small")
    assert set(figures(result)) == {
        "eager, small, as shipped: metered / bare",
        "eager, small, as shipped: the usual steps, without what edges stall",
        "eager, small: a bare block / the bare one before it",
    }
    fact = result["facts"]["eager, small, as shipped"]
    assert len(fact["bare"]) == len(fact["metered"]) + 1
    assert all(block["opened"] and block["windows"]["base"][0] > 0 for block in fact["metered"])


@pytest.mark.slow
def test_two_minutes(experiment: Experiment) -> None:
    found = figures(experiment("training/two-minutes"))
    assert found["two minutes: eager, large, wrapped / bare"]["rounds"] == 2
    assert found["two minutes: every step does the same operations"]["ok"]


@pytest.mark.slow
def test_two_trainings_on_one_gpu(experiment: Experiment) -> None:
    found = figures(experiment("safety/together"))
    assert len(found) == 4
    assert all(figure["ok"] for figure in found.values()), found


@pytest.mark.slow
def test_a_block_beside_wrap(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of tests/gpu, which are otherwise skipped where there is no GPU."""
    pytest.importorskip("torch")
    monkeypatch.setenv(place.STANDINS, str(folder))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    command += [str(REPOSITORY / "tests" / "gpu"), "-k", "a_block_around_steps"]
    done = subprocess.run(
        command, env=rehearsed(folder, tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
