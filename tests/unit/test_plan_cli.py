"""``ftprof plan`` on a stand-in for the native module, and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest

import ftprof
from ftprof.cli import main, plan
from ftprof.measure import cupti_search


class CuptiError(RuntimeError):
    """Stands for _native.CuptiError."""


@dataclass
class Info:
    path: str = "/cupti/libcupti.so.13"
    version: str = "13.0"
    origin: str = "Python environment"
    warning: str = ""


@dataclass
class Group:
    role: str
    metrics: list[str]
    passes: int = 1


@dataclass
class Unsupported:
    metric: str
    reason: str


@dataclass
class Row:
    precision: str
    kind: str
    weight: int


@dataclass
class Plan:
    chip: str
    groups: list[Group]
    unsupported: list[Unsupported] = field(default_factory=list)


ROWS = {
    "bf16.sum": Row("bf16", "floating", 1),
    "ffma.sum": Row("fp32", "cuda-core", 2),
    "cycles.sum": Row("", "cycles", 0),
}
PLAN = Plan(
    "GH100",
    [Group("base", ["bf16.sum", "cycles.sum"]), Group("cuda-core", ["ffma.sum"])],
    [Unsupported("odd_metric", "takes two passes")],
)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("ftprof._native")
    module.CuptiError = CuptiError
    module.load_cupti = lambda roots: Info()
    module.chips = lambda: ["GV100", "GH100", "GB110", "TU116"]
    module.plan = lambda chip: PLAN
    module.find_metric = ROWS.__getitem__
    monkeypatch.setitem(sys.modules, "ftprof._native", module)
    monkeypatch.setattr(ftprof, "_native", module, raising=False)
    return module


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_json_by_the_contract(native: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--chip", "gh100", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["schema"] == "ftprof.plan/1"
    assert answer["cupti_version"] == "13.0"
    assert answer["chip"] == "GH100"
    assert answer["groups"] == [
        {"role": "base", "metrics": ["bf16.sum", "cycles.sum"], "passes": 1},
        {"role": "cuda-core", "metrics": ["ffma.sum"], "passes": 1},
    ]
    assert answer["unsupported"] == [{"metric": "odd_metric", "reason": "takes two passes"}]


def test_text_shows_precision_weight_and_roles(native: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--chip", "GH100")
    assert (code, err) == (0, "")
    assert "base: on nearly always" in out
    assert any(line.split() == ["1.", "bf16", "x1", "bf16.sum"] for line in out.splitlines())
    assert any(line.split() == ["cycles", "cycles.sum"] for line in out.splitlines())
    assert any(line.split() == ["1.", "fp32", "x2", "ffma.sum"] for line in out.splitlines())
    assert "unsupported: odd_metric: takes two passes" in out
    assert "rotating" not in out


def test_without_a_chip_it_lists_them(native: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert "GH100 GB110 TU116" in out
    assert "too old for the range profiler: GV100" in out
    code, out, _ = run(capsys, "--json")
    assert code == 0
    assert json.loads(out)["chips"] == ["GV100", "GH100", "GB110", "TU116"]
    native.chips = lambda: ["GH100"]
    assert "too old" not in run(capsys)[1]


@pytest.mark.parametrize(
    ("chip", "hint"),
    [
        ("GH10", "did you mean GH100"),
        ("H100", "GH100"),
        ("zzz", "'ftprof plan' lists the chips"),
        ("gv100", "is older"),
    ],
)
def test_an_unknown_chip(native: ModuleType, capsys: pytest.CaptureFixture[str], chip: str, hint: str) -> None:
    code, out, err = run(capsys, "--chip", chip)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert hint in err


def test_a_cupti_error_is_one_line(native: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(roots: object) -> Info:
        message = "find CUPTI: nothing\nhere; install one"
        raise CuptiError(message)

    native.load_cupti = refuse
    code, out, err = run(capsys, "--chip", "GH100")
    assert (code, out, err) == (1, "", "ftprof: cannot plan: find CUPTI: nothing here; install one\n")


def test_a_warning_goes_to_stderr(native: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    native.load_cupti = lambda roots: Info(warning="newer than tested")
    code, out, err = run(capsys, "--chip", "GH100", "--json")
    assert code == 0
    assert json.loads(out)["chip"] == "GH100"
    assert err == "ftprof: warning: newer than tested\n"


def test_a_module_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ftprof._native", None)
    monkeypatch.setattr(plan, "__file__", "/an/installed/ftprof/cli/plan.py")
    monkeypatch.delattr(ftprof, "_native", raising=False)
    code, _, err = run(capsys)
    assert code == 1
    assert "reinstall ftprof" in err


def test_help_loads_no_native_module() -> None:
    script = (
        "import sys\nfrom ftprof.cli import main\n"
        "try:\n    main(['plan', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'ftprof.cli.plan' in sys.modules and 'ftprof._native' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--chip" in done.stdout


def test_search_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from pathlib import Path

    root = Path(str(tmp_path))
    (root / "site" / "nvidia").mkdir(parents=True)
    (root / "bare").mkdir()
    monkeypatch.setattr(cupti_search, "_TOOLKIT_FOLDERS", (str(root / "toolkit"), str(root / "absent")))
    (root / "toolkit").mkdir()
    monkeypatch.setenv("CUDA_HOME", str(root / "home"))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    path = [str(root / "bare"), str(root / "site"), str(root / "site")]
    assert cupti_search.search_roots(path) == [
        (str(root / "site"), "Python environment"),
        (str(root / "home"), "CUDA toolkit"),
        (str(root / "toolkit"), "CUDA toolkit"),
    ]
    monkeypatch.setattr(sys, "path", [str(root / "site")])
    assert cupti_search.search_roots()[0] == (str(root / "site"), "Python environment")
