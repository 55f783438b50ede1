"""``ftprof wrap`` by its contract: exit codes, streams, signals, files."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FTPROF, Wrapped, clean_environment, ftprof

Run = Callable[..., Wrapped]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "kill -SEGV $$"], 139),
        (["/etc/passwd"], 126),
        (["/"], 126),
        (["no-such-command-anywhere"], 127),
        (["./no/such/file"], 127),
        ([""], 127),
    ],
)
def test_the_exit_code_is_the_commands(wrap: Run, command: list[str], code: int) -> None:
    run = wrap(command)
    assert run.code == code, run.err
    assert run.path.exists() == (code not in (126, 127))
    assert bool(list(run.path.parent.glob("*.run"))) == (code > 128 and code != 255), "kept where it was killed only"


def test_a_script_without_interpreter_line_is_not_given_to_a_shell(wrap: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo from a shell\n")
    script.chmod(0o755)
    run = wrap([str(script)])
    assert (run.code, run.out) == (126, "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["wrap"], 2, "needs a command"),
        (["wrap", "--"], 2, "needs a command"),
        (["wrap", "--nonsense", "--", "true"], 2, "--nonsense"),
        (["wrap", "-o", "--", "true"], 2, "'--'"),
        (["wrap", "--run-dir", "--", "true"], 2, "'--'"),
        (["wrap", "--policy", "--", "true"], 2, "'--'"),
        (["wrap", "--method", "guess", "--", "true"], 2, "guess"),
        (["wrap", "--pretrain-flops", "nan", "--", "true"], 2, "--pretrain-flops"),
        (["wrap", "--no-systemic-risk", "--pretrain-flops", "1e26", "--", "true"], 2, "systemic"),
        (["wrap", "--policy", "no-such", "--", "true"], 125, "no-such"),
        (["wrap", "--require", "counters", "--", "true"], 125, "counters"),
        (["wrap", "--run-dir", "/proc/nowhere", "--", "true"], 125, "--run-dir"),
        (["wrap", "-o", "/no/such/folder/x.json", "--", "true"], 125, "-o"),
        (["wrap", "-o", "x" * 300, "--", "true"], 125, "too long"),
        (["wrap", "-o", "-", "--", "true"], 2, "'-' (stdout) is none"),
        (["wrap", "-o", "nowhere/", "--", "true"], 2, "nowhere/ is a folder's"),
        (["wrap", "--", "no-such-program --epochs 3"], 127, "no shell takes it apart: leave out the quotes"),
    ],
)
def test_refusals_are_one_line_and_start_nothing(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    arguments = [argument.replace("true", "touch") for argument in arguments] + ["started"] * ("true" in arguments)
    done = ftprof(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("ftprof: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_existing_record_is_kept_without_force(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text("precious")
    done = ftprof("wrap", "-o", str(record), "--", "true")
    assert done.returncode == 125
    assert "--force" in done.stderr
    assert record.read_text() == "precious"
    assert ftprof("wrap", "--force", "-o", str(record), "--", "true").returncode == 0
    assert json.loads(record.read_text())["schema"] == "ftprof.record/1"


def test_a_record_made_in_the_meantime_is_kept_too(tmp_path: Path) -> None:
    done = ftprof("wrap", "-o", "r.json", "--", "sh", "-c", "echo precious > r.json", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "r.json").read_text() == "precious\n"
    (other,) = tmp_path.glob("r-*.json")
    assert str(other.name) in done.stderr


def test_a_link_to_a_record_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert ftprof("wrap", "--force", "-o", "link.json", "--", "true", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["schema"] == "ftprof.record/1"


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_link_to_a_record_that_is_not_there_yet_is_followed(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "link.json").symlink_to("records/real.json")
    done = ftprof("wrap", *options, "-o", "link.json", "--", "true", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "link.json").is_symlink()) == (0, True)
    assert f"  record        {tmp_path / 'records' / 'real.json'}\n" in done.stderr
    assert json.loads((tmp_path / "records" / "real.json").read_text())["schema"] == "ftprof.record/1"
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["real.json"]


@pytest.mark.parametrize(
    ("leads_to", "message"), [("no/such/real.json", "no/such does not exist"), ("link.json", "it is no file")]
)
def test_a_link_that_leads_nowhere_is_refused_before_the_start(tmp_path: Path, leads_to: str, message: str) -> None:
    (tmp_path / "link.json").symlink_to(leads_to)
    done = ftprof("wrap", "--force", "-o", "link.json", "--", "touch", "started", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1)
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["link.json"]


def test_a_current_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    record = tmp_path / "r.json"
    script = 'cd gone && rmdir ../gone && "$0" wrap -q -- echo ran; "$0" wrap -q -o "$1" -- echo ran too'
    done = subprocess.run(
        ["sh", "-c", script, FTPROF, str(record)],
        capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, record.exists()) == (0, "ran too\n", True)
    assert done.stderr.startswith("ftprof: the current folder has been deleted; change to one that is there, or ")
    assert len(done.stderr.splitlines()) == 1


def test_files_of_others_in_the_run_directory_are_left_alone(wrap: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.jsonl").write_text("not ours\n")
    assert wrap(["true"], "--run-dir", str(tmp_path / "out")).code == 0


def test_only_the_first_separator_is_ours(wrap: Run) -> None:
    show = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    assert wrap([*show, "--", "-q", "--help"]).out == "['--', '-q', '--help']\n"


def test_parsing_stops_at_the_first_argument(tmp_path: Path) -> None:
    done = ftprof("wrap", "-q", "-o", str(tmp_path / "r.json"), "echo", "--force", "--", "-o", "x")
    assert (done.returncode, done.stdout) == (0, "--force -- -o x\n")


def test_streams_are_the_commands_own(wrap: Run) -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('to stderr'); sys.exit(3)"
    run = wrap([sys.executable, "-c", program], "-q", input="some input\n")
    assert (run.code, run.out, run.err) == (3, "SOME INPUT\n", "to stderr")


def test_all_that_wrap_says_goes_to_stderr_in_fifteen_lines(wrap_python: Run) -> None:
    run = wrap_python("import torch\nprint(float((torch.ones(4, 4) @ torch.ones(4, 4)).sum()))")
    assert run.out == "64.0\n"
    lines = run.err.splitlines()
    assert 8 <= len(lines) <= 15
    assert lines[0] == "ftprof: 1.3\N{MULTIPLICATION SIGN}10^2 FLOP executed (128)"
    for label in ("by precision", "method", "coverage", "devices", "aws-2026", "ec-2025", "not counted", "record"):
        assert [line for line in lines if line.startswith(f"  {label} ")], label
    assert "ftprof report" in lines[-1]
    assert "\033" not in run.err


def test_the_command_gets_the_signal_dispositions_of_a_shell(wrap: Run) -> None:
    program = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
    bare = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
    assert dispositions(wrap(["sh", "-c", program]).out) == dispositions(bare.stdout)


def dispositions(status: str) -> dict[str, int]:
    """Blocked and ignored signals, but for 32 and 33, which are the C library's own (posix_spawn ignores them)."""
    masks = dict(line.split(":") for line in status.splitlines())
    return {name: int(mask, 16) & ~(3 << 31) for name, mask in masks.items()}


