"""``ftprof report``: a record for a person or a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ftprof.cli.check import check_record
from ftprof.cli.output import printable, write_stdout
from ftprof.cli.policy_options import PolicyOptions, refuse_separator
from ftprof.errors import FtprofError, UsageProblem


@click.command(name="report")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", callback=refuse_separator, help="Write to FILE instead of stdout.")
def command(record: Path, form: str, output: str | None) -> int:
    """Show RECORD, with its verdicts evaluated anew."""
    from ftprof.record.record import load_record
    from ftprof.report.run_text import report_text

    loaded = load_record(record)
    answer = check_record(loaded, str(record), PolicyOptions())
    if form == "json":
        verdicts = tuple(verdict.to_json() for verdict in answer.verdicts)
        judged = loaded.judged(loaded.policy_inputs, verdicts, answer.basis.to_json())
        text = json.dumps(judged.to_json(), indent=1)
    else:
        text = report_text(loaded, answer.to_text().splitlines())
    if output is None:
        write_stdout(text if form == "json" else printable(sys.stdout, text))
        return 0
    if Path(output).exists():
        raise UsageProblem(f"{output} exists; give another file with -o")
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise FtprofError(f"{output} cannot be written: {error.strerror}") from error
    return 0
