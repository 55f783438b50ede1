"""Programs that run bare or under ``ftprof wrap``: each prints what it did as its last line, ``RESULT {...}``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpu_checks import hazards, tiny
from gpu_checks.counting import Counting, library_kib, memory_kib, now_us, thread_seconds

DTYPES = ("bf16", "fp16", "tf32", "fp64", "fp8", "int8")


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one by name."""
    if name == "tiny":
        tiny.main(arguments)
        return 0
    if name == "hazards":
        return hazards.main(arguments)
    print("RESULT " + json.dumps(PROGRAMS[name](arguments)), flush=True)
    return 0


def gemms(argv: Sequence[str]) -> dict[str, Any]:
    """One product of each precision, all together in a window of their own, again and again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--edge", type=int, default=1024)
    arguments = parser.parse_args(argv)
    from gpu_checks.gpu import multiply, operands, torch_on_gpu

    torch = torch_on_gpu()
    counting = Counting()
    cases = {dtype: operands(arguments.edge, dtype) for dtype in DTYPES}

    def everything() -> None:
        for dtype, (a, b) in cases.items():
            multiply(torch, a, b, dtype)
        torch.cuda.synchronize()

    everything()
    counted = counting.wait()
    windows = _again(arguments.seconds, lambda: counting.alone(everything))
    return {"counted": counted, "operations": 2 * arguments.edge**3, "dtypes": list(cases), "windows": windows}


def train(argv: Sequence[str]) -> dict[str, Any]:
    """A training of so many steps or so long, and at its end some steps in a block, and some each in a window."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="large")
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--steps", type=int, default=0, help="timed ones; else --seconds says how long")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument("--in-block", type=int, default=0, help="so many steps inside ftprof.count()")
    parser.add_argument("--profiler", action="store_true", help="torch.profiler around some steps in the midst")
    arguments = parser.parse_args(argv)
    from gpu_checks.model import Training, shape

    counting = Counting()
    training = Training(shape(arguments.shape), arguments.mode)
    began_us = now_us()
    training.run(arguments.warmup)
    warm = memory_kib()
    timed = _timed_steps(training, arguments.steps, arguments.seconds)
    kernels = _profiled(training) if arguments.profiler else None
    block = _in_block(training, arguments.in_block) if arguments.in_block else None
    singles = [counting.alone(lambda: training.run(1)) for _ in range(arguments.alone)]
    return {
        "steps": training.steps,
        "began_us": began_us,
        "ended_us": now_us(),
        **timed,
        "block": block,
        "singles": singles,
        "kernels": kernels,
        "memory_warm_kib": warm,
        "memory_kib": memory_kib(),
        "libraries_kib": library_kib(),
        "device_free_mib": training.torch.cuda.mem_get_info()[0] / 2**20,
    }


def one_step(argv: Sequence[str]) -> dict[str, Any]:
    """A training step between cudaProfilerStart and cudaProfilerStop, for Nsight Compute."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="medium")
    parser.add_argument("--warmup", type=int, default=3)
    arguments = parser.parse_args(argv)
    from gpu_checks.model import Training, shape

    training = Training(shape(arguments.shape))
    training.run(arguments.warmup)
    training.torch.cuda.profiler.start()
    began = time.perf_counter()
    training.run(1)
    took_s = time.perf_counter() - began
    training.torch.cuda.profiler.stop()
    return {"steps": training.steps, "step_s": took_s}


def fine_tune(argv: Sequence[str]) -> dict[str, Any]:
    """Steps of a Llama's fine-tune, and some each in a window of its own; or one alone, for Nsight Compute."""
    from gpu_checks.fine_tune import METHODS, FineTune

    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=METHODS, default="full")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument("--nsight", action="store_true", help="one step between cudaProfilerStart and -Stop, no more")
    arguments = parser.parse_args(argv)
    counting = Counting()
    training = FineTune(arguments.method, arguments.checkpointing)
    about = {"parameters": training.parameters, "trained": training.trained, "tokens": training.batch.tokens}
    began_us = now_us()
    training.run(2)
    if arguments.nsight:
        training.torch.cuda.profiler.start()
        training.run(1)
        training.torch.cuda.profiler.stop()
        return {"steps": training.steps, **about}
    timed = _timed_steps(training, 0, arguments.seconds)
    singles = [counting.alone(lambda: training.run(1)) for _ in range(arguments.alone)]
    return {"steps": training.steps, "began_us": began_us, "ended_us": now_us(), **timed, "singles": singles, **about}


