"""Runs tests/gpu, and makes a result of its report."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.child import end_all
from gpu_checks.experiment import Experiment
from gpu_checks.findings import Findings, exactly, figure_of
from gpu_checks.state import DONE

EXPECTED_S = 225.0
_LINE = re.compile(r"^(?:\S*/)?(test_\w+)\.py::(\S+) (PASSED|FAILED|ERROR|SKIPPED)")  # of pytest -v


def _never(_: Findings) -> None:
    raise AssertionError("the tests are run by pytest, not as an experiment")


EXPERIMENT = Experiment("tests", _never, EXPECTED_S, "Is tests/gpu green?")


def run(
    python: Path, work: Path, limit_s: float, environment: Mapping[str, str], earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All of tests/gpu, one claim a test; those that passed in an earlier run that was cut short are not run again."""
    report, log = work / "tests.xml", work / "tests.log"
    report.unlink(missing_ok=True)
    passed = [figure for figure in (earlier or {}).get("figures", []) if figure["ok"]]
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "-v"]
    for figure in passed:
        file, _, name = figure["name"].partition("::")
        command += ["--deselect", f"tests/gpu/{file}.py::{name}"]
    command += ["--maxfail=6", f"--junit-xml={report}", str(place.REPOSITORY / "tests" / "gpu")]
    began = time.monotonic()
    hung = False
    mark = secrets.token_hex(8)
    with log.open("wb") as out:
        try:
            code: int | None = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=limit_s,
                env={**environment, place.MARK: mark}, cwd=place.REPOSITORY,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code, hung = None, True
        finally:
            end_all(mark)
    figures, skipped = read_report(report) if report.exists() else (read_log(log.read_text(errors="replace")), [])
    figures = [*passed, *figures]
    state = "hung" if hung else DONE if figures else "failed"
    result: dict[str, Any] = {"state": state, "seconds": round(time.monotonic() - began, 1), "figures": figures}
    result["facts"] = {"skipped": skipped, "exit_code": code}
    if code != 0:
        result["log"] = log.read_text(errors="replace")[-12000:]
    return result


def read_log(text: str) -> list[dict[str, Any]]:
    """The same of what pytest had printed when it was stopped, for which it wrote no report."""
    found = (match for line in text.splitlines() if (match := _LINE.match(line)))
    return [_claim(f"{m[1]}::{m[2]}", m[3] == "PASSED", "") for m in found if m[3] != "SKIPPED"]


def _claim(name: str, holds: bool, because: str) -> dict[str, Any]:
    return {**figure_of(name, [int(holds)], "", exactly(1)), "unit": "holds", "because": because}


def read_report(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """A figure for each test of pytest's JUnit report, and the tests that were skipped with their reasons."""
    figures, skipped = [], []
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        wrong = [part for part in case if part.tag in ("failure", "error")]
        passed_over = case.find("skipped")
        if passed_over is not None:
            skipped.append(f"{name}: {passed_over.get('message')}")
            continue
        because = " ".join((wrong[0].get("message") or wrong[0].text or "").split())[:400] if wrong else ""
        figures.append(_claim(name, not wrong, because))
    return figures, skipped
