"""A CUDA program without torch: one kernel of known operations, many times, and then one of several ends.

It knows nothing of ftprof but ``--wait``, which waits until counting has begun. Prints what it did as its last line.
"""

from __future__ import annotations

import argparse
import ctypes as c
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from gpu_checks.counting import Counting, now_us, thread_seconds
from gpu_checks.kernels import KERNELS, THREADS, output_bytes, ptx

BLOCKS = 264
ROUNDS = 2000


class Cuda:
    """The driver's functions; each raises where it fails."""

    def __init__(self) -> None:
        self._library = c.CDLL("libcuda.so.1")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> None:
            code = function(*arguments)
            if code:
                raise RuntimeError(f"{name}: error {code}")

        return call


class Program:
    """A context, a kernel and its output."""

    def __init__(self, kernel: str, created: bool) -> None:
        self.cuda = Cuda()
        self.kernel = KERNELS[kernel]
        self.launched = 0
        self.cuda.cuInit(0)
        device, context = c.c_int(), c.c_void_p()
        self.cuda.cuDeviceGet(c.byref(device), 0)
        if created:
            self.cuda.cuCtxCreate_v2(c.byref(context), 0, device)
        else:
            self.cuda.cuDevicePrimaryCtxRetain(c.byref(context), device)
            self.cuda.cuCtxSetCurrent(context)
        module, self._function, self._output = c.c_void_p(), c.c_void_p(), c.c_uint64()
        self._load(module, device)
        self.cuda.cuModuleGetFunction(c.byref(self._function), module, self.kernel.name.encode())
        self.cuda.cuMemAlloc_v2(c.byref(self._output), c.c_size_t(output_bytes(BLOCKS)))

    def _load(self, module: c.c_void_p, device: c.c_int) -> None:
        """The kernels: assembled by the driver, or where its assembler is missing by ptxas, if that is here."""
        try:
            self.cuda.cuModuleLoadData(c.byref(module), c.c_char_p(ptx().encode() + b"\0"))
        except RuntimeError:
            if shutil.which("ptxas") is None:
                raise
            number = c.c_int()
            self.cuda.cuDeviceGetAttribute(c.byref(number), 75, device)  # compute capability, major
            major = number.value
            self.cuda.cuDeviceGetAttribute(c.byref(number), 76, device)  # minor
            with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
                command = ["ptxas", f"-arch=sm_{major}{number.value}", "-o", cubin.name, "-"]
                subprocess.run(command, input=ptx().encode(), check=True)
                self.cuda.cuModuleLoadData(c.byref(module), c.c_char_p(cubin.read()))

    def launch(self) -> None:
        """Once; it does not wait."""
        output, rounds = c.c_uint64(self._output.value), c.c_uint32(ROUNDS)
        arguments = (c.c_void_p * 2)(c.cast(c.byref(output), c.c_void_p), c.cast(c.byref(rounds), c.c_void_p))
        self.cuda.cuLaunchKernel(self._function, BLOCKS, 1, 1, THREADS, 1, 1, 0, None, arguments, None)
        self.launched += 1

    def launch_and_wait(self) -> None:
        """Once, to its end."""
        self.launch()
        self.synchronize()

    def synchronize(self) -> None:
        """Wait for all of it."""
        self.cuda.cuCtxSynchronize()

    def work(self, seconds: float, pause: float) -> None:
        """Launch so long, a few at a time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(10):
                self.launch()
            self.synchronize()
            if pause:
                time.sleep(pause)

    def result(self, **more: Any) -> dict[str, Any]:
        """What it did."""
        each = self.kernel.count(BLOCKS, ROUNDS)
        return {"launched": self.launched, "metric": self.kernel.metric, "count": each * self.launched, **more}


def end(how: str) -> None:
    """Leave in one of the ways in which programs leave."""
    sys.stdout.flush()
    if how == "os_exit":
        os._exit(4)
    if how in ("sigterm", "sigkill", "sigabrt"):
        os.kill(os.getpid(), getattr(signal, how.upper()))
        time.sleep(60)
    if how == "raise":
        raise RuntimeError("as asked")
    sys.exit(3 if how == "exit3" else 0)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", choices=KERNELS, default="bf16")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pause", type=float, default=0.001, help="seconds between batches of ten launches")
    parser.add_argument("--wait", action="store_true", help="until counting has begun")
    parser.add_argument("--alone", type=int, default=0, help="so many launches, each in a window of its own")
    parser.add_argument("--idle", type=float, default=0.0, help="do nothing so long, after saying 'ready'")
    parser.add_argument("--created", action="store_true", help="on a context of its own, not the primary one")
    parser.add_argument("--fork", action="store_true", help="fork in the midst of it; the child ends at once")
    parser.add_argument("--end", default="exit")
    arguments = parser.parse_args(argv)
    counting = Counting()
    program = Program(arguments.kernel, arguments.created)
    waited = counting.wait() if arguments.wait else False
    print("ready", flush=True)
    time.sleep(arguments.idle)
    began, cpu = time.monotonic(), thread_seconds()
    program.work(arguments.seconds / 2, arguments.pause)
    if arguments.fork and os.fork() == 0:
        sys.exit(0)
    program.work(arguments.seconds / 2, arguments.pause)
    singles = [counting.alone(program.launch_and_wait) for _ in range(arguments.alone)]
    wall = time.monotonic() - began
    spent = {name: total - cpu.get(name, 0.0) for name, total in thread_seconds().items()}
    done = program.result(waited=waited, singles=singles, wall_s=wall, cpu_s=spent, ended_us=now_us())
    print("RESULT " + json.dumps(done))
    end(arguments.end)
