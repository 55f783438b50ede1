"""scripts/gpu_check without a GPU: its state, its budget, its children, its evidence, what it reads of other tools."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recorded_images
from conftest import REPOSITORY

if not (REPOSITORY / "scripts" / "gpu_check").exists():
    pytest.skip("scripts are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from gpu_checks import build, child, command, evidence, machine, ncu, place, tests
from gpu_checks.experiment import Experiment, Stage
from gpu_checks.findings import (
    Findings,
    at_least,
    at_most,
    between,
    exactly,
    figure_of,
    packed,
    unpacked,
    within,
)
from gpu_checks.kernels import KERNELS, ptx
from gpu_checks.stages import STAGES, find
from gpu_checks.stages.gemm import padded
from gpu_checks.state import State
from gpu_checks.wrapped import read_counters


@pytest.mark.parametrize(
    ("wanted", "values", "ok"),
    [
        (exactly(7), [7, 7], True),
        (exactly(7), [7, 8], False),
        (at_most(1.01), [0.99, 1.005, 1.5], True),
        (at_most(1.01), [1.02], False),
        (at_least(2), [1, 2, 3], True),
        (between(1, 2), [1, 2], True),
        (between(1, 2), [1, 3], False),
        (within(0.001), [-0.0005], True),
        (within(0.001), [-0.002], False),
        (None, [1], None),
    ],
)
def test_what_is_wanted(wanted: Any, values: list[float], ok: bool | None) -> None:
    assert figure_of("it", values, "s", wanted)["ok"] is ok


def test_a_figure_has_its_spread_and_whole_numbers_stay_whole() -> None:
    figure = figure_of("it", [3, 1, 2, 2**60], "FLOP", None)
    assert (figure["median"], figure["min"], figure["max"], figure["rounds"]) == (2, 1, 2**60, 4)
    assert figure_of("it", [1.0, 2.0], "s", None)["median"] == 1.5


def test_findings_are_on_disk_at_once(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "result.json", tmp_path)
    findings.figure("one", [1.5], "ms", at_most(2))
    findings.figure("none", [], "ms")
    findings.claim("it holds", False, "it does not")
    findings.fact("chip", "GH100")
    findings.fixture("gh100-base", {"chip": "GH100"}, b"image" * 99, b"available")
    data = json.loads((tmp_path / "result.json").read_text())
    assert [figure["ok"] for figure in data["figures"]] == [True, False]
    assert data["notes"] == ["none: no value"]
    fixture = json.loads((tmp_path / data["fixtures"][0]).read_text())
    assert unpacked(fixture["image"]) == b"image" * 99
    with pytest.raises(ValueError, match="not the ones"):
        unpacked({**packed(b"one"), "sha256": "0"})


def test_a_fixture_is_read_by_the_tests_that_decode_it(tmp_path: Path) -> None:
    about = dict.fromkeys(("device", "capability", "cupti", "driver", "date"), "x")
    content = {**about, "chip": "GH100", "rehearsal": False, "metrics": ["a.sum", "b.sum"], "values": ["7", "0"]}
    findings = Findings(tmp_path / "result.json", tmp_path)
    findings.fixture("gh100-base", content, b"image" * 99, b"available")
    recorded = recorded_images.read(tmp_path / "counter-data-gh100-base.json")
    assert (recorded.image, recorded.availability) == (b"image" * 99, b"available")
    assert (recorded.chip, recorded.metrics, recorded.counts) == ("GH100", ["a.sum", "b.sum"], [7, 0])
    assert hashlib.sha256(recorded.image).hexdigest() == recorded.sha256


def test_recorded_images_go_to_the_tests_unless_another_folder_was_asked_for(tmp_path: Path) -> None:
    assert place.fixtures(place.EVIDENCE) == place.FIXTURES == recorded_images.FIXTURES
    assert place.fixtures(tmp_path) == tmp_path


def child_of(folder: Path, program: str, limit_s: float = 30) -> dict[str, Any]:
    script = folder / "program.py"
    script.write_text("import json, os, pathlib, signal, subprocess, sys, time\n" + program)
    return child.experiment([sys.executable, str(script)], "stage/one", folder, limit_s, dict(os.environ))


FOUND = "pathlib.Path(sys.argv[2]).write_text(json.dumps({'figures': [], 'facts': {'a': 1}}))\n"


@pytest.mark.parametrize(
    ("program", "state"),
    [
        ("", "done"),
        ("sys.exit(1)", "failed"),
        ("sys.exit(3)", "refused"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
    ],
)
def test_how_an_experiment_ended(tmp_path: Path, program: str, state: str) -> None:
    result = child_of(tmp_path, FOUND + "print('said')\nsys.stdout.flush()\n" + program)
    assert (result["state"], result["facts"]) == (state, {"a": 1})
    assert ("said" in result.get("log", "")) == (state != "done")


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = (
        FOUND + f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {str(tmp_path)!r}], "
        "start_new_session=True)\nimport faulthandler; faulthandler.enable()\ntime.sleep(60)"
    )
    began = time.monotonic()
    result = child_of(tmp_path, program, 2)
    assert (result["state"], result["facts"]) == ("hung", {"a": 1})
    assert "most recent call first" in result["log"]
    assert time.monotonic() - began < 20
    time.sleep(0.1)
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(p)]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_state_is_kept_and_what_is_done_stays_done(tmp_path: Path) -> None:
    state = State(tmp_path / "deep" / "state.json")
    state.keep("a/one", {"state": "done", "figures": [1]})
    state.keep("a/two", {"state": "hung"})
    again = State(state.path)
    again.keep("a/one", {"state": "failed"})
    again.keep("a/two", {"state": "done"})
    assert [State(state.path).is_done(name) for name in ("a/one", "a/two", "a/three")] == [True, True, False]
    again.forget(["a/one"])
    assert not State(state.path).is_done("a/one")
    other = tmp_path / "other.json"
    other.write_text('{"schema": "another"}')
    with pytest.raises(ValueError, match="no state of gpu_check"):
        State(other)


def test_a_state_takes_over_what_evidence_has_and_it_has_not(tmp_path: Path) -> None:
    earlier, later = State(tmp_path / "earlier.json"), State(tmp_path / "later.json")
    earlier.know({"date": "2026-01-01", "driver": "1"})
    for name, value in (("a/one", 1), ("a/two", 2)):
        figures = [figure_of(f"of {name}", [value], "ms", at_most(3))]
        earlier.keep(name, {"state": "done", "seconds": 1.0, "figures": figures, "facts": {"value": value}})
    before = evidence.evidence(earlier)
    (tmp_path / "evidence.json").write_text(json.dumps(before))

    later.know({"date": "2026-02-02"})
    later.keep("a/two", {"state": "done", "date": "2026-02-02", "figures": [], "facts": {}})
    later.take_over(tmp_path / "evidence.json")
    assert later.data["machine"] == {"date": "2026-02-02", "driver": "1"}
    assert later.results["a/one"] == {**earlier.results["a/one"], "date": "2026-01-01"}
    assert later.results["a/two"]["figures"] == []
    assert later.is_done("a/one")
    assert "2026-01-01" in evidence.endings(later)
    with pytest.raises(ValueError, match="no evidence"):
        State(tmp_path / "third.json").take_over(earlier.path)


def test_every_stage_is_under_eight_minutes_and_its_names_are_unique() -> None:
    names = [f"{stage.name}/{experiment.name}" for stage in STAGES for experiment in stage.experiments]
    assert len(set(names)) == len(names)
    assert all(find(name) for name in names)
    assert all(stage.expected_s <= 480 for stage in STAGES)
    assert STAGES[0].name == "window"


def test_the_list_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(stage.name in out for stage in STAGES)
    with pytest.raises(SystemExit) as wrong:
        command.run(["--stage", "nothing"])
    assert wrong.value.code == 2


def test_the_pages_commands_name_stages_and_options_that_there_are(tmp_path: Path) -> None:
    """Those of docs/gpu-check.md, which need a GPU: each with ``--list``, by the shell that joins their lines."""
    page = (REPOSITORY / "docs" / "gpu-check.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "scripts").mkdir()
    program = tmp_path / "scripts" / "gpu_check"
    asked = tmp_path / "asked"
    program.write_text(
        f'#!/bin/sh\necho $# >> {asked}\nexec {sys.executable} {REPOSITORY}/scripts/gpu_check --list "$@"\n'
    )
    program.chmod(0o755)
    evidence_file = tmp_path / "docs" / "evidence" / "gpu-nvidia-h200.json"
    evidence_file.parent.mkdir(parents=True)
    evidence_file.symlink_to(REPOSITORY / "docs" / "evidence" / "gpu-nvidia-h200.json")
    for block in blocks:
        subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True, capture_output=True)
    assert len(asked.read_text().splitlines()) == page.count("\nscripts/gpu_check") > 8


class Machine:
    """A check whose machine, build and experiments are made up."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path
        self.results: dict[str, dict[str, Any]] = {}
        self.run_names: list[str] = []
        self.facts = {"kernel": "6", "gpus": ["a GPU"], "counters_allowed": True, "packages": {}, "profilers": []}
        for key in ("driver", "nvcc", "ncu", "python", "python_path", "admin_only", "cap_eff", "uid"):
            self.facts.setdefault(key, "x")
        stages = [
            Stage("window", "", (Experiment("golden", lambda _: None, 10, ""),)),
            Stage(
                "more", "", (Experiment("long", lambda _: None, 300, ""), Experiment("short", lambda _: None, 5, ""))
            ),
        ]
        monkeypatch.setattr(command, "STAGES", tuple(stages))
        monkeypatch.setattr(machine, "facts", lambda: self.facts)
        monkeypatch.setattr(machine, "missing", list)
        monkeypatch.setattr(machine, "said", lambda *_: None)
        monkeypatch.setattr(build.Build, "is_current", lambda _: True)
        monkeypatch.setattr(child, "experiment", self._experiment)
        monkeypatch.setattr(tests, "run", lambda *_: {"state": "done", "seconds": 1.0, "figures": []})
        monkeypatch.delenv(place.STANDINS, raising=False)

    def _experiment(self, _: Any, name: str, *__: Any) -> dict[str, Any]:
        self.run_names.append(name)
        return {"seconds": 1.0, "figures": [], "facts": {}, **self.results.get(name, {"state": "done"})}

    def check(self, *arguments: str) -> int:
        self.run_names.clear()
        return command.run(["--output", str(self.folder / "out"), "--work", str(self.folder / "work"), *arguments])


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_call_resumes_where_the_last_one_stopped(made_up: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert made_up.check("--budget-s", "100") == command.EXIT_UNFINISHED
    assert made_up.run_names == ["window/golden", "more/short"]
    assert "no time left for: tests, more/long" in capsys.readouterr().out
    assert made_up.check("--budget-s", "1000") == 0
    assert made_up.run_names == ["more/long"]
    assert made_up.check("--budget-s", "1000", "--again", "--only", "more/short") == 0
    assert made_up.run_names == ["more/short"]


def test_refused_counters_end_it_with_one_line(made_up: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.results["window/golden"] = {"state": "refused", "facts": {"refused": "cuptiX: error 35, do this"}}
    assert made_up.check() == command.EXIT_REFUSED
    assert made_up.run_names == ["window/golden"]
    assert "gpu_check: counters are refused here: cuptiX: error 35, do this" in capsys.readouterr().out
    made_up.facts["counters_allowed"] = False
    assert made_up.check() == command.EXIT_REFUSED
    assert made_up.run_names == []
    assert made_up.check("--anyway") == command.EXIT_REFUSED
    assert made_up.run_names == ["window/golden"]


def test_one_that_crashes_does_not_hold_up_the_rest(made_up: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.results["more/long"] = {"state": "crashed", "log": "one\nSegmentation fault"}
    made_up.results["more/short"] = {"state": "done", "figures": [figure_of("ratio", [2.0], "", at_most(1.01))]}
    assert made_up.check("--budget-s", "1000") == command.EXIT_FIGURES
    assert made_up.run_names == ["window/golden", "more/long", "more/short"]
    out = capsys.readouterr().out
    assert "CRASHED more/long: one / Segmentation fault" in out
    assert "NOT AS WANTED more/short: ratio: 2.0" in out
    assert made_up.check("--budget-s", "1000") == command.EXIT_FIGURES
    assert made_up.run_names == ["more/long"]  # done, though not as wanted, is done


def test_the_evidence_is_of_the_state_alone_and_names_no_folder(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json")
    state.know({"date": "2026-11-21", "kernel": "6.1", "cores": 2, "packages": {"torch": "2.11"}, "driver": "580"})
    facts = {"chip": "GH100", "device": "NVIDIA H200", "cupti": {"version": "13.0", "path": f"{sys.prefix}/libcupti"}}
    figures = [figure_of("a product", [2**31] * 3, "FLOP", exactly(2**31)), figure_of("late", [3.0], "s", at_most(1))]
    state.keep("window/golden", {"state": "done", "seconds": 9.0, "figures": figures, "facts": facts, "notes": ["so"]})
    state.keep("ends/kill", {"state": "crashed", "seconds": 1.0, "log": f"{REPOSITORY}/x\nAborted", "code": -6})
    content, text = evidence.write(state, tmp_path)
    assert (content.name, text.name) == ("gpu-nvidia-h200.json", "gpu-nvidia-h200.md")
    data = json.loads(content.read_text())
    assert data["figures"]["a product"]["median"] == 2**31
    assert {"date", "processor", "system", "python", "torch", "gpu", "chip", "driver"} <= set(data["conditions"])
    words = text.read_text()
    assert "| window/golden | a product | 2,147,483,648 FLOP |" in words
    assert "**NO**" in words
    assert "- it crashed: REPOSITORY/x / Aborted" in words
    for written in (content.read_text(), words):
        assert str(REPOSITORY) not in written
        assert f"{sys.prefix}/" not in written


RAW = """==PROF== Connected to process 1
"ID","Process ID","Kernel Name","sm__a.sum","sm__b.sum"
"","","","inst","inst"
"0","1","gemm(int, float)","2,147,483,648","0"
"1","1","other","1.5","n/a"
"""
DETAILS = """==PROF== Disconnected
"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","gemm","Command line profiler metrics","sm__a.sum","inst","2147483648"
"0","gemm","Command line profiler metrics","sm__b.sum","inst","5"
"1","other","Command line profiler metrics","sm__a.sum","inst","2"
"""


@pytest.mark.parametrize(("text", "b"), [(RAW, 0), (DETAILS, 5)])
def test_nsight_computes_tables(text: str, b: int) -> None:
    sums, kernels = ncu.parse(text, ["sm__a.sum", "sm__b.sum"])
    assert (sums["sm__a.sum"], sums["sm__b.sum"], kernels) == (2**31 + 2, b, 2)
    assert ncu.parse("==ERROR== ERR_NVGPUCTRPERM\n", ["sm__a.sum"])[1] == 0


def test_pytests_report(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.gpu.test_x" name="test_a"/>'
        '<testcase classname="test_x" name="test_b"><failure message="it  broke">long</failure></testcase>'
        '<testcase classname="test_x" name="test_c"><skipped message="no torch"/></testcase></testsuite></testsuites>'
    )
    figures, skipped = tests.read_report(report)
    assert [(figure["name"], figure["ok"]) for figure in figures] == [
        ("test_x::test_a", True),
        ("test_x::test_b", False),
    ]
    assert figures[1]["because"] == "it broke"
    assert skipped == ["test_x::test_c: no torch"]


def test_what_pytest_had_said_before_it_was_stopped() -> None:
    text = (
        "collected 4 items\n\ntests/gpu/test_x.py::test_a PASSED           [ 25%]\n"
        "../tests/gpu/test_x.py::test_b[exit-0] FAILED    [ 50%]\ntests/gpu/test_x.py::test_c SKIPPED (why) [ 75%]\n"
        "tests/gpu/test_x.py::test_d "
    )
    assert [(figure["name"], figure["ok"]) for figure in tests.read_log(text)] == [
        ("test_x::test_a", True),
        ("test_x::test_b[exit-0]", False),
    ]


def test_tests_that_passed_before_a_stop_are_not_run_again(tmp_path: Path) -> None:
    """The command is echoed in pytest's place; what passed is kept."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    fake.chmod(0o755)
    earlier = {
        "figures": [figure_of("test_x::test_a[b]", [1], "", exactly(1)), figure_of("test_x::c", [0], "", exactly(1))]
    }
    result = tests.run(fake, tmp_path, 10, dict(os.environ), earlier)
    assert "--deselect tests/gpu/test_x.py::test_a[b]" in result["log"]
    assert "test_x.py::c" not in result["log"]
    assert [figure["name"] for figure in result["figures"]] == ["test_x::test_a[b]"]


def test_counters_of_a_journal(tmp_path: Path) -> None:
    metrics = [{"name": "bf16.sum", "kind": "floating", "precision": "bf16", "weight": 1}]
    lines: list[dict[str, Any]] = [
        {"kind": "header"},
        {"kind": "context", "context": 0, "device": {"device": "cuda:0"}, "groups": []},
        {"kind": "context", "context": 0, "device": {}, "groups": [{"role": "base", "metrics": metrics}]},
        {"kind": "counts", "context": 0, "group": 0, "begin_us": 1000, "end_us": 3000, "counts": ["5"]},
        {"kind": "counts", "context": 0, "group": 0, "begin_us": 4000, "end_us": 9000, "counts": ["7"]},
        {"kind": "gap", "context": 0, "reason": "why"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"torn'
    (tmp_path / "host-1-2-3-counters.journal").write_text(text)
    (context,) = read_counters(tmp_path)
    assert context.measured("bf16.sum") == 12
    assert context.edges_ms() == [1.0]
    assert context.edges_ms((0, 2000)) == []
    assert context.around(4500, 5000) is context.windows[1]
    assert context.around(2500, 4500) is None
    assert len(context.gaps) == 1


def test_kernels_of_known_operations() -> None:
    assert KERNELS["bf16"].count(blocks=2, rounds=3) == 2 * 4 * 3 * 4096
    assert KERNELS["ffma"].count(blocks=2, rounds=3) == 2 * 128 * 3 * 8
    text = ptx()
    assert all(f".visible .entry {name}(" in text for name in KERNELS)
    assert text.count('.pragma "nounroll"') == len(KERNELS)


def test_a_product_that_is_no_whole_tile_may_be_padded() -> None:
    assert padded(1024) == 2 * 1024**3
    assert padded(1000) == 2 * 1024**3
    assert padded(4097) == 2 * 4352 * 4352 * 4224


@pytest.fixture
def only_these(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Header folders are these alone."""

    def set_folders(*folders: Path) -> None:
        monkeypatch.setattr(build, "header_folders", lambda: list(folders))

    return set_folders


def holds(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_headers_in_several_places_are_brought_together(tmp_path: Path, only_these: Callable[..., None]) -> None:
    wheel = holds(tmp_path / "site/nvidia/cu13/include", "cupti.h", "nvperf_target.h", "cuda.h", "cuda_runtime_api.h")
    toolkit = holds(tmp_path / "cuda/include", "crt/host_defines.h", "cuda.h")
    only_these(wheel, toolkit)
    assert build.header_options(tmp_path / "work") == [f"-DFTPROF_TOOLKITS={tmp_path / 'work/headers'}"]
    merged = tmp_path / "work/headers/include"
    assert all((merged / name).exists() for name in build.HEADERS)
    assert (merged / "cuda.h").resolve() == wheel / "cuda.h"
    only_these(wheel)
    with pytest.raises(build.BuildFailed, match=r"no header crt/host_defines\.h"):
        build.header_options(tmp_path / "work")


def test_headers_in_one_place_are_named_unless_cmake_looks_there(
    tmp_path: Path, only_these: Callable[..., None]
) -> None:
    only_these(holds(tmp_path / "site/nvidia/cu13/include", *build.HEADERS))
    assert build.header_options(tmp_path / "work") == []
    only_these(holds(tmp_path / "cuda-13.1/include", *build.HEADERS))
    assert build.header_options(tmp_path / "work") == [f"-DFTPROF_TOOLKITS={tmp_path / 'cuda-13.1'}"]


@pytest.mark.parametrize(
    ("parameters", "capabilities", "allowed"),
    [
        ("RmProfilingAdminOnly: 1\n", "0000000000000000", False),
        ("RmProfilingAdminOnly: 1\n", "0000000000200000", True),
        ("RmProfilingAdminOnly: 0\n", "0000000000000000", True),
        (None, "0000000000000000", None),
    ],
)
def test_who_may_read_counters(
    parameters: str | None, capabilities: str, allowed: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "params"
    if parameters is not None:
        file.write_text("Other: 1\n" + parameters)
    monkeypatch.setattr(machine, "PARAMETERS", file)
    monkeypatch.setattr(machine, "_status", lambda _: capabilities)
    assert machine.may_count() is allowed


def test_a_build_is_current_only_for_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build.Build(tmp_path)
    assert not built.is_current()
    (tmp_path / "built").write_text(build.fingerprint())
    assert built.is_current()
    monkeypatch.setattr(sys, "version", "another")
    assert not built.is_current()
    assert not any("testing" in path.parts or path.suffix == ".so" for path in build.source_files())


def test_a_rehearsal_writes_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(place.STANDINS, "/standins")
    with pytest.raises(SystemExit) as wrong:
        command.run([])
    assert wrong.value.code == 2
    assert SimpleNamespace(real=place.rounds(10), short=place.seconds(20)) == SimpleNamespace(real=2, short=1.0)
