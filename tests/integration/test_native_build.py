"""CMake's search for NVIDIA's headers: where they are taken from, and what is said when they do not fit together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
CMAKE = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(
    CMAKE is None or not (SOURCE / "CMakeLists.txt").exists(), reason="no CMake or no sources"
)


def headers(folder: Path, cupti: int = 130001, cuda: int = 13000, runtime: int = 13000) -> Path:
    (folder / "crt").mkdir(parents=True)
    for name in ("cupti.h", "nvperf_target.h", "crt/host_defines.h"):
        (folder / name).touch()
    (folder / "cupti_version.h").write_text(f"#define CUPTI_API_VERSION {cupti}\n")
    (folder / "cuda.h").write_text(f"#define CUDA_VERSION {cuda}\n")
    (folder / "cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {runtime}\n")
    return folder


def configure(tmp_path: Path, root: Path, *options: str, **environment: str) -> tuple[int, str]:
    assert CMAKE is not None
    clean = {k: v for k, v in os.environ.items() if k not in {"CUDA_HOME", "CUDA_PATH"}}
    command = [CMAKE, "-S", str(SOURCE), "-B", str(tmp_path / "build"), "-DFTPROF_PYTHON=OFF"]
    command += [f"-DFTPROF_HEADER_ROOTS={root}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**clean, **environment})
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_headers_of_wheels(tmp_path: Path) -> None:
    folder = headers(tmp_path / "site/nvidia/cu13/include")
    code, said = configure(tmp_path, tmp_path / "site")
    assert code == 0, said
    assert f"CUPTI and CUDA 13.0 headers: {folder}" in said


def test_headers_of_a_toolkit(tmp_path: Path) -> None:
    folder = headers(tmp_path / "toolkit/include")
    code, said = configure(tmp_path, tmp_path / "site", CUDA_HOME=str(tmp_path / "toolkit"))
    assert code == 0, said
    assert f"CUPTI and CUDA 13.0 headers: {folder}" in said


@pytest.mark.parametrize(
    ("versions", "complaint"),
    [
        ({"cuda": 13010}, "cupti.h of 13.0, cuda.h of 13.1"),
        ({"runtime": 12090}, "cupti.h of 13.0, cuda_runtime_api.h of 12.9"),
        ({"cupti": 130200}, "cupti.h of 13.2, cuda.h of 13.0"),
        ({"cupti": 28}, "is older than CUDA 13.0"),
    ],
)
def test_headers_of_different_versions(tmp_path: Path, versions: dict[str, int], complaint: str) -> None:
    headers(tmp_path / "site/nvidia/cu13/include", **versions)
    code, said = configure(tmp_path, tmp_path / "site")
    assert code != 0
    assert complaint in said
    assert "nvidia-cuda-crt, all ==13.0.*" in said


def test_a_crt_wheel_of_another_version(tmp_path: Path) -> None:
    headers(tmp_path / "site/nvidia/cu13/include")
    (tmp_path / "site/nvidia_cuda_crt-13.1.80.dist-info").mkdir()
    code, said = configure(tmp_path, tmp_path / "site")
    assert code != 0
    assert "nvidia_cuda_crt-13.1.80" in said


def test_incomplete_headers(tmp_path: Path) -> None:
    folder = headers(tmp_path / "site/nvidia/cu13/include")
    (folder / "cuda.h").unlink()
    code, said = configure(tmp_path, tmp_path / "site", "-DFTPROF_TOOLKITS=")
    assert code != 0
    assert f"{folder} lacks cuda.h" in said
    assert "or set CUDA_HOME" in said
