"""The analytic method in every kind of process that a training may consist of."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FTPROF, REPOSITORY, Wrapped, clean_environment
from test_merge import run_journal

from ftprof.measure.unhooked import NEVER_LOADED
from ftprof.record.merge import merge_journals

MM = 2 * 64 * 32 * 16  # the operations of one product below
WORK = "import torch\ndef work():\n    return torch.ones(64, 32) @ torch.ones(32, 16)\n"

Run = Callable[..., Wrapped]


def test_a_plain_product_is_counted_exactly(wrap_python: Run) -> None:
    run = wrap_python(WORK + "for _ in range(5): work()\nprint('done')")
    assert (run.code, run.out) == (0, "done\n")
    assert run.flops == 5 * MM
    assert run.record["complete"] is True
    assert run.record["counts"] == [
        {
            "operator": "aten.mm",
            "precision": "fp32",
            "device": "cpu",
            "phase": "train",
            "calls": "5",
            "flops": str(5 * MM),
        }
    ]
    assert run.record["low"] == run.record["high"] == run.record["flops"]


def test_a_program_that_clears_its_environment_is_counted(wrap_python: Run) -> None:
    run = wrap_python("import os\nos.environ.clear()\n" + WORK + "work()\n")
    assert (run.code, run.flops, run.record["complete"]) == (0, MM, True)


def test_each_precision_is_apart(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import torch
        for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
            torch.ones(8, 8, dtype=dtype) @ torch.ones(8, 8, dtype=dtype)
        torch.ones(8, 8, dtype=torch.complex64) @ torch.ones(8, 8, dtype=torch.complex64)
        torch.ones(8, 8, dtype=torch.int64) @ torch.ones(8, 8, dtype=torch.int64)
        """
    )
    one = 2 * 8**3
    # A complex multiply-add is four real ones.
    assert run.record["by_precision"] == {
        "fp32": str(5 * one), "bf16": str(one), "fp16": str(one), "fp64": str(one),
    }  # fmt: skip
    assert run.not_counted()["aten.mm"]["kind"] == "integer"
    assert run.record["high"] == run.record["flops"]


def test_forward_backward_threads_and_inference_mode(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import threading, torch
        x = torch.ones(64, 32, requires_grad=True); w = torch.ones(32, 16, requires_grad=True)
        (x @ w).sum().backward()                                   # 1 forward, 2 backward
        torch.autograd.grad((x @ w).sum(), w)                      # 1 forward, 1 backward
        with torch.inference_mode(): x @ w                         # 1
        threads = [threading.Thread(target=lambda: [torch.ones(64, 32) @ torch.ones(32, 16) for _ in range(200)])
                   for _ in range(4)]
        [t.start() for t in threads]; [t.join() for t in threads]  # 800
        """
    )
    assert run.flops == 806 * MM


@pytest.mark.slow
def test_a_checkpointed_segment_is_counted_as_often_as_it_runs(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import torch
        from torch.utils.checkpoint import checkpoint
        x = torch.ones(64, 32, requires_grad=True); w = torch.ones(32, 16, requires_grad=True)
        for reentrant in (True, False):
            checkpoint(lambda a: (a @ w).relu(), x, use_reentrant=reentrant).sum().backward()
        """
    )
    assert run.flops == 2 * 4 * MM


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_multiprocessing(wrap_python: Run, context: str) -> None:
    run = wrap_python(
        WORK
        + f"""
import multiprocessing
if __name__ == "__main__":
    work()
    processes = [multiprocessing.get_context("{context}").Process(target=work) for _ in range(3)]
    [p.start() for p in processes]; [p.join() for p in processes]
    assert [p.exitcode for p in processes] == [0, 0, 0]
"""
    )
    assert run.flops == 4 * MM
    assert run.record["complete"] is True
    assert sorted(int(p["flops"]) for p in run.record["processes"])[-4:] == [MM] * 4


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(wrap_python: Run, context: str) -> None:
    run = wrap_python(
        WORK
        + f"""
class Data(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return work().sum()
if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2, multiprocessing_context="{context}")
    assert len(list(loader)) == 4
"""
    )
    assert run.flops == 8 * MM
    assert run.record["complete"] is True


