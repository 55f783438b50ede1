"""What child processes that are given little time have in common."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

# Where this very ftprof is: a child's search path may begin with a folder that holds another.
OWN_FOLDER = str(Path(__file__).resolve().parents[2])


def end(child: subprocess.Popen[bytes]) -> None:
    """End it if it still runs. One that hangs inside the kernel cannot be ended, and is not waited for."""
    if child.poll() is None:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def signal_name(number: int) -> str:
    """Such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
