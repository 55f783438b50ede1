"""``ftprof report``: a record for a person or a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftprof.cli.check import Answer, check_record
from ftprof.cli.given_path import GivenPath, refuse_no_file_name
from ftprof.cli.output import harmless, printable, write_stdout
from ftprof.cli.policy_options import refuse_forgotten_value
from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy.choice import PolicyOptions

if TYPE_CHECKING:
    from ftprof.record.record import Record
    from ftprof.report.judged_run import JudgedRun

FORMATS = ("text", "json", "markdown", "html", "flops-meter")
_ASCII = ("json", "html", "flops-meter")  # these any stream takes as they are


@click.command(name="report")
@click.argument("record", type=GivenPath())
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="html is one self-contained file, markdown fits a model card, flops-meter has the JSON fields of the AWS "
    "Fine-Tuning FLOPs Meter.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=refuse_forgotten_value,
    help="Write to FILE instead of stdout (which is -).",
)
def command(record: Path, form: str, output: str | None) -> int:
    """Show RECORD, with its verdicts evaluated anew."""
    from ftprof.record.record import load_record

    if output == "-":
        output = None
    if output is not None:
        refuse_no_file_name(output)
    if output is not None and Path(output).exists():
        raise UsageProblem(f"{output} exists; give another file with -o")
    loaded = load_record(record)
    text = _report(form, loaded, check_record(loaded, str(record), PolicyOptions()))
    if output is None:
        write_stdout(text if form in _ASCII else printable(sys.stdout, text))
        return 0
    content = f"{text if form in _ASCII else harmless(text)}\n".encode()
    try:
        with Path(output).open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageProblem(f"{output} exists; give another file with -o") from error
    except OSError as error:
        raise FtprofError(f"{output} cannot be written: {error.strerror}") from error
    return 0


def _report(form: str, record: Record, answer: Answer) -> str:
    if form == "json":
        verdicts = tuple(verdict.to_json() for verdict in answer.verdicts)
        return json.dumps(record.judged(answer.inputs.to_json(), verdicts, answer.basis.to_json()).to_json(), indent=1)
    run = judged_run(record, answer)
    if form == "html":
        from ftprof.report.html.page import html_report

        return html_report(run)
    if form == "markdown":
        from ftprof.report.markdown import markdown_report

        return markdown_report(run).rstrip("\n")
    if form == "flops-meter":
        from ftprof.report.flops_meter import flops_meter_json

        return flops_meter_json(run)
    from ftprof.report.documentation_form import documentation_form
    from ftprof.report.form_text import form_text
    from ftprof.report.run_text import report_text

    return f"{report_text(record, answer.to_text().splitlines())}\n\n{form_text(documentation_form(run))}"


def judged_run(record: Record, answer: Answer) -> JudgedRun:
    """What the reports need of a record and the answer on it."""
    from ftprof.report.judged_run import JudgedRun

    return JudgedRun(
        record=record,
        digest=record.to_json()["digest"],
        executed=answer.amount,
        basis=answer.basis,
        inputs=answer.inputs,
        verdicts=answer.verdicts,
        notes=(*answer.notes, *answer.general_notes),
    )