def test_a_fork_counts_its_own_work_only(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os
work()
pid = os.fork()
if pid == 0:
    work(); work()
    os._exit(0)
os.waitpid(pid, 0)
if os.fork() == 0:
    os._exit(0)
"""
    )
    assert run.flops == 3 * MM
    assert sorted(p["flops"] for p in run.record["processes"]) == sorted([str(MM), str(2 * MM)])


def test_os_exit_loses_nothing(wrap_python: Run) -> None:
    run = wrap_python(WORK + "import os\nwork()\nos._exit(7)")
    assert (run.code, run.flops, run.record["complete"]) == (7, MM, True)
    assert run.record["processes"][0]["end"] == "os._exit"


def test_an_uncaught_exception_ends_as_ever(wrap_python: Run, tmp_path: Path) -> None:
    program = WORK + "work()\nraise ValueError('broken on purpose')"
    run = wrap_python(program, "-q")
    bare = subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, check=False)
    assert (run.code, run.out, run.err) == (bare.returncode, bare.stdout, bare.stderr)
    assert (run.flops, run.record["complete"]) == (MM, True)
    assert run.record["processes"][0]["end"] == "exception: ValueError"


@pytest.mark.slow
def test_exec_goes_on_in_the_same_journal(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os, sys
work()
if len(sys.argv) < 3:
    os.execv(sys.executable, [sys.executable, __file__, *sys.argv[1:], "again"])
"""
    )
    assert run.flops == 3 * MM
    assert len(run.record["processes"]) == 1
    assert run.record["complete"] is True


def test_exec_of_another_program_is_an_end(wrap_python: Run) -> None:
    """Also one that fails: the process goes on, and has an end of its own."""
    run = wrap_python(
        WORK
        + """
import os
work()
try: os.execv("/nowhere", ["nowhere"])
except FileNotFoundError: work()
os.execv("/bin/sh", ["sh", "-c", "exit 3"])
"""
    )
    assert (run.code, run.flops, run.record["complete"]) == (3, 2 * MM, True), run.record["reasons"]
    assert run.record["processes"][0]["end"] == "exec"


