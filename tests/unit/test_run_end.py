"""Which processes the end of a run waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ftprof.measure.run import still_working

# As a daemon does, which lives on in a grandchild, and once more.
DAEMON = """
import os, time
for _ in range(3):
    if os.fork():
        os._exit(0)
os.closerange(0, 3)
time.sleep(60)
"""


@pytest.mark.parametrize("attempt", range(30))
def test_a_process_that_forks_and_ends_is_not_overlooked(attempt: int) -> None:
    mark = f"daemon-{os.getpid()}-{attempt}"
    subprocess.run([sys.executable, "-S", "-c", DAEMON], env={**os.environ, "FTPROF_RUN_ID": mark}, check=True)
    found = still_working(mark)
    while len(found) > 1:  # those that are about to end
        found = still_working(mark)
    os.kill(found[0], signal.SIGKILL)
