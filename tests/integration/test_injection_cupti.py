"""Which CUPTI the injection library takes where several are installed: the stand-in's, at each one's place."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cuda_standins import BF16, Standins
from injection_runs import beside_truth, program, run

GEMM = {BF16: 2**31 + 1, "duration_us": 400}
COMPILER = shutil.which("cc") or shutil.which("gcc")
LIBRARIES = ("libcupti.so.13", "libnvperf_host.so", "libnvperf_target.so")
# Where a toolkit lies that no variable names, which is looked into before ftprof's own extra.
TOOLKIT = Path("/usr/local/cuda")
PLACES = {  # the best first: what the record calls it, and where it lies
    "mapped": ("already mapped", "application/lib"),
    "training": ("the training's site-packages", "venv/lib/python3.12/site-packages/nvidia/cu13/lib"),
    "toolkit": ("CUDA toolkit", "toolkit/extras/CUPTI/lib64"),
    "extra": ("Python environment", "ftprof/site-packages/nvidia/cu13/lib"),
}


@pytest.fixture
def standins(folder: Path, tmp_path: Path) -> Iterator[Standins]:
    standins = Standins(folder, tmp_path)
    yield standins
    assert standins.violations() == []


@pytest.fixture
def without_toolkit(tmp_path: Path) -> list[str]:
    """Runs a command where no toolkit lies in its usual place."""
    if not TOOLKIT.exists():
        return []
    (tmp_path / "nothing").mkdir()
    hide = f'mount --bind {tmp_path / "nothing"} {TOOLKIT.resolve()} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{TOOLKIT} may not be hidden here")
    return command


@pytest.mark.skipif(COMPILER is None, reason="no C compiler for a library of the training's")
@pytest.mark.parametrize("best", PLACES)
def test_the_best_of_those_that_are_there_is_taken(standins: Standins, without_toolkit: list[str], best: str) -> None:
    there = list(PLACES)[list(PLACES).index(best) :]
    for name in there:
        target = standins.work / PLACES[name][1]
        target.mkdir(parents=True)
        for library in LIBRARIES:
            shutil.copy(standins.folder / library, target)
    preloaded = []
    if "mapped" in there:
        preloaded.append(str(standins.work / PLACES["mapped"][1] / "libcupti.so.13"))
    if "training" in there:
        preloaded.append(str(library_of_the_training(standins.work)))
    extra = standins.work / PLACES["extra"][1]
    variables = [f"LD_PRELOAD={':'.join(preloaded)}", f"FTPROF_CUPTI_ROOTS={extra.parents[2]}=Python environment"]
    counted = run(
        standins, {"kernels": {"gemm": GEMM}, "trace": "cupti"},
        [*without_toolkit, "env", *variables, *program(standins, "--kernels", "gemm:1000", "--seconds", "0.5")],
        FTPROF_SLOT_US="20000,20000", FTPROF_CUDA_CORE="0", CUDA_HOME=str(standins.work / "toolkit"),
    )  # fmt: skip
    assert (counted.code, counted.err) == (0, "")
    origin, folder = PLACES[best]
    (software,) = (process["software"] for process in counted.record["processes"] if process["software"]["cupti"])
    assert (software["cupti_origin"], software["cupti_path"]) == (
        origin, str(standins.work / folder / "libcupti.so.13"),
    )  # fmt: skip
    pairs = beside_truth(counted)
    assert sum(window.counts.get(BF16, 0) for window, _ in pairs) > 0
    assert [window.counts for window, _ in pairs] == [truth for _, truth in pairs]


def library_of_the_training(folder: Path) -> Path:
    """One that a training maps from its environment, as it does torch's."""
    path = (folder / PLACES["training"][1]).parents[2] / "torch" / "lib" / "libtorch.so"
    path.parent.mkdir(parents=True)
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-x", "c", "/dev/null", "-o", str(path)], check=True)
    return path