def test_sigterm_leaves_every_closed_window(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os, signal, time
work(); time.sleep(1.1); work()      # the second closes the window
work()
os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)
"""
    )
    assert run.code == 128 + 15
    assert int(run.record["low"]) == 2 * MM
    assert (run.record["complete"], run.record["high"]) == (False, None)
    assert "was killed" in run.record["reasons"][0]


@pytest.mark.slow
def test_a_handler_of_the_users_own_is_not_disturbed(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
work(); os.kill(os.getpid(), signal.SIGTERM)
"""
    )
    assert (run.code, run.flops, run.record["complete"]) == (9, MM, True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TimeoutError('late')", "KeyboardInterrupt()", "ValueError('a limit')", "Limit()"])
def test_what_a_handler_raises_reaches_the_program(wrap_python: Run, kind: str) -> None:
    """Wherever in the midst of an operator, of the hook's own work or of its journal's the signal comes."""
    run = wrap_python(
        WORK
        + f"""
import random, signal
class Limit(Exception): pass
raised = caught = 0
def handler(*_):
    global raised
    raised += 1
    signal.signal(signal.SIGALRM, raised % 2 and once or handler)
    raise {kind}
def once(number, frame):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    handler(number, frame)
signal.signal(signal.SIGALRM, handler)
chance = random.Random(1)
while raised < 1500:
    small = torch.ones(16, raised + 1)  # a shape of its own: the formula is asked each time
    try:
        before = raised
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + chance.random() * 1e-3)
        while raised == before: small @ small.T
    except BaseException: caught += 1
print(raised == caught)
"""
    )
    assert (run.code, run.out) == (0, "True\n")
    assert int(run.record["low"]) > 0
    assert not any("cannot write its journal" in reason for reason in run.record["reasons"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TimeoutError", "KeyboardInterrupt"])
def test_a_handler_that_raises_when_a_line_is_written_breaks_no_chain(wrap_python: Run, kind: str) -> None:
    run = wrap_python(
        WORK
        + f"""
import os, signal, time
def handler(*_): raise {kind}
signal.signal(signal.SIGUSR1, handler)
write, caught = os.write, 0
def interrupted(file, data):
    written = write(file, data)
    os.kill(os.getpid(), signal.SIGUSR1)
    return written
for _ in range(3):
    time.sleep(1.1)
    os.write = interrupted
    try: work()
    except {kind}: caught += 1
    os.write = write
print(caught)
"""
    )
    assert (run.code, run.out) == (0, "3\n")
    assert (run.flops, run.record["complete"], run.record["high"]) == (3 * MM, True, str(3 * MM))


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_program_without_streams_writes_into_no_file_of_ours(wrap: Run, tmp_path: Path, closed: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        WORK + "import os, pathlib\nwork()\ntry: os.write(2, b'mine\\n')\n"
        "except OSError as error: pathlib.Path('said').write_text(str(error.errno))\n"
    )
    run = wrap(["sh", "-c", f'exec "$0" "$1" {closed}', sys.executable, str(program)])
    assert run.code == 0
    assert (tmp_path / "said").read_text() == "9"
    assert (run.flops, run.record["complete"]) == (MM, True), run.record["reasons"]


@pytest.mark.slow
def test_numbers_that_are_equal_and_not_the_same(wrap_python: Run) -> None:
    """Their signs of zero decide on which side of a branch cut a result lies."""
    program = """
import torch
z = torch.full((1,), complex(0.0, -0.0), dtype=torch.complex128)
for number in (complex(-1, 0.0), complex(-1, -0.0), complex(0.0, 1), complex(-0.0, 1), complex(-1, 0.0)):
    print((z + number).log().imag.item(), (z * number).log().imag.item())
one = torch.ones(1)
print([(one / number).item() for number in (0.0, -0.0, 0, True, 2, 2.0)])
"""
    bare = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert wrap_python(program).out == bare.stdout


def test_work_after_the_end_is_counted_too(wrap_python: Run) -> None:
    run = wrap_python("import atexit\natexit.register(lambda: work())\n" + WORK + "work()")
    assert (run.flops, run.record["complete"]) == (2 * MM, True)


def test_the_users_sitecustomize_still_runs(wrap_python: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins\nbuiltins.users_own = 'ran'\nvalue = 3\n")
    run = wrap_python(
        WORK + "import sitecustomize\nwork()\nprint(users_own, sitecustomize.value, sitecustomize.__file__)",
        env=clean_environment(PYTHONPATH=str(own)),
    )
    assert run.out == f"ran 3 {own / 'sitecustomize.py'}\n"
    assert run.flops == MM


@pytest.mark.slow
def test_a_broken_sitecustomize_fails_as_it_would(wrap_python: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("raise RuntimeError('the user broke this')\n")
    environment = clean_environment(PYTHONPATH=str(own))
    run = wrap_python(WORK + "work()", "-q", env=environment)
    assert run.code == 0
    assert "the user broke this" in run.err
    assert run.flops == MM


def test_an_interpreter_without_ftprof_is_counted(wrap: Run, tmp_path: Path) -> None:
    """A virtual environment that has torch and no ftprof: the hook is all that comes from us."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    python = tmp_path / "other" / "bin" / "python"
    import torch

    site = Path(torch.__file__).parent.parent
    only_torch = tmp_path / "only_torch"
    only_torch.mkdir()
    for entry in site.iterdir():
        if "ftprof" not in entry.name:
            (only_torch / entry.name).symlink_to(entry)
    program = tmp_path / "program.py"
    program.write_text(WORK + "work()\nimport importlib.util\nprint(importlib.util.find_spec('ftprof'))")
    run = wrap([str(python), str(program)], env=clean_environment(PYTHONPATH=str(only_torch)))
    assert run.out == "None\n", run.err
    assert run.flops == MM


def test_an_old_python_runs_unharmed(wrap: Run) -> None:
    """The bootstrap file is read by any Python that the command starts, so its syntax stays the oldest."""
    tree = ast.parse((REPOSITORY / "ftprof/measure/analytic/bootstrap/sitecustomize.py").read_text())
    too_new = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Match)
    assert not [node for node in ast.walk(tree) if isinstance(node, too_new)]
    assert not [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.returns]
    for name in ("python2.7", "python3.6", "python3.8"):
        old = shutil.which(name)
        if old and subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode == 0:
            run = wrap([old, "-c", "print('old')"], "-q")
            assert (run.code, run.out, run.err) == (0, "old\n", ""), name


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name == "torch.utils.flop_counter": raise ImportError("no")
sys.meta_path.insert(0, Blocked())
"""


def test_a_hook_that_cannot_start_is_named(wrap_python: Run, tmp_path: Path) -> None:
    """The training runs as ever; the record says that, and why, a process was not counted."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(BLOCK)
    run = wrap_python(WORK + "work()\nprint('done')", env=clean_environment(PYTHONPATH=str(own)))
    assert (run.code, run.out) == (0, "done\n")
    assert run.record["complete"] is False
    assert "could not start" in run.record["reasons"][0]


def test_a_hook_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """On a copy of the bootstrap folder beside a hook that is broken."""
    bootstrap = tmp_path / "analytic" / "bootstrap"
    shutil.copytree(REPOSITORY / "ftprof/measure/analytic/bootstrap", bootstrap)
    (tmp_path / "analytic" / "hook.py").write_text("raise ImportError('broken on purpose')")
    folder = tmp_path / "run"
    run_journal(folder)
    done = subprocess.run(
        [sys.executable, "-c", "print('done')"], capture_output=True, text=True, check=True,
        env=clean_environment(PYTHONPATH=str(bootstrap), FTPROF_RUN_DIR=str(folder)),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")
    merged = merge_journals(folder)
    assert merged.complete is False
    assert "could not be loaded: ImportError('broken on purpose')" in merged.reasons[0]


def test_a_run_inside_a_run_is_named_in_the_outer_record(wrap: Run, tmp_path: Path) -> None:
    inner = [FTPROF, "wrap", "-q", "-o", str(tmp_path / "inner.json"), "--", sys.executable, "-c", WORK + "work()"]
    run = wrap(inner)
    assert run.code == 0
    assert json.loads((tmp_path / "inner.json").read_text())["flops"] == str(MM)
    assert (run.record["flops"], run.record["complete"]) == (None, False)
    assert "a run of its own" in run.record["reasons"][0]


def test_a_run_where_nothing_could_be_counted_is_undetermined(wrap_python: Run) -> None:
    programs = {
        "print(1)": "no Python process that imports torch was seen",
        "import torch": "torch was imported, but no operator ran",
        "import torch\ntorch.ones(3) * 2": "what ran has no formula (see 'not counted')",
        "import torch\ntorch.ones(3).cumsum(0)": "what ran has no formula (see 'not counted')",
    }
    for program, reason in programs.items():
        run = wrap_python(program)
        assert run.record["flops"] is None
        assert run.record["high"] is None
        assert [verdict["verdict"] for verdict in run.record["verdicts"]] == ["undetermined"] * 2
        assert run.record["reasons"] == [reason]
        assert reason in run.err


def test_functions_that_end_a_process_can_be_handed_to_another(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import multiprocessing, os, pickle, torch
        if __name__ == "__main__":
            assert pickle.loads(pickle.dumps(os.execv)) is os.execv
            child = multiprocessing.get_context("spawn").Process(target=os._exit, args=(3,))
            child.start()
            child.join()
            print(child.exitcode)
        """
    )
    assert (run.code, run.out) == (0, "3\n"), run.err


def test_torch_that_was_imported_past_the_hook_is_named(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import subprocess, sys
        past = [
            "import sys",
            "sys.meta_path = [finder for finder in sys.meta_path if type(finder).__name__ != '_ImportWatcher']",
            "import torch, time",
            "torch.ones(8, 8) @ torch.ones(8, 8)",
            "time.sleep(1)",
        ]
        import torch
        torch.ones(4, 4) @ torch.ones(4, 4)
        subprocess.run([sys.executable, "-c", "; ".join(past)], check=True)
        """
    )
    assert run.flops == 2 * 4**3
    assert (run.record["complete"], run.record["high"]) == (False, None)
    (reason,) = run.record["reasons"]
    assert "used torch and was not counted" in reason
    assert NEVER_LOADED in reason


def test_nobody_knows_whether_a_killed_process_did_nothing(wrap_python: Run) -> None:
    run = wrap_python(WORK + "import os, signal\nwork()\nos.kill(os.getpid(), signal.SIGKILL)")
    assert "torch was imported, and nothing that ran was written down before the process ended" in run.record["reasons"]
    assert "no operator ran" not in run.err


@pytest.mark.parametrize("uuid", [{}, {"uuid": "4e1c"}], ids=["torch 2.4", "later"])
def test_a_gpu_is_named_as_far_as_torch_knows_it(wrap_python: Run, uuid: dict[str, str]) -> None:
    """On a stand-in for what torch tells of a GPU: torch 2.4 does not tell its UUID."""
    run = wrap_python(
        f"""
        import sys, types, torch
        properties = types.SimpleNamespace(name="A GPU", major=9, minor=0, **{uuid})
        torch.cuda.get_device_properties = lambda device: properties
        counter = sys.modules["_ftprof_hook"]._meter.counter
        counter._enter(counter._local.tally, (("aten.mm", "bf16", "cuda:0"), 16))
        """
    )
    assert (run.flops, run.record["complete"]) == (16, True), run.record["reasons"]
    described = {"device": "cuda:0", "name": "A GPU", "capability": "9.0"}
    described |= {name: f"GPU-{value}" for name, value in uuid.items()}
    assert run.record["processes"][0]["devices"][1:] == [described]


def test_a_gpu_is_named_although_its_first_window_could_not_be_written(wrap_python: Run) -> None:
    run = wrap_python(
        """
        import sys, types, torch
        properties = types.SimpleNamespace(name="A GPU", major=9, minor=0, uuid="4e1c")
        torch.cuda.get_device_properties = lambda device: properties
        meter = sys.modules["_ftprof_hook"]._meter
        meter.counter._enter(meter.counter._local.tally, (("aten.mm", "bf16", "cuda:0"), 16))
        meter._journal.write = lambda kind, **content: False  # as on a full disk
        meter._flush()
        del meter._journal.write
        """
    )
    assert (run.flops, run.record["complete"]) == (16, True), run.record["reasons"]
    assert [device["device"] for device in run.record["processes"][0]["devices"]] == ["cpu", "cuda:0"]


@pytest.mark.slow
def test_ranks_are_named(wrap_python: Run) -> None:
    run = wrap_python(WORK + "work()", env=clean_environment(RANK="3", WORLD_SIZE="8", LOCAL_RANK="1"))
    assert run.record["processes"][0]["rank"] == {"rank": 3, "world_size": 8, "local_rank": 1}


@pytest.mark.slow
def test_what_runs_is_not_slowed_by_a_lost_run_directory(wrap_python: Run, tmp_path: Path) -> None:
    run = wrap_python(
        WORK
        + f"import shutil, time\nwork()\nshutil.rmtree({str(tmp_path / 'gone')!r})\ntime.sleep(1.1)\nwork()\nwork()",
        "--run-dir",
        str(tmp_path / "gone"),
    )
    assert run.code == 0
    assert not run.path.exists()
    assert "no record could be written" in run.err


def test_environment_reaches_the_command_otherwise_unchanged(wrap_python: Run) -> None:
    program = "import json, os\nprint(json.dumps(dict(os.environ)))"
    environment = clean_environment(PYTHONPATH="/nowhere", MARK="kept")
    run = wrap_python(program, env=environment)
    seen = json.loads(run.out)
    ours = {"PYTHONPATH", "FTPROF_RUN_DIR", "FTPROF_RUN_ID", "FTPROF_METHODS", "FTPROF_CLOCK"}
    ignored = {"PWD", "OLDPWD", "_", "LC_CTYPE"}
    assert {k: v for k, v in seen.items() if k not in ours | ignored} == {
        k: v for k, v in environment.items() if k not in ours | ignored
    }
    assert seen["PYTHONPATH"].endswith(os.pathsep + "/nowhere")


@pytest.mark.slow
def test_the_hook_never_writes_into_a_file_of_the_users(wrap_python: Run, tmp_path: Path) -> None:
    """A daemoniser closes every file, and the user's next one has the journal's number."""
    run = wrap_python(
        WORK
        + """
import os, time
work()
os.closerange(3, 1024)
file = open("user_data.bin", "wb", buffering=0); more = [open("user_data.bin", "rb") for _ in range(5)]
file.write(b"A" * 1000); time.sleep(1.1); work()
if os.fork() == 0: os._exit(0)
"""
    )
    assert (tmp_path / "user_data.bin").read_bytes() == b"A" * 1000
    assert (run.flops, run.record["complete"]) == (2 * MM, True)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["importlib.util.find_spec('torch')", "import transformers"])
def test_asking_for_torch_before_importing_it(wrap_python: Run, first: str) -> None:
    run = wrap_python("import importlib.util\n" + first + "\n" + WORK + "work()")
    assert run.flops == MM


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "SIGSEGV"])
def test_a_killed_fork_is_never_missed(wrap_python: Run, end: str) -> None:
    run = wrap_python(
        WORK
        + f"""
import os, signal
work()
pid = os.fork()
if pid == 0:
    work(); os.kill(os.getpid(), signal.{end}); signal.pause()
os.waitpid(pid, 0)
"""
    )
    assert (run.record["complete"], run.record["high"]) == (False, None)
    assert int(run.record["low"]) == 2 * MM


@pytest.mark.slow
@pytest.mark.parametrize("where", ["main", "another"])
def test_a_fork_killed_in_its_first_operator_is_never_missed(wrap_python: Run, where: str) -> None:
    """That operator counts when it has returned; that there was one must be known before."""
    run = wrap_python(
        WORK
        + f"""
import os, signal, threading
work()
pid = os.fork()
if pid == 0:
    torch.set_num_threads(1)
    endless = torch.ones(6000, 6000)  # some seconds of one product
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if {where!r} == "main": endless @ endless
    else: threading.Thread(target=lambda: endless @ endless).start(); signal.pause()
os.waitpid(pid, 0)
"""
    )
    assert (run.record["complete"], run.record["high"], run.record["low"]) == (False, None, str(MM))
    assert sorted(process["flops"] for process in run.record["processes"]) == ["0", str(MM)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "why"),
    [
        (["env", "-i", sys.executable], "it was started without ftprof's environment"),
        ([sys.executable, "-uI"], "its Python reads no PYTHONPATH"),
    ],
)
def test_torch_where_no_hook_comes_is_named(wrap_python: Run, how: list[str], why: str) -> None:
    run = wrap_python(
        WORK
        + f"""
import subprocess, sys
if len(sys.argv) == 1:
    work()
    subprocess.run([*{how!r}, __file__, "again"], check=True)
else:
    import time
    work(); time.sleep(1)
"""
    )
    assert (run.record["complete"], run.record["high"], run.record["low"]) == (False, None, str(MM))
    assert [
        reason for reason in run.record["reasons"] if ") used torch and was not counted" in reason and why in reason
    ]


def test_a_limit_on_files_is_no_signal_of_ours(wrap_python: Run) -> None:
    """Python ignores it, but a program may have its default back: its death."""
    environment = {name: value for name, value in clean_environment().items() if not name.startswith("COVERAGE_")}
    run = wrap_python(
        WORK
        + """
import resource, signal, time
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
work(); time.sleep(1.1); work()
mask, waiting = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending()
print(mask, waiting)
""",
        env=environment,  # coverage writes, too
    )
    assert (run.code, run.out) == (0, "set() set()\n")
    assert (run.record["complete"], run.record["high"]) == (False, None)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a frame cannot be taken out of a traceback")
@pytest.mark.parametrize("fails", ["import", "operator", "operator without a formula"])
def test_a_traceback_is_that_of_the_bare_run(wrap: Run, tmp_path: Path, fails: str) -> None:
    package = tmp_path / "broken" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def load():\n    raise OSError('libcudart.so.99')\n\nload()\n")
    program = tmp_path / "program.py"
    program.write_text(
        {
            "import": f"import sys\nsys.path.insert(0, {str(package.parent)!r})\nimport torch\n",
            "operator": "import torch\ntorch.ones(2, 3) @ torch.ones(2, 3)\n",
            "operator without a formula": "import torch\ntorch.ones(2, 3).index_select(0, torch.tensor([7]))\n",
        }[fails]
    )
    bare = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        env=clean_environment(),
        cwd=tmp_path,
        check=False,
    )
    run = wrap([sys.executable, str(program)], "-q")
    assert (run.code, run.err) == (bare.returncode, bare.stderr)
    assert run.code == 1


# Gives root up, as gosu and sudo do, and keeps the right to read: torch may lie where only root may look.
BECOME_NOBODY = """
import ctypes, os, struct, time
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)
os.setuid(65534)
assert libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 1 << 2, 1 << 2, 0, 0, 0, 0)) == 0
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("writable", [False, True])
def test_a_process_that_gives_up_root_is_counted_or_named(wrap_python: Run, tmp_path: Path, writable: bool) -> None:
    program, options = BECOME_NOBODY + WORK + "work(); time.sleep(1)", []
    if writable:
        (tmp_path / "journals").mkdir()
        (tmp_path / "journals").chmod(0o1777)
        options = ["--run-dir", str(tmp_path / "journals")]
    run = wrap_python(program, *options)
    assert run.code == 0
    if writable:
        assert (run.flops, run.record["complete"], run.record["reasons"]) == (MM, True, [])
    else:
        assert (run.record["complete"], run.record["high"]) == (False, None)
        assert [reason for reason in run.record["reasons"] if "it ran as user 65534 and kept no journal" in reason]


@pytest.mark.slow
def test_signals_all_the_time_keep_nobody_from_looking(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os, signal, subprocess, sys, time
if len(sys.argv) == 1:
    work()
    other = subprocess.Popen(["env", "-i", sys.executable, __file__, "again"])
    while other.poll() is None:
        os.kill(os.getppid(), signal.SIGWINCH); time.sleep(0.1)
else:
    work(); time.sleep(1)
"""
    )
    assert [reason for reason in run.record["reasons"] if ") used torch and was not counted" in reason]


@pytest.mark.slow
def test_a_fork_that_cannot_write_its_journal_is_named(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import os, resource
work()
pid = os.fork()
if pid == 0:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); work(); os._exit(0)
os.waitpid(pid, 0)
"""
    )
    assert run.code == 0
    assert (run.record["flops"], run.record["high"]) == (str(MM), None)
    assert "cannot write its journal" in run.record["reasons"][0]


@pytest.mark.slow
def test_work_that_outlives_the_command_is_named(wrap: Run, tmp_path: Path) -> None:
    program = tmp_path / "background.py"
    program.write_text(WORK + "import time\nwork()\nfor _ in range(60): time.sleep(0.1); work()")
    run = wrap(["sh", "-c", f"{sys.executable} {program} >/dev/null 2>&1 & sleep 4"])
    assert run.code == 0
    assert (run.record["complete"], run.record["high"]) == (False, None)
    assert any("outlived the command" in reason for reason in run.record["reasons"])
    assert list(tmp_path.glob("*.run")), "its journals are kept"


@pytest.mark.slow
def test_work_in_a_signal_handler_is_counted(wrap_python: Run) -> None:
    run = wrap_python(
        WORK
        + """
import signal
done = []
signal.signal(signal.SIGALRM, lambda *_: done.append(work()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
big = torch.ones(256, 256)
for _ in range(300): big @ big
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(done))
"""
    )
    assert int(run.out) > 10
    assert run.flops == 300 * 2 * 256**3 + int(run.out) * MM


@pytest.mark.parametrize("handler", ["signal.default_int_handler", "interrupt"])
def test_an_interrupted_operator_leaves_the_interval_open(wrap_python: Run, handler: str) -> None:
    """Its kernel is in Python here, so that the signal comes while it runs, and not before or after it."""
    run = wrap_python(
        WORK
        + f"""
import signal
class Stop(Exception): pass
def interrupt(number, frame): raise Stop
signal.signal(signal.SIGINT, {handler})
work()
def half_done(a, b): signal.raise_signal(signal.SIGINT)
kernels = torch.library.Library("aten", "IMPL")
kernels.impl("mm", half_done, "CPU")
try: torch.ones(8, 8) @ torch.ones(8, 8)
except (KeyboardInterrupt, Stop) as problem: print("caught", type(problem).__name__)
"""
    )
    assert run.out == f"caught {'Stop' if handler == 'interrupt' else 'KeyboardInterrupt'}\n"
    assert "aten.mm" in run.not_counted()
    assert run.record["high"] is None
    assert int(run.record["flops"]) > 0