TELL = """
import signal, sys, time
seen = []
def note(number, _):
    seen.append(signal.Signals(number).name)
    if number == signal.SIGTERM:
        print(*seen, flush=True); sys.exit(0)
for name in ("INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TERM"):
    signal.signal(getattr(signal, "SIG" + name), note)
print("ready", flush=True)
while True: time.sleep(0.05)
"""


@contextlib.contextmanager
def started(tmp_path: Path, program: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    command = [FTPROF, "wrap", "-q", "-o", str(tmp_path / "r.json"), "--", sys.executable, "-c", program]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=clean_environment(), cwd=tmp_path, **options
    )  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_signals_from_a_process_are_forwarded_once(tmp_path: Path) -> None:
    with started(tmp_path, TELL) as process:
        for name in ("INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TERM"):
            process.send_signal(getattr(signal, "SIG" + name))
            time.sleep(0.2)
        assert process.stdout.readline().split() == [
            "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM",
        ]  # fmt: skip
        assert process.wait(10) == 0
    assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize("name", ["ALRM", "XCPU"])
def test_a_signal_that_would_end_the_command_ends_it(tmp_path: Path, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    with started(tmp_path, "import time\nprint('ready', flush=True)\ntime.sleep(20)") as process:
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert json.loads((tmp_path / "r.json").read_text())["reasons"][0].startswith(
        f"the command died of signal {number} "
    )


def test_a_timer_that_was_set_before_is_the_commands() -> None:
    """A shell without ``timeout`` limits a command's time by an alarm, and starts it in its own place."""
    program = (
        "import os, signal\nfrom ftprof.cli.wrap import _Nothing\nfrom ftprof.measure.child import Child\n"
        "child = Child(['sleep', '20'], os.environ)\nsignal.alarm(1)\nprint(child.wait(_Nothing(), 0.1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (f"{128 + signal.SIGALRM}\n", "")


def test_a_signal_from_the_terminal_comes_once(tmp_path: Path) -> None:
    """The terminal's own signal reaches the whole group; sent on as well it would come twice."""
    program = TELL.replace("if number == signal.SIGTERM", "if False") + "\n"
    program = program.replace("while True: time.sleep(0.05)", "time.sleep(1.5); print(*seen, flush=True)")
    code, output = in_terminal(
        [FTPROF, "wrap", "-q", "-o", str(tmp_path / "r.json"), "--", sys.executable, "-c", program],
        {"ready": b"\x03"},
    )
    assert code == 0
    assert output.split("ready")[1].replace("^C", "").split() == ["SIGINT"]


def in_terminal(command: list[str], replies: dict[str, bytes], size: tuple[int, int] = (24, 80)) -> tuple[int, str]:
    """Run a command on a terminal of its own; type ``replies`` when their prompts come. Code and all output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(clean_environment(TERM="xterm"))
        os.execv(command[0], command)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    output, waiting, deadline = "", dict(replies), time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk.decode(errors="replace")
        for prompt in [prompt for prompt in waiting if prompt in output]:
            os.write(terminal, waiting.pop(prompt))
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), output


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_state(pid: int, states: str) -> None:
    deadline = time.monotonic() + 10
    while state_of(pid) not in states:
        assert time.monotonic() < deadline, f"{pid} is {state_of(pid)}, not one of {states}"
        time.sleep(0.02)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.slow
def test_stop_and_continue_reach_both(tmp_path: Path) -> None:
    # In a group of its own: the kernel drops the terminal's stop where nobody is left who could continue the group.
    with started(
        tmp_path, "import time; print('ready', flush=True); time.sleep(8); print('done')", preexec_fn=os.setpgrp
    ) as process:
        child = child_of(process.pid)
        process.send_signal(signal.SIGTSTP)
        wait_for_state(child, "T")
        wait_for_state(process.pid, "T")
        process.send_signal(signal.SIGCONT)
        wait_for_state(child, "SR")
        assert process.wait(20) == 0
        assert process.stdout.read() == "done\n"


def test_a_stop_of_the_command_alone_does_not_stop_ftprof(tmp_path: Path) -> None:
    """Schedulers pause and continue one process by its id; ftprof must not stay behind."""
    with started(tmp_path, "import time; print('ready', flush=True); time.sleep(1)") as process:
        child = child_of(process.pid)
        os.kill(child, signal.SIGSTOP)
        wait_for_state(child, "T")
        time.sleep(0.3)
        assert state_of(process.pid) in "SR"
        os.kill(child, signal.SIGCONT)
        assert process.wait(20) == 0


def test_a_live_line_on_a_terminal(tmp_path: Path) -> None:
    program = (
        "import torch, time\nprint('ready')\n"
        "for _ in range(50): torch.ones(64, 64) @ torch.ones(64, 64); time.sleep(0.08)"
    )
    code, output = in_terminal(
        [FTPROF, "wrap", "-o", str(tmp_path / "r.json"), "--", sys.executable, "-c", program], {}
    )
    assert code == 0
    assert "\033[1;23r" in output, "the last row is taken out of the scrolling region"
    live = [part for part in output.split("\033[24;1H\033[2K") if part.startswith("ftprof ")]
    assert len(live) >= 2
    assert "FLOP/s" in live[-1]
    assert "analytic" in live[-1]
    assert all(len(part.split("\033")[0]) < 80 for part in live)
    assert output.rindex("\033[r") < output.index("FLOP executed"), "the region is given back before the last block"


def test_quiet_and_pipes_have_no_live_line(wrap_python: Run) -> None:
    run = wrap_python("import time; time.sleep(1.5)", "-q")
    assert run.err == ""


def test_fail_on(wrap_python: Run) -> None:
    program = "import torch\ntorch.ones(4, 4) @ torch.ones(4, 4)"
    above = ("--pretrain-flops", "100")
    assert wrap_python(program, *above).code == 0
    assert wrap_python(program, *above, "--policy", "ec-2025", "--fail-on", "above").code == 3
    assert wrap_python(program, "--fail-on", "above").code == 0
    assert wrap_python(program, "--fail-on", "undetermined").code == 0
    assert wrap_python("print()", "--fail-on", "above").code == 0
    assert wrap_python("print()", "--fail-on", "within-margin").code == 0
    assert wrap_python("print()", "--fail-on", "undetermined").code == 5
    assert wrap_python("raise SystemExit(9)", "--fail-on", "undetermined").code == 9


def test_the_policy_named_first_decides(wrap_python: Run) -> None:
    """P = 100: ec-2025 compares with P/3, aws-2026 with 3.3x10^22 since P is below 10^23."""
    program = "import torch\ntorch.ones(4, 4) @ torch.ones(4, 4)"
    base = ("--pretrain-flops", "100", "--fail-on", "above")
    assert wrap_python(program, *base).code == 3
    assert wrap_python(program, *base, "--policy", "aws-2026", "--policy", "ec-2025").code == 0
    assert wrap_python(program, *base, "--policy", "ec-2025", "--policy", "aws-2026").code == 3


def test_a_method_that_is_not_available_warns_and_is_undetermined(wrap_python: Run) -> None:
    run = wrap_python("import torch\ntorch.ones(4, 4) @ torch.ones(4, 4)", "--method", "counters")
    assert run.code == 0
    assert run.err.startswith("ftprof: --method counters: ")
    assert run.record["flops"] is None
    assert run.record["complete"] is False
    assert {verdict["verdict"] for verdict in run.record["verdicts"]} == {"undetermined"}


def test_journals_are_kept_on_request_and_when_incomplete(wrap_python: Run, tmp_path: Path) -> None:
    program = "import torch\ntorch.ones(4, 4) @ torch.ones(4, 4)\n"
    wrap_python(program)
    assert not (tmp_path / "record.run").exists()
    kept = wrap_python(program, "--keep-journals")
    assert len(list((tmp_path / "record.run").glob("*.journal"))) == 2
    assert f"  journals      {tmp_path / 'record.run'}\n" in kept.err
    another = wrap_python(program, "--keep-journals")
    (beside,) = [line.split()[1] for line in another.err.splitlines() if line.startswith("  journals ")]
    assert beside != str(tmp_path / "record.run")
    assert len(list(Path(beside).glob("*.journal"))) == 2
    wrap_python(program, "--run-dir", str(tmp_path / "named"))
    assert len(list((tmp_path / "named").glob("*.journal"))) == 2
    again = wrap_python(program, "--run-dir", str(tmp_path / "named"))
    assert (again.code, "has ended" in again.err) == (125, True)


def test_the_record_names_the_command_and_its_code(wrap: Run) -> None:
    run = wrap(["sh", "-c", "exit 4"])
    (info,) = run.record["runs"]
    assert info["command"] == ["sh", "-c", "exit 4"]
    assert info["exit_code"] == 4
    assert info["ended_us"] > info["began_us"]


def test_a_record_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    done = ftprof(
        "wrap", "-o", str(folder / "r.json"), "--run-dir", str(tmp_path / "run"), "--",
        "sh", "-c", f"rm -r {folder}; exit 6",
    )  # fmt: skip
    assert done.returncode == 6
    assert "no record could be written" in done.stderr


@pytest.mark.parametrize(("fail_on", "code"), [("undetermined", 5), ("above", 0)])
def test_a_record_that_cannot_be_written_is_no_passed_gate(tmp_path: Path, fail_on: str, code: int) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    done = ftprof(
        "wrap", "--fail-on", fail_on, "-o", str(folder / "r.json"), "--run-dir", str(tmp_path / "run"), "--",
        "rm", "-r", str(folder),
    )  # fmt: skip
    assert done.returncode == code
    assert "no record could be written" in done.stderr


def test_a_run_directory_that_is_named_and_empty_is_none(tmp_path: Path) -> None:
    done = ftprof("wrap", "-o", "r.json", "--", "true", cwd=tmp_path, env=clean_environment(FTPROF_RUN_DIR=""))
    assert done.returncode == 0
    assert "inside another one" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".journal"] == []


def test_a_journal_that_is_deleted_is_missed(tmp_path: Path) -> None:
    """What it counted is then in no sum: the record made anew must not pass for the whole."""
    folder, record = tmp_path / "run", tmp_path / "record.json"
    program = "import torch; a = torch.ones(8, 8); a @ a"
    twice = "".join(f"{sys.executable} -c '{program}';" for _ in range(2))
    done = ftprof("wrap", "-q", "-o", str(record), "--run-dir", str(folder), "--", "sh", "-c", twice)
    assert done.returncode == 0, done.stderr
    whole = json.loads(record.read_text())
    assert (whole["complete"], whole["flops"]) == (True, str(2 * 2 * 8**3))
    next(path for path in folder.glob("*.journal") if not path.name.endswith("-run.journal")).unlink()
    assert ftprof("merge", str(folder), "-o", str(record), "--force").returncode == 0
    rest = json.loads(record.read_text())
    assert (rest["complete"], rest["low"], rest["high"]) == (False, str(2 * 8**3), None)
    assert {verdict["verdict"] for verdict in rest["verdicts"]} == {"undetermined"}
    assert "gone from the run directory" in rest["reasons"][0]


def test_a_script_without_its_interpreter_is_not_said_to_be_missing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = ftprof("wrap", "--", str(script))
    assert done.returncode == 127
    assert done.stderr == f"ftprof: {script}: its interpreter was not found; look at its first line\n"
