"""What the user's environment tells Python is for the command that is wrapped, and not for ftprof's own process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from conftest import FTPROF, Wrapped, clean_environment, ftprof

import ftprof as installed
from ftprof.measure.device_chips import ask_chips
from ftprof.selftest.selftest import selftest

Run = Callable[..., Wrapped]
ABOVE = ("check", "--flops", "1e26", "--json")
BROKEN = "raise RuntimeError('this is no module of ftprof')\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder of the user's, with a module that has the name of one that ftprof needs."""
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "click.py").write_text(BROKEN)
    return folder


def test_a_module_of_the_users_is_none_of_ftprofs(users: Path) -> None:
    done = ftprof(*ABOVE, env=clean_environment(PYTHONPATH=str(users)))
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("variables", [{}, {"PYTHONWARNINGS": "ignore"}])
def test_the_folder_that_it_is_called_in_has_none_of_its_modules(users: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftprof", *ABOVE],
        capture_output=True, text=True, cwd=users, env=clean_environment(**variables), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")


def test_it_stops_at_no_prompt_and_keeps_the_exit_code(wrap: Run) -> None:
    run = wrap(["sh", "-c", "cat; exit 42"], "-q", env=clean_environment(PYTHONINSPECT="1"), input="print('typed')\n")
    assert (run.code, run.out, run.err) == (42, "print('typed')\n", "")


def test_warnings_are_no_errors_of_ftprofs() -> None:
    done = ftprof("--version", env=clean_environment(PYTHONWARNINGS="error", PYTHONDEVMODE="1"))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_sitecustomize_prints_is_in_no_answer(users: Path) -> None:
    (users / "sitecustomize.py").write_text("print('hello')\n")
    buffered = clean_environment(PYTHONPATH=str(users), PYTHONUNBUFFERED="")  # else it is out before ftprof begins
    done = ftprof(*ABOVE, env=buffered)
    assert json.loads(done.stdout)["flops"] == str(10**26)


def test_what_it_prints_is_in_no_answer_of_a_child(users: Path) -> None:
    (users / "sitecustomize.py").write_text("print('hello')\n")
    answer = ask_chips(clean_environment(PYTHONPATH=str(users)))
    assert not [unknown for unknown in answer.unknown if "gave no answer" in unknown.what]


def test_a_child_is_of_this_very_ftprof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a notebook runs in a clone: the current folder is first on its search path."""
    (tmp_path / "ftprof").mkdir()
    (tmp_path / "ftprof" / "__init__.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    answers = [unknown.what for unknown in ask_chips(clean_environment()).unknown]
    answers.append(selftest(clean_environment()).why or "")
    assert not [what for what in answers if "no answer" in what or "no module of ftprof" in what]


def test_the_command_sees_the_environment_that_ftprof_was_given(wrap: Run, users: Path) -> None:
    """Without a locale Python would also add LC_CTYPE."""
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(users), "PYTHONINSPECT": "x", "PYTHONWARNINGS": "error"}
    seen = dict(line.split("=", 1) for line in wrap(["env"], "-q", env=given).out.splitlines())
    path = seen.pop("PYTHONPATH").split(":")
    assert path[1:] == [str(users)]
    assert {name: value for name, value in seen.items() if not name.startswith("FTPROF_")} == {
        name: value for name, value in given.items() if name != "PYTHONPATH"
    }


def test_an_installation_that_only_the_variable_names_works(tmp_path: Path, users: Path) -> None:
    """As of ``pip install --target``, with a click of its own; the interpreter has another ftprof."""
    target = tmp_path / "target"
    for package in (installed, click):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, target / folder.name)
    own = target / "ftprof" / "__init__.py"
    own.write_text(own.read_text().replace(installed.__version__, "9.9.9"))
    done = subprocess.run(
        [sys.executable, "-m", "ftprof", "--version"],
        capture_output=True, text=True, cwd=users, env=clean_environment(PYTHONPATH=f"{users}:{target}"), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "ftprof 9.9.9\n", "")


def test_the_next_command_is_one_that_can_be_run(tmp_path: Path) -> None:
    """Also where ``ftprof`` is on no PATH, and started once more without the user's variables."""
    environment = clean_environment(PATH="/usr/bin:/bin", PYTHONWARNINGS="ignore")
    for program in ([FTPROF], [sys.executable, "-m", "ftprof"]):
        done = subprocess.run(
            [*program, "wrap", "--force", "-o", "a record.json", "--", "true"],
            capture_output=True, text=True, cwd=tmp_path, env=environment, check=True,
        )  # fmt: skip
        following = done.stderr.splitlines()[-1].split(maxsplit=1)[1]
        assert (
            "FLOP"
            in subprocess.run(
                ["sh", "-c", following], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
            ).stdout
        )


def test_what_the_variable_names_can_be_imported_last(users: Path) -> None:
    """``estimate`` needs torch, which a cluster's modules put on PYTHONPATH."""
    program = (
        "import atexit, runpy, sys\natexit.register(lambda: print(sys.path[-1]))\nsys.argv = ['ftprof', '--version']\n"
        f"runpy.run_path({FTPROF!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True, text=True, env=clean_environment(PYTHONPATH=str(users)), check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == str(users)


def test_the_users_own_site_stays(tmp_path: Path) -> None:
    """A virtual environment has none: by the Python that it was made of."""
    packages = tmp_path / "packages"
    for package in (installed, click):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, packages / folder.name)
    environment = clean_environment(PYTHONPATH=str(packages), PYTHONUSERBASE=str(tmp_path / "base"))
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    asked = subprocess.run(
        [python, "-m", "site", "--user-site"], capture_output=True, text=True, env=environment, check=False
    )
    users = Path(asked.stdout.strip())
    users.mkdir(parents=True)
    (users / "click.py").write_text(BROKEN)
    (users / "peft.py").write_text("import sys\nsys.exit('that of the own site')\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    done = subprocess.run(
        [python, "-m", "ftprof", "estimate", "config.json", "--sequence-length", "8", "--samples", "1"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.stderr == "that of the own site\n"


def test_the_asked_encoding_is_kept() -> None:
    done = ftprof(
        "check", "--flops", "3.31e22", env=clean_environment(PYTHONIOENCODING="ascii", PYTHONWARNINGS="error")
    )
    assert "3.3x10^22 FLOP" in done.stdout
