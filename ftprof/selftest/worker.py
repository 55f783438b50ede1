"""The child process that tries the cases: a driver or a library that hangs or crashes takes only this one along.

It tells its parent what it does, a JSON object a line: the device, all rows before the first is tried, each row with
its verdict, and ``failure`` where it cannot begin.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from ftprof.errors import UntrustedInput
from ftprof.measure.cupti_search import search_roots
from ftprof.selftest.bench import Bench, Captures
from ftprof.selftest.cases import known_cases
from ftprof.selftest.counts import Counters, Windows
from ftprof.selftest.gpu import Gpu, GpuProblem
from ftprof.selftest.machine_code import binary_for
from ftprof.selftest.products import Libraries, product_cases
from ftprof.selftest.rows import Row
from ftprof.selftest.trials import Trials


class _Failed(Exception):
    """Why nothing can be tried."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def main(arguments: Sequence[str]) -> NoReturn:
    """``arguments`` are the number of the pipe's descriptor, and the seconds after which no case is begun."""
    descriptor, seconds = int(arguments[0]), float(arguments[1])
    deadline = time.monotonic() + seconds
    with os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
        try:
            _try_all(pipe, deadline)
        except _Failed as failed:
            _tell(pipe, failure={"what": failed.what, "remedy": failed.remedy})
    os._exit(0)  # past the exit handlers of the driver and of the libraries, which may hang


def _tell(pipe: TextIO, **line: Any) -> None:
    pipe.write(json.dumps(line) + "\n")
    pipe.flush()


def _try_all(pipe: TextIO, deadline: float) -> None:
    native, info, gpu, windows = _opened()
    try:
        bench = _bench(native, gpu, windows)
        binary = bench.binary
        _tell(
            pipe,
            device={**bench.counters.device, "visible": gpu.visible},
            software={"cupti": info.version, "cupti_path": info.path, "driver": native.driver_version()},
            machine_code=binary
            and {"architecture": binary.architecture, "sha256": binary.sha256, "source_sha256": binary.source_sha256},
        )
        batches = [known_cases(bench), *product_cases(bench, Libraries())]
        _tell(pipe, rows=[case.row.to_json() for batch in batches for case in batch])

        def tell(number: int, row: Row, remedy: str) -> None:
            _tell(pipe, number=number, row=row.to_json(), remedy=remedy)

        trials, first = Trials(bench, deadline, tell), 0
        for batch in batches:
            trials.run(batch, first)
            first += len(batch)
    finally:
        windows.close()


def _opened() -> tuple[Any, Any, Gpu, Any]:
    """The native module, CUPTI, the GPU and the windows on it. Raises ``_Failed``."""
    try:
        native = importlib.import_module("ftprof._native")
    except ImportError as error:
        raise _Failed(f"ftprof's native module cannot be loaded ({error})", "reinstall ftprof") from error
    try:
        gpu = Gpu()
        info = native.load_cupti(search_roots())
        windows = native.ChosenWindows(native.cuda_contexts()[0])
    except GpuProblem as problem:
        raise _Failed(problem.what, problem.remedy) from problem
    except native.CuptiError as error:
        raise _Failed(" ".join(str(error).split()), error.remedy) from error
    return native, info, gpu, windows


def _bench(native: Any, gpu: Gpu, windows: Windows) -> Bench:
    """Every capture of this process is told to the gate that patched code waits at."""
    native.captures_are_announced()
    try:
        binary = binary_for(gpu.capability)
    except UntrustedInput as problem:
        raise _Failed(problem.message) from problem
    counters = Counters(windows, native.CuptiError)
    return Bench(gpu, counters, binary, Captures(native.capture_begins, native.capture_ends))


def from_command_line() -> NoReturn:
    """What the parent starts."""
    main(sys.argv[1:3])
