"""``ftprof report``: its formats, where it writes, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environment, ftprof
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_records import RECORDS, analytic, sampled, saved
from test_counters_journal import run
from test_report_html import HOSTILE, Tree, hostile_record

from ftprof.cli.report import FORMATS

BEGINNINGS = {
    "text": "Compute ",
    "json": "{",
    "markdown": "**Training compute",
    "html": "<!DOCTYPE html>",
    "flops-meter": "{",
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_format_of_every_record(form: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = saved(RECORDS[name](), tmp_path), tmp_path / "report"
    code, shown, errors = run(["report", str(path), "--format", form], capsys)
    assert (code, errors) == (0, "")
    assert shown.startswith(BEGINNINGS[form])
    assert run(["report", str(path), "--format", form, "-o", str(target)], capsys) == (0, "", "")
    assert target.read_text(encoding="utf-8") == shown


def test_the_json_says_by_which_base_compute_it_was_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, again = saved(analytic(policy_inputs={}), tmp_path), tmp_path / "again.json"
    monkeypatch.setenv("PRETRAIN_FLOPS", "1e24")
    assert run(["report", str(path), "--format", "json", "-o", str(again)], capsys)[0] == 0
    monkeypatch.delenv("PRETRAIN_FLOPS")
    content = json.loads(again.read_text())
    assert {verdict["scenario"] for verdict in content["verdicts"]} == {"relative"}
    assert content["policy_inputs"]["pretrain_flops_low"] == str(10**24)
    _, shown, errors = run(["report", str(again), "--format", "json"], capsys)
    assert errors == ""
    assert json.loads(shown)["verdicts"] == content["verdicts"]


def test_the_text_ends_with_the_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(["report", str(saved(sampled(), tmp_path))], capsys)
    assert code == 0
    assert "0.67 days (16 h) of NVIDIA H200 (8 used)" in text[text.index("For the EU Model Documentation Form") :]


def test_a_file_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = saved(analytic(), tmp_path), tmp_path / "report.html"
    target.write_text("mine")
    code, _, errors = run(["report", str(path), "--format", "html", "-o", str(target)], capsys)
    assert code == 2
    assert "exists; give another file" in errors
    assert target.read_text() == "mine"
    code, _, errors = run(["report", str(path), "-o", str(tmp_path / "no" / "file")], capsys)
    assert code == 1
    assert "cannot be written" in errors


def test_an_ascii_terminal_gets_every_format(tmp_path: Path) -> None:
    path = saved(sampled(), tmp_path)
    for form in FORMATS:
        done = ftprof("report", str(path), "--format", form, env=clean_environment(PYTHONIOENCODING="ascii"))
        assert (done.returncode, done.stderr) == (0, ""), form
        assert done.stdout.isascii()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from(FORMATS))
def test_text_that_no_file_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject, form: str
) -> None:
    path, target = saved(hostile_record(lambda: data.draw(HOSTILE)), tmp_path), tmp_path / "report"
    target.unlink(missing_ok=True)
    assert run(["report", str(path), "--format", form, "-o", str(target)], capsys) == (0, "", "")
    text = target.read_bytes().decode("utf-8")
    assert all(character.isprintable() or character == "\n" for character in text)
    if form == "html":
        Tree(text)
    elif form in ("json", "flops-meter"):
        json.loads(text)


def test_a_format_loads_what_it_needs_and_no_more(tmp_path: Path) -> None:
    path = saved(analytic(), tmp_path)
    heavy = {"torch", "cupy", "numpy", "pynvml", "ftprof._native"}
    mine = {
        "html": "ftprof.report.html.page",
        "markdown": "ftprof.report.markdown",
        "flops-meter": "ftprof.report.flops_meter",
    }
    for form in FORMATS:
        program = (
            "import atexit, sys; from ftprof.cli import main; "
            "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
            f"main(['report', {str(path)!r}, '--format', {form!r}])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        loaded = set(done.stderr.split())
        assert not loaded & heavy
        assert {name for name in mine if mine[name] in loaded} == {form} & set(mine)
