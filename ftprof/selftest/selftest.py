"""The self-test as a whole: a child process tries the cases, and this one keeps the time and makes the answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ftprof.measure.short_process import OWN_FOLDER, end, signal_name
from ftprof.selftest.rows import NOT_COUNTED, Row, row_from_json, verdict_of

LIMIT_S = 28.0  # so that the answer is there within 30
_OF_CASES = 0.85  # of the limit: after this no case is begun, so that the one under way may end
_CHILD = (
    "import sys; sys.path[:] = sys.argv[3:]; import ftprof; del sys.path[0];"
    " from ftprof.selftest.worker import from_command_line as run; run()"
)
_LOOK = "look for Xid messages in the kernel's log"
# The child leaves nothing behind (cupy makes a folder for its cache when it is imported), and cupy multiplies in tf32.
_CACHE = "CUPY_CACHE_DIR"
_ENVIRONMENT = {
    "CUPY_CACHE_IN_MEMORY": "1",
    "CUDA_CACHE_DISABLE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUPY_TF32": "1",
}
# No other tool counts in it, and it belongs to no run.
_HIDDEN = ("CUDA_INJECTION64_PATH", "FTPROF_RUN_DIR", "FTPROF_RUN_ID", "FTPROF_METHODS", "FTPROF_CLOCK")


@dataclass
class Answer:
    """What came of it. ``why`` says why something was not counted, and ``remedy`` what to do."""

    rows: list[Row] = field(default_factory=list)
    device: Mapping[str, Any] | None = None
    software: Mapping[str, Any] | None = None
    machine_code: Mapping[str, Any] | None = None
    why: str | None = None
    remedy: str | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``not counted``."""
        return verdict_of(self.rows)


def selftest(environ: Mapping[str, str], limit_s: float = LIMIT_S) -> Answer:
    """Try every case on the first visible GPU, in so many seconds. Raises nothing: what fails is in the answer."""
    began = time.monotonic()
    answer = Answer()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ftprof-", ignore_cleanup_errors=True) as folder,
            Path(folder, "said").open("w+b") as said,
        ):
            environment = {n: v for n, v in environ.items() if n not in _HIDDEN} | _ENVIRONMENT | {_CACHE: folder}
            with _child(environment, said, limit_s) as (child, pipe):
                in_time = _listen(answer, pipe, began + limit_s)
                code = _code(child) if in_time else None
            _explain(answer, code, in_time, limit_s, said)
    except OSError as error:
        what = f"no process or temporary folder could be had ({error})"
        answer.why, answer.remedy = what, "free some memory or disk, or set TMPDIR"
    answer.seconds = time.monotonic() - began
    return answer


@contextlib.contextmanager
def _child(
    environment: Mapping[str, str], said: IO[bytes], limit_s: float
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The child, and where to read what it tells."""
    reading, writing = os.pipe()
    try:
        # Its libraries are those that the user's programs find, whatever ftprof's own process takes first.
        path = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
        command = [sys.executable, "-c", _CHILD, str(writing), str(limit_s * _OF_CASES), OWN_FOLDER, *path]
        try:
            child = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[writing]
            )
        finally:
            os.close(writing)
        try:
            yield child, reading
        finally:
            end(child)
    finally:
        os.close(reading)


def _listen(answer: Answer, pipe: int, deadline: float) -> bool:
    """Take what the child tells until it says no more. False where the time was over first."""
    buffer = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        part = os.read(pipe, 65536)
        if not part:
            return True
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            _understand(answer, json.loads(line))
    return False


def _understand(answer: Answer, line: Mapping[str, Any]) -> None:
    if "failure" in line:
        answer.why, answer.remedy = line["failure"]["what"], line["failure"]["remedy"] or None
    elif "device" in line:
        answer.device, answer.software = line["device"], line["software"]
        answer.machine_code = line["machine_code"]
    elif "rows" in line:
        answer.rows = [row_from_json(row) for row in line["rows"]]
    else:
        answer.rows[line["number"]] = row = row_from_json(line["row"])
        if row.verdict == NOT_COUNTED and answer.why is None:
            answer.why, answer.remedy = row.why, line["remedy"] or None


def _code(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended; ``None`` where it tells nothing more and does not end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(timeout=1)
    return None


def _explain(answer: Answer, code: int | None, in_time: bool, limit_s: float, said: IO[bytes]) -> None:
    """Give the rows that have none their verdict: some were under way, others never begun."""
    pending = [number for number, row in enumerate(answer.rows) if not row.verdict]
    if not in_time:
        ending = f"it had not ended when the {limit_s:g} s were over"
    elif code:
        how = signal_name(-code) if code < 0 else f"exit code {code}"
        ending = f"the process that counts ended with {how}{_last_words(said)}"
    else:
        ending = "the process that counts said nothing more"
    for number in pending:
        answer.rows[number] = answer.rows[number].not_counted(ending)
    if (pending or not answer.rows) and answer.why is None:
        answer.why, answer.remedy = ending, _LOOK


def _last_words(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").split("\n")
    words = [line.strip() for line in lines if line.strip()]
    return f" ({words[-1]:.200})" if words else ""
