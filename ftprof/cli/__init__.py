"""The command line: one file a subcommand, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from ftprof import __version__
from ftprof.errors import FtprofError

_COMMANDS = {
    "wrap": "Run a command unchanged, count its floating-point operations, and judge them.",
    "check": "The verdict on a record or on a bare number.",
    "report": "A record as text, JSON, Markdown, one HTML page, or the AWS meter's JSON.",
    "estimate": "The compute of a fine-tune before any GPU is rented.",
    "merge": "Make one record of a run's journals, or of several records.",
    "sign": "Sign a record, its journals and the adapter or checkpoint, as an in-toto statement.",
    "verify": "Check a record, its signature, journals, sums and verdicts, and name what does not hold.",
    "plan": "The counter groups that CUPTI can collect in one pass on a chip.",
    "doctor": "Which methods can count here, what is in the way, and what to do about it.",
    "selftest": "Prove this GPU's counters with work of known operations.",
}


class _LazyGroup(click.Group):
    """Knows every subcommand's name and one-line help without importing it, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"ftprof.cli.{cmd_name}").command
        names = {param.name for param in command.params}
        command.params += [option for option in _common_options() if option.name not in names]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(dict)["debug"] = True


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"ftprof {__version__}")
        ctx.exit()


def _common_options() -> list[click.Option]:
    """--debug and --version, which work before and after the subcommand."""
    return [
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Show tracebacks of errors.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ]


group = _LazyGroup(
    name="ftprof",
    help=(
        "Count the floating-point operations that a training run executes, and say which EU AI Act scenario "
        "applies and whether the fine-tune is below or above its compute threshold."
    ),
    params=list(_common_options()),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the contract's exit code. Errors are one line on stderr."""
    shared: dict[str, Any] = {}
    try:
        code = group.main(args=argv, prog_name="ftprof", standalone_mode=False, obj=shared)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(shared, f"{error.format_message()} ({_usage_hint(error, argv)})", 2)
    except click.Abort:
        sys.exit(130)
    except FtprofError as error:
        _fail(shared, error.message, error.exit_code)
    except Exception as error:
        # A bug: the user gets one line all the same, and with --debug the traceback for the report.
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _fail(shared, f"unexpected {what}; please report it with what --debug shows", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_hint(error: click.ClickException, argv: list[str] | None) -> str:
    """Whose help to read: an option without its value is found before click knows the subcommand."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ftprof"
    first = next(iter(sys.argv[1:] if argv is None else argv), "")
    if path == "ftprof" and first in _COMMANDS:
        path = f"ftprof {first}"
    return f"see '{path} --help'"


def _fail(shared: dict[str, Any], message: str, code: int) -> None:
    if shared.get("debug"):
        import traceback

        traceback.print_exc()
    click.echo(f"ftprof: {' '.join(message.splitlines())}", err=True)
    sys.exit(code)
