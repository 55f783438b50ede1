"""``ftprof selftest``: counts work whose operations are known, and says whether this GPU's counters can be trusted."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from ftprof import __version__
from ftprof.cli.output import printable, write_stdout

if TYPE_CHECKING:
    from ftprof.selftest.selftest import Answer

_SCHEMA = "ftprof.selftest/1"


@click.command(name="selftest")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def command(as_json: bool) -> int:
    """Prove the counters of the first GPU with work of known operations, in less than 30 seconds.

    Exit code 0: every count was right. 1: a count was wrong, these counters cannot be trusted. 5: something could not
    be counted.
    """
    from ftprof.report.selftest_text import selftest_lines
    from ftprof.selftest.rows import exit_code_of
    from ftprof.selftest.selftest import selftest

    done = selftest(os.environ)
    answer = selftest_answer(done, exit_code_of(done.verdict))
    if as_json:
        write_stdout(json.dumps(answer, indent=1))
    else:
        write_stdout(printable(sys.stdout, "\n".join(selftest_lines(answer))))
    return exit_code_of(done.verdict)


def selftest_answer(done: Answer, exit_code: int) -> dict[str, Any]:
    """The answer as ``schemas/selftest-1.json`` has it."""
    return {
        "schema": _SCHEMA,
        "verdict": done.verdict,
        "exit_code": exit_code,
        "why": done.why,
        "remedy": done.remedy,
        "time_ms": round(1000 * done.seconds),
        "device": done.device,
        "software": {"ftprof": __version__, **(done.software or {})},
        "machine_code": done.machine_code,
        "rows": [row.to_json() for row in done.rows],
    }
