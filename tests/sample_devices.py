"""A small wrapping process for tests: it runs one command with a run's mark, and samples the GPUs while it runs.

Its argument is a JSON object with ``command``, ``seconds`` between looks, ``gpm``, and ``ids`` (the file for the
command's id, for NVML to list). It answers with the windows and the notes as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ftprof.measure.device_sampler import DeviceSampler
from ftprof.measure.run_processes import RunProcesses

RUN_ID = "0123456789abcdef"


class _Members(RunProcesses):
    def ids_are_the_drivers(self) -> bool:
        return True  # so that the test does not depend on where it runs


def main(settings: dict[str, Any]) -> None:
    lines: list[dict[str, Any]] = []
    began = time.time_ns() // 1000
    command = subprocess.Popen(settings["command"], env={**os.environ, "FTPROF_RUN_ID": RUN_ID})
    sampler = DeviceSampler(lines.append, _Members(RUN_ID, command.pid), settings.get("gpm", True))
    if "ids" in settings:
        Path(settings["ids"]).write_text(f"{command.pid}\n")
    longest_tick = 0.0
    while command.poll() is None:
        time.sleep(settings["seconds"])
        before = time.monotonic()
        sampler.tick()
        longest_tick = max(longest_tick, time.monotonic() - before)
    before = time.monotonic()
    notes = sampler.finish()
    print(
        json.dumps(
            {
                "lines": lines,
                "notes": notes,
                "began_us": began,
                "ended_us": time.time_ns() // 1000,
                "longest_tick_s": longest_tick,
                "finish_s": time.monotonic() - before,
                "exit_code": command.returncode,
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