def graph(argv: Sequence[str]) -> dict[str, Any]:
    """Products captured into a graph while windows open and close, and its replays."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--products", type=int, default=200)
    parser.add_argument("--replays", type=int, default=2000)
    parser.add_argument("--slowly", type=float, default=0.005, help="seconds between captured products")
    arguments = parser.parse_args(argv)
    from gpu_checks.gpu import product, torch_on_gpu

    torch = torch_on_gpu()
    counting = Counting()
    once, operations = product(arguments.edge, "bf16")
    once()
    counted = counting.wait()
    captured = torch.cuda.CUDAGraph()
    began = time.monotonic()
    with torch.cuda.graph(captured):
        for _ in range(arguments.products):
            once()
            time.sleep(arguments.slowly)
    capture_s = time.monotonic() - began
    for _ in range(arguments.replays):
        captured.replay()
    torch.cuda.synchronize()
    total = operations * (arguments.products * arguments.replays + 1)
    return {"counted": counted, "operations": total, "capture_s": capture_s, "ended_us": now_us()}


def distributed(argv: Sequence[str]) -> dict[str, Any]:
    """One rank of a launcher's: it does a few products."""
    import os

    from gpu_checks.gpu import product, torch_on_gpu

    torch = torch_on_gpu()
    torch.distributed.init_process_group("gloo")
    counting = Counting()
    counted = counting.wait()
    work, operations = product(int(argv[0]) if argv else 2048, "bf16", 200)
    work()
    torch.cuda.synchronize()
    time.sleep(0.3)
    torch.distributed.destroy_process_group()
    return {"counted": counted, "operations": operations, "rank": os.environ.get("RANK")}


def _again(seconds: float, act: Callable[[], Any]) -> list[Any]:
    until = time.monotonic() + seconds
    found = []
    while time.monotonic() < until:
        found.append(act())
    return found


def _timed_steps(training: Any, steps: int, seconds: float) -> dict[str, Any]:
    """In chunks of about a quarter of a second, each waited for; so many steps in all, or so long."""
    began = time.perf_counter()
    training.run(2)
    chunk = max(1, round(0.25 / max((time.perf_counter() - began) / 2, 1e-6)))
    if steps:
        chunk = min(chunk, steps)
    chunks: list[float] = []
    at_s: list[float] = []
    resident_kib: list[int] = []
    halves = [thread_seconds()]
    done, start = 0, time.perf_counter()
    while (done < steps) if steps else (time.perf_counter() - start < seconds):
        count = min(chunk, steps - done) if steps else chunk
        before = time.perf_counter()
        training.run(count)
        chunks.append((time.perf_counter() - before) / count)
        done += count
        at_s.append(time.perf_counter() - start)
        resident_kib.append(memory_kib()["resident"])
        if len(halves) == 1 and not steps and time.perf_counter() - start > seconds / 2:
            halves.append(thread_seconds())
    wall = time.perf_counter() - start
    halves.append(thread_seconds())
    return {
        "timed_steps": done,
        "timed_s": wall,
        "step_s": chunks,
        "at_s": at_s,
        "resident_kib": resident_kib,
        "threads_s": halves,
    }


def _in_block(training: Any, steps: int) -> dict[str, Any]:
    """What ``ftprof.count()`` says of so many steps."""
    import ftprof

    with ftprof.count() as run:
        training.run(steps)
    return {
        "flops": run.flops,
        "low": run.interval.low,
        "high": run.interval.high,
        "method": run.method,
        "complete": run.complete,
        "reasons": list(run.reasons),
    }


def _profiled(training: Any) -> int:
    """How many kernels torch.profiler saw in three steps."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        training.run(3)
    kind = training.torch.autograd.DeviceType.CUDA
    return sum(1 for event in seen.events() if event.device_type == kind)


PROGRAMS: dict[str, Callable[[Sequence[str]], dict[str, Any]]] = {
    "gemms": gemms,
    "train": train,
    "one-step": one_step,
    "fine-tune": fine_tune,
    "graph": graph,
    "distributed": distributed,
}
