"""The check for CI jobs, by running its very script; and the action and workflow that call it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import FTPROF, REPOSITORY, clean_environment

SCRIPT = REPOSITORY / "scripts" / "gpu_ci_check"
ACTION = REPOSITORY / ".github" / "actions" / "ftprof-check" / "action.yml"
WORKFLOWS = REPOSITORY / ".github" / "workflows"
WORK = "import torch\na = torch.ones(64, 64)\na @ a"
# Stands in for the one command that needs a GPU to pass or to fail; all others are ftprof's own.
WITH_SELFTEST = """\
#!/bin/sh
if [ "$1" = selftest ]; then echo '{{"stands in": true}}'; exit {code}; fi
exec {ftprof} "$@"
"""


@dataclass(frozen=True)
class Checked:
    """What came of one call of the script."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text()

    @property
    def headline(self) -> str:
        return self.summary.splitlines()[0]

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


class Runner:
    """A CI runner without a GPU, whose ``ftprof selftest`` ends with a code of the test's choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "programs" / "ftprof"
        self.program.parent.mkdir()
        self.job_summary = folder / "job.md"
        self.selftest(5)

    def selftest(self, code: int) -> None:
        self.program.write_text(WITH_SELFTEST.format(code=code, ftprof=FTPROF))
        self.program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        return clean_environment(PATH=path, GITHUB_STEP_SUMMARY=str(self.job_summary))

    def check(self, *options: str, command: Sequence[str]) -> Checked:
        done = subprocess.run(
            [str(SCRIPT), *options, "--", *command], cwd=self.folder, env=self.environment, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        return Checked(done.returncode, done.stdout, done.stderr, self.folder / "ftprof-check")

    def check_python(self, program: str, *options: str) -> Checked:
        return self.check(*options, command=[sys.executable, "-c", program])


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


REPORTS = {
    "record.json",
    "check.json",
    "check.txt",
    "report.md",
    "report.html",
    "summary.md",
    "doctor.txt",
    "doctor.json",
}


def test_without_a_gpu_it_passes_with_a_loud_label(runner: Runner) -> None:
    done = runner.check_python(WORK, "--fail-on", "within-margin")
    assert done.code == 0, done.err
    lines = done.summary.splitlines()
    assert lines[0] == "## ftprof: below (method analytic)"
    assert lines[2] == "> [!WARNING]"
    assert lines[3].startswith("> **NO HARDWARE COUNTERS ON THIS RUNNER: ")
    assert "Self-test of the counters: counters not available" in done.summary
    assert done.names == REPORTS | {"selftest.json"}
    assert "(524288)" in done.summary, "2 x 64^3, from the report"
    assert runner.job_summary.read_text() == done.summary
    assert json.loads((done.folder / "doctor.json").read_text())["schema"] == "ftprof.doctor/1"
    assert (done.folder / "report.html").read_text().startswith("<!")


@pytest.mark.slow
def test_the_plot_is_of_the_record(runner: Runner) -> None:
    done = runner.check_python("import time\n" + WORK + "\ntime.sleep(1.2)\n" + "a @ a\n" * 3)
    timeline = json.loads((done.folder / "record.json").read_text())["timeline"]
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", done.summary, re.DOTALL)
    kind, title, x, y, bars = (line.strip() for line in diagram.splitlines())
    assert (kind, title) == ("xychart-beta", 'title "Floating-point operations a second"')
    exponent = int(re.fullmatch(r'y-axis "10\^(\d+) FLOP/s" 0 --> \d+', y)[1])  # type: ignore[index]
    seconds = float(x.rpartition("--> ")[2])
    heights = [float(text) for text in bars.removeprefix("bar [").removesuffix("]").split(", ")]
    assert len(heights) <= 24
    area = sum(heights) * 10**exponent * seconds / len(heights)
    assert area == pytest.approx(sum(map(int, timeline["flops"])), rel=0.05)
    assert sum(map(int, timeline["flops"])) == 4 * 2 * 64**3


def test_required_counters_refuse(runner: Runner) -> None:
    done = runner.check("--require", "counters", command=["touch", "started"])
    assert done.code == 125
    assert done.headline.startswith("## ftprof: refused (exit code 125): --require counters")
    assert not (runner.folder / "started").exists()
    assert done.names == {"doctor.txt", "doctor.json", "selftest.json", "summary.md"}
    runner.selftest(0)  # as a GPU's would; then it is wrap that refuses
    done = runner.check("--require", "counters", command=["touch", "started"])
    assert (done.code, (runner.folder / "started").exists()) == (125, False)
    assert "ftprof: --require counters: " in done.err


@pytest.mark.parametrize(("code", "why"), [(1, "counters that are wrong"), (2, "could not be run (exit code 2)")])
def test_a_selftest_that_fails_or_is_missing_refuses(runner: Runner, code: int, why: str) -> None:
    runner.selftest(code)
    done = runner.check(command=["touch", "started"])
    assert done.code == 125
    assert why in done.headline
    assert why in done.err
    assert not (runner.folder / "started").exists()


@pytest.mark.slow
def test_the_verdict_fails_the_job(runner: Runner) -> None:
    """P = 100: ec-2025 compares with P/3, aws-2026 with 3.3x10^22 since P is below 10^23."""
    done = runner.check_python(WORK, "--fail-on", "above", "--pretrain-flops", "100")
    assert done.code == 3
    assert done.headline == "## ftprof: above (method analytic); this fails the job with exit code 3"
    assert done.names == REPORTS | {"selftest.json"}


@pytest.mark.slow
def test_the_named_policy_decides(runner: Runner) -> None:
    options = ("--fail-on", "above", "--pretrain-flops", "100", "--policy", "aws-2026", "--policy", "ec-2025")
    done = runner.check_python(WORK, "--no-selftest", *options)
    assert (done.code, done.headline) == (0, "## ftprof: below (method analytic)")
    assert "left out (--no-selftest)" in done.summary


@pytest.mark.slow
def test_what_cannot_be_judged_fails_where_that_is_asked_for(runner: Runner) -> None:
    done = runner.check("--fail-on", "undetermined", "-q", command=["true"])
    assert done.code == 5
    assert done.headline == "## ftprof: undetermined (method analytic); this fails the job with exit code 5"
    assert done.err == ""
    assert "**NOTHING WAS COUNTED, by hardware or otherwise.**" in done.summary


def test_a_failing_command_keeps_its_code_and_leaves_artefacts(runner: Runner) -> None:
    done = runner.check("--fail-on", "undetermined", command=["sh", "-c", "echo out; exit 9"])
    assert (done.code, done.out) == (9, "out\n")
    assert done.headline == "## ftprof: undetermined (method analytic); the command failed with exit code 9"
    assert done.names == REPORTS | {"selftest.json"}
    again = runner.check("-q", command=["true"])
    assert again.code == 125, "the folder is not used twice"
    assert "holds a record already" in again.err


def test_a_command_that_is_not_there(runner: Runner) -> None:
    done = runner.check(command=["no-such-command-anywhere"])
    assert done.code == 127
    assert done.headline.startswith("## ftprof: no verdict (exit code 127)")


@pytest.mark.slow
def test_a_summary_that_cannot_be_written_changes_no_code_of_the_command(runner: Runner) -> None:
    runner.job_summary.mkdir()
    assert runner.check(command=["sh", "-c", "exit 7"]).code == 7
    (runner.folder / "ftprof-check").rename(runner.folder / "first")
    done = runner.check(command=["true"])
    assert done.code == 1, "a job that leaves no summary is no success"
    assert "no summary could be written" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "give a command"), (["--force", "--", "true"], "--force"), (["--run-dir=x", "--", "true"], "--run-dir")],
)
def test_wrong_usage(tmp_path: Path, options: list[str], message: str) -> None:
    done = subprocess.run([str(SCRIPT), *options], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, message in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_without_an_ftprof(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT), "--ftprof", "./none", "--", "true"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 125
    assert "--ftprof" in done.stderr


def test_with_the_selftest_that_ships(runner: Runner) -> None:
    runner.program.unlink()
    done = runner.check_python(WORK)
    assert done.code == 0, done.err
    assert "Self-test of the counters: counters not available" in done.summary


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_cancelled_has_its_summary(runner: Runner, number: signal.Signals) -> None:
    """The signal comes to the script alone; the command ends, and nothing goes on behind its back."""
    program = "import pathlib, time; pathlib.Path('began').touch(); time.sleep(60)"
    child = subprocess.Popen(
        # A shell's background job, such as these tests may be, ignores SIGINT, and so would what it starts.
        ["env", "--default-signal=INT", str(SCRIPT), "--output", "cancelled", "--", sys.executable, "-c", program],
        cwd=runner.folder, env=runner.environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (runner.folder / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(number)
    assert child.wait(timeout=30) in (128 + number, 1)
    assert (runner.folder / "cancelled" / "record.json").exists()
    assert (runner.folder / "cancelled" / "summary.md").read_text().startswith("## ftprof: undetermined")


def test_help_needs_no_command(runner: Runner) -> None:
    done = subprocess.run([str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    assert "--output" in done.stdout


# ---------------------------------------------------------------- the action and the workflow


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_the_actions_inputs_are_those_that_it_uses() -> None:
    action = load(ACTION)
    assert action["runs"]["using"] == "composite"
    used = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", ACTION.read_text()))
    assert used == set(action["inputs"])
    assert all(entry["description"] for entry in action["inputs"].values())
    check, upload = action["runs"]["steps"]
    assert "${{" not in check["run"], "an input in the script's text could end it"
    assert set(re.findall(r"\$(?:\{)?([A-Z_]+)", check["run"])) == {"GITHUB_OUTPUT", "GITHUB_ACTION_PATH"}
    taken = re.findall(r"take ([A-Z]+) ", check["run"])
    [several] = re.findall(r"for name in ([A-Z_ ]+); do", check["run"])
    assert {f"FTPROF_CHECK_{name}" for name in (*taken, *several.split())} == set(check["env"])
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "${{ inputs.output }}"
    assert upload["uses"].startswith("actions/upload-artifact@v")


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_workflows_call_what_is_there(path: Path) -> None:
    action = load(ACTION)
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if step.get("uses", "").startswith("./"):
                assert (REPOSITORY / step["uses"] / "action.yml") == ACTION
                assert set(step["with"]) <= set(action["inputs"])
                required = {name for name, entry in action["inputs"].items() if entry.get("required")}
                assert required <= set(step["with"])


def test_the_gpu_workflow_has_both_runners() -> None:
    jobs = load(WORKFLOWS / "gpu.yml")["jobs"]
    used = {name: job["steps"][-1]["with"] for name, job in jobs.items()}
    assert "gpu" in jobs["gpu"]["runs-on"]
    assert used["gpu"]["require"] == "counters"
    assert "require" not in used["cpu"]
    assert len({entry["artifact"] for entry in used.values()}) == 2


@pytest.mark.slow
def test_the_actions_step_runs(runner: Runner) -> None:
    """Its script, with the environment that GitHub would make of the inputs."""
    action = load(ACTION)
    step = action["runs"]["steps"][0]
    inputs = {name: str(entry.get("default", "")) for name, entry in action["inputs"].items()}
    inputs |= {"command": 'false | true; echo "it\'s" $((1 + 1))', "pretrain-flops": "100", "fail-on": "undetermined"}
    own = {"COMMAND": "mine", "POLICY": "x", "OUTPUT": "runs/7", "BASE_MODEL": "llama"}  # of the job
    values = {key: inputs[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)[1]] for key, text in step["env"].items()}  # type: ignore[index]
    github = {"GITHUB_OUTPUT": str(runner.folder / "output"), "GITHUB_ACTION_PATH": str(ACTION.parent)}
    script = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        script, cwd=runner.folder, env={**runner.environment, **values, **github}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, ""), "pipefail holds inside the command too"
    values["FTPROF_CHECK_COMMAND"] = 'echo "it\'s" $((1 + 1)); echo $COMMAND $POLICY $OUTPUT $BASE_MODEL; env'
    values["FTPROF_CHECK_OUTPUT"] = "second"
    done = subprocess.run(
        script, cwd=runner.folder, env={**runner.environment, **own, **values, **github}, capture_output=True, text=True
    )
    assert done.returncode == 5, textwrap.indent(done.stderr, "  ")
    assert done.stdout.startswith("it's 2\nmine x runs/7 llama\n"), "the command has the job's own variables"
    assert "FTPROF_CHECK_" not in done.stdout
    assert (runner.folder / "output").read_text().splitlines()[-1] == "summary=second/summary.md"
    assert (runner.folder / "second" / "summary.md").exists()
