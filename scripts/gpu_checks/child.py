"""Starts an experiment in a process of its own, and ends it and all that it started if it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.experiment import REFUSED
from gpu_checks.state import DONE

_STACKS_S = 2.0  # faulthandler prints every thread's stack in that time


def experiment(
    command: Sequence[str], name: str, folder: Path, limit_s: float, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run one. The result says how it ended (done, refused, failed, crashed, hung), and what it found before that."""
    found, log = folder / "result.json", folder / f"{name.replace('/', '-')}.log"
    found.unlink(missing_ok=True)
    mark = secrets.token_hex(8)
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, name, str(found)], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder,
            env={**environment, place.MARK: mark}, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STACKS_S)
        finally:
            end_all(mark)
            process.wait()
    result: dict[str, Any] = {"state": _ending(code), "seconds": round(time.monotonic() - began, 1)}
    if found.exists():
        result |= json.loads(found.read_text())
    if code != 0:
        result["code"], result["log"] = code, log.read_text(errors="replace")[-4000:]
    return result


def _ending(code: int | None) -> str:
    if code is None:
        return "hung"
    if code < 0:
        return "crashed"
    return {0: DONE, REFUSED: "refused"}.get(code, "failed")


def end_all(mark: str) -> None:
    """Kill every process that carries the mark: launchers put workers into sessions of their own."""
    wanted = f"{place.MARK}={mark}".encode()
    for _ in range(3):
        found = [folder for folder in Path("/proc").glob("[0-9]*") if _carries(folder, wanted)]
        if not found:
            return
        for folder in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(folder.name), signal.SIGKILL)
        time.sleep(0.05)


def _carries(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0") and process.name != str(os.getpid())
    except OSError:
        return False
