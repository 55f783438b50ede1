"""How CUPTI is found, chosen and refused. Each case is a process of its own, since a process loads CUPTI once."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_images import real_cupti

STUBS = Path(__file__).parents[2] / "csrc" / "testing" / "stub_libraries.c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
WHEEL_13 = "nvidia/cu13/lib/libcupti.so.13"
WHEEL_12 = "nvidia/cuda_cupti/lib/libcupti.so.12"

_LOAD = """
import ctypes, json, sys
from ftprof import _native
roots, map_first = json.loads(sys.argv[1])
for path in map_first:
    ctypes.CDLL(path)
try:
    info = _native.load_cupti([(root, f"root {i}") for i, root in enumerate(roots)])
    answer = {n: getattr(info, n) for n in ("path", "version", "api_version", "origin", "warning")}
except _native.CuptiError as error:
    answer = {n: getattr(error, n) for n in ("call", "code", "name", "remedy")} | {"line": str(error)}
print(json.dumps(answer))
"""


def load(*roots: Path, map_first: list[Path] | None = None) -> dict[str, object]:
    argument = json.dumps([[str(root) for root in roots], [str(path) for path in map_first or []]])
    done = subprocess.run([sys.executable, "-c", _LOAD, argument], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    if "line" in answer:
        assert "\n" not in str(answer["line"])
        assert answer["remedy"]
        assert str(answer["line"]).endswith(str(answer["remedy"]))
    return answer


def copy_real(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(Path(real_cupti()[0][0]) / "nvidia/cu13/lib" / name, folder)


def compile_stub(path: Path, **macros: int) -> None:
    if COMPILER is None:
        pytest.skip("no C compiler for the stand-in libraries")
    path.parent.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{path.name}"]
    subprocess.run([COMPILER, *flags, *defines, str(STUBS), "-o", str(path)], check=True)


def stub_perfworks(folder: Path, host: tuple[int, int], target: tuple[int, int]) -> None:
    for name, (year, number) in (("libnvperf_host.so", host), ("libnvperf_target.so", target)):
        compile_stub(folder / name, PERFWORKS_YEAR=year, PERFWORKS_NUMBER=number)


def stub_cupti(root: Path, layout: str, api: int, perfworks: tuple[int, int], result: int = 0) -> Path:
    library = root / layout
    stub_perfworks(library.parent, perfworks, perfworks)
    compile_stub(library, CUPTI_API_VERSION=api, CUPTI_RESULT=result, HOST_API=1)
    return library


def driver_is_present() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_the_module_links_neither_cuda_nor_cupti() -> None:
    from ftprof import _native

    listing = subprocess.run(["ldd", _native.__file__], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in listing
    assert not [line for line in listing.splitlines() if any(n in line for n in ("cuda", "cupti", "nvperf"))]


def test_no_cupti_names_the_remedy(tmp_path: Path) -> None:
    for answer in (load(), load(tmp_path), load(tmp_path / "absent")):
        assert answer["call"] == "find CUPTI"
        assert "ftprof[cupti]" in str(answer["remedy"])
    assert f"no libcupti under {tmp_path}, {tmp_path / 'absent'}" in str(load(tmp_path, tmp_path / "absent")["line"])


@pytest.mark.parametrize(
    "layout",
    [
        "libcupti.so.13",
        WHEEL_13,
        WHEEL_12,
        "lib64/libcupti.so.13",
        "lib/libcupti.so",
        "extras/CUPTI/lib64/libcupti.so.12",
        "targets/x86_64-linux/lib/libcupti.so.13",
        "targets/sbsa-linux/lib/libcupti.so",
    ],
)
def test_each_layout_is_found(tmp_path: Path, layout: str) -> None:
    library = stub_cupti(tmp_path, layout, 130001, (2025, 4))
    assert load(tmp_path) == {
        "path": str(library),
        "version": "13.0",
        "api_version": 130001,
        "origin": "root 0",
        "warning": "",
    }


@pytest.mark.parametrize(
    ("api", "perfworks", "version"),
    [(24, (2024, 1), "12.6"), (26, (2024, 5), "12.8"), (28, (2025, 2), "12.9"), (130000, (2025, 4), "13.0")],
)
def test_supported_releases(tmp_path: Path, api: int, perfworks: tuple[int, int], version: str) -> None:
    stub_cupti(tmp_path, WHEEL_12, api, perfworks)
    answer = load(tmp_path)
    assert answer["version"] == version
    assert answer["warning"] == ""


def test_a_newer_release_loads_with_a_warning(tmp_path: Path) -> None:
    stub_cupti(tmp_path, WHEEL_13, 130100, (2025, 5))
    answer = load(tmp_path)
    assert answer["version"] == "13.1"
    assert "13.1 is newer than the newest that ftprof was tested with (13.0)" in str(answer["warning"])


@pytest.mark.parametrize(("api", "shown"), [(22, "12.4"), (23, "12.5"), (18, "11.0"), (140000, "14.0")])
def test_releases_out_of_range_are_refused(tmp_path: Path, api: int, shown: str) -> None:
    stub_cupti(tmp_path, WHEEL_12, api, (2023, 5))
    answer = load(tmp_path)
    assert f"it is CUPTI {shown}" in str(answer["line"])
    assert "12.6 to 13.x" in str(answer["remedy"])


def test_the_first_usable_root_wins(tmp_path: Path) -> None:
    stub_cupti(tmp_path / "old", WHEEL_12, 22, (2023, 5))
    first = stub_cupti(tmp_path / "first", WHEEL_12, 28, (2025, 2))
    second = stub_cupti(tmp_path / "second", WHEEL_13, 130001, (2025, 4))
    answer = load(tmp_path / "old", tmp_path / "first", tmp_path / "second")
    assert answer["path"] == str(first)
    assert "passed over" in str(answer["warning"])
    assert "it is CUPTI 12.4" in str(answer["warning"])
    assert load(tmp_path / "old", tmp_path / "second", tmp_path / "first")["path"] == str(second)
    # Where none is usable, the best root's reason is told.
    assert "it is CUPTI 12.4" in str(load(tmp_path / "old", tmp_path / "absent")["line"])


def test_one_that_is_mapped_already_is_used(tmp_path: Path) -> None:
    mapped = stub_cupti(tmp_path / "mapped", WHEEL_12, 28, (2025, 2))
    stub_cupti(tmp_path / "root", WHEEL_13, 130001, (2025, 4))
    answer = load(tmp_path / "root", map_first=[mapped])
    assert answer["path"] == str(mapped)
    assert answer["origin"] == "already mapped"


def test_a_mapped_one_that_is_too_old_is_not_replaced(tmp_path: Path) -> None:
    mapped = stub_cupti(tmp_path / "mapped", WHEEL_12, 22, (2023, 5))
    stub_cupti(tmp_path / "root", WHEEL_13, 130001, (2025, 4))
    assert "it is CUPTI 12.4" in str(load(tmp_path / "root", map_first=[mapped])["line"])


def test_a_missing_libnvperf(tmp_path: Path) -> None:
    copy_real(tmp_path, "libcupti.so.13")
    answer = load(tmp_path)
    assert "libnvperf_host.so: the file is missing beside libcupti" in str(answer["line"])
    copy_real(tmp_path, "libnvperf_host.so")
    assert "libnvperf_target.so: the file is missing" in str(load(tmp_path)["line"])


def test_real_libraries_of_different_releases(tmp_path: Path) -> None:
    copy_real(tmp_path, "libcupti.so.13", "libnvperf_host.so")
    compile_stub(tmp_path / "libnvperf_target.so", PERFWORKS_YEAR=2024, PERFWORKS_NUMBER=1)
    answer = load(tmp_path)
    assert "libnvperf_host is release 2025.4 and libnvperf_target is release 2024.1" in str(answer["line"])


def test_a_cupti_beside_another_releases_libnvperf(tmp_path: Path) -> None:
    """CUPTI 12.6 works with the libnvperf of 13.0 without a word, and then lists the wrong chips."""
    stub_cupti(tmp_path, WHEEL_12, 24, (2025, 4))
    answer = load(tmp_path)
    assert "CUPTI 12.6 belongs to libnvperf 2024.1, but beside it lies 2025.4" in str(answer["line"])


def test_a_foreign_libnvperf_in_the_process(tmp_path: Path) -> None:
    stub_perfworks(tmp_path / "foreign", (2025, 4), (2025, 4))
    copy_real(tmp_path / "ours", "libcupti.so.13", "libnvperf_host.so", "libnvperf_target.so")
    foreign = tmp_path / "foreign" / "libnvperf_host.so"
    answer = load(tmp_path / "ours", map_first=[foreign])
    assert f"the process has mapped {foreign} already" in str(answer["line"])


@pytest.mark.skipif(driver_is_present(), reason="the machine has an NVIDIA driver")
def test_a_release_that_needs_a_driver(tmp_path: Path) -> None:
    # 99 stands for the crash of 13.2's cuptiGetVersion: it may not be called at all.
    stub_cupti(tmp_path, WHEEL_13, 130200, (2026, 1), result=99)
    answer = load(tmp_path)
    assert "need an NVIDIA driver" in str(answer["line"])
    assert "nvidia-cuda-cupti==13.0.*" in str(answer["remedy"])
    assert answer["code"] == 0


def test_a_version_that_cannot_be_asked(tmp_path: Path) -> None:
    stub_cupti(tmp_path, WHEEL_13, 0, (2025, 4), result=999)
    answer = load(tmp_path)
    assert answer["code"] == 999
    assert str(answer["call"]).startswith("cuptiGetVersion")


def test_a_cupti_without_the_host_api(tmp_path: Path) -> None:
    stub_perfworks(tmp_path, (2024, 1), (2024, 1))
    compile_stub(tmp_path / "libcupti.so.12", CUPTI_API_VERSION=24, CUPTI_RESULT=0)
    answer = load(tmp_path)
    assert "it has no cuptiProfilerHostInitialize" in str(answer["line"])
    assert "12.6 Update 2" in str(answer["remedy"])


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    copy_real(tmp_path, "libnvperf_host.so", "libnvperf_target.so")
    (tmp_path / "libcupti.so.13").write_text("no library")
    assert str(tmp_path / "libcupti.so.13") in str(load(tmp_path)["line"])


def test_nothing_works_before_cupti_is_loaded() -> None:
    script = (
        "from ftprof import _native\n"
        "for call in (_native.chips, lambda: _native.plan('GH100'), lambda: _native.passes('GH100', [])):\n"
        "    try:\n        call()\n"
        "    except _native.CuptiError as error:\n        assert error.remedy == 'call load_cupti first', error\n"
        "    else:\n        raise SystemExit('no error')\n"
        "assert _native.find_metric('sm__cycles_active.sum').unit == 'cycle'\n"
        "assert _native.find_metric('sm__ops_path_tensor_src_bf16_dst_fp32_realtime.sum').precision == 'bf16'\n"
        "assert _native.find_metric('nothing') is None\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ})


def test_planning_in_many_threads_at_once() -> None:
    script = (
        "import sys, threading\n"
        "from ftprof import _native\n"
        "_native.load_cupti([(sys.argv[1], 'test')])\n"
        "plans = []\n"
        "chips = ['GH100', 'GA100', 'TU102', 'AD102'] * 3\n"
        "threads = [threading.Thread(target=lambda c=c: plans.append(_native.plan(c))) for c in chips]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert sorted(p.chip for p in plans) == sorted(chips)\n"
        "assert len({(p.chip, str([g.metrics for g in p.groups])) for p in plans}) == 4\n"
    )
    subprocess.run([sys.executable, "-c", script, str(Path(real_cupti()[0][0]))], check=True, timeout=60)
