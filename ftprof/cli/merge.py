"""``ftprof merge``: make one record of a run's journals, or of several records."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ftprof.cli.given_path import GivenPath
from ftprof.cli.output import printable, write_stdout
from ftprof.cli.policy_options import policy_options, refuse_forgotten_value
from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy.choice import PolicyOptions, read_policy_options


@click.command(name="merge")
@click.argument("sources", metavar="DIR|RECORD...", nargs=-1, required=True, type=GivenPath())
@click.option(
    "-o", "--record", metavar="RECORD", required=True, callback=refuse_forgotten_value, help="The record to write."
)
@click.option("--force", is_flag=True, help="Overwrite the record if it exists.")
@policy_options
def command(sources: tuple[Path, ...], record: str, force: bool, policy_options: PolicyOptions) -> int:
    """Make one record of run directories (with their journals) and records.

    Exit codes: 0 done, 1 a journal or record cannot be read or trusted, 2 wrong usage.
    """
    from ftprof.policy.choice import judge_record
    from ftprof.policy.inputs import PolicyInputs
    from ftprof.record.journal_readers import without_collector
    from ftprof.record.merge import merge_journals, merge_records
    from ftprof.record.record import load_record, save_record
    from ftprof.report.run_text import closing_block

    where = Path(record)
    if where.exists() and not force:
        raise UsageProblem(f"the record {where} exists; give --force to overwrite it, or another name with -o")
    with without_collector():
        parts = [(str(path), merge_journals(path) if path.is_dir() else load_record(path)) for path in sources]
        for name, part in parts:
            if part.policy_inputs:
                PolicyInputs.from_json(part.policy_inputs, name)  # raises where no ftprof wrote them
        merged = parts[0][1] if len(parts) == 1 else merge_records(parts)
        recorded = PolicyInputs.from_json(merged.policy_inputs, parts[0][0]) if merged.policy_inputs else None
        choice = read_policy_options(policy_options, recorded=recorded)
        result, verdicts = judge_record(merged, choice)
        try:
            save_record(result, where, overwrite=force)
        except FileExistsError as error:
            raise UsageProblem(f"the record {where} was made meanwhile; give --force to overwrite it") from error
        except OSError as error:
            raise FtprofError(f"the record {where} cannot be written: {error.strerror}") from error
    write_stdout(printable(sys.stdout, "\n".join(closing_block(result, verdicts, where))))
    return 0
