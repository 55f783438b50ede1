"""``ftprof plan``: the counter groups that CUPTI can collect in one pass on a chip."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftprof.cli.output import write_stdout
from ftprof.errors import FtprofError, UsageProblem

if TYPE_CHECKING:
    from ftprof import _native

_SCHEMA = "ftprof.plan/1"
# The range profiler counts from Turing (compute capability 7.5) on; CUPTI's host library still knows these.
_BEFORE_TURING = frozenset({"GV100", "GV11B"})
_ROLES = {
    "base": "on nearly always",
    "rotating": "in turn: the rest of the tensor cores' floating-point operations",
    "cuda-core": "rare windows of patched code, which slow kernels down; alone in its pass",
    "link": "instructions a cycle: extends the cuda-core windows to all cycles",
    "integer": "integer operations of the tensor cores, reported apart",
    "sparse": "the structured-sparse part, reported apart",
}


@click.command(name="plan")
@click.option("--chip", metavar="NAME", help="The chip to plan for, such as GH100. Without it: list the chips.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def command(chip: str | None, as_json: bool) -> None:
    """Show the counter groups that CUPTI can collect in one pass on a chip. Needs no GPU."""
    native = _load_native()
    try:
        info = _load_cupti(native)
        if chip is None:
            _show_chips(info, native.chips(), as_json)
        else:
            _show_plan(info, native.plan(_known_chip(chip, native.chips())), as_json)
    except native.CuptiError as error:
        raise FtprofError(f"cannot plan: {' '.join(str(error).split())}") from error


def _load_native() -> Any:
    try:
        from ftprof import _native
    except ImportError as error:
        package = Path(__file__).resolve().parents[1]
        if (package.parent / "pyproject.toml").exists():
            where = f"{package} is ftprof's source folder, not the installed package"
            raise FtprofError(f"{where}; run the 'ftprof' command, or run it from another folder") from error
        reason = " ".join(str(error).split())
        raise FtprofError(f"cannot load ftprof's native module ({reason}); reinstall ftprof on this machine") from error
    return _native


def _load_cupti(native: Any) -> _native.LibraryInfo:
    from ftprof.measure.cupti_search import search_roots

    info: _native.LibraryInfo = native.load_cupti(search_roots())
    if info.warning:
        click.echo(f"ftprof: warning: {info.warning}", err=True)
    return info


def _known_chip(name: str, chips: list[str]) -> str:
    """The chip under CUPTI's own spelling, or a usage error that names the nearest ones."""
    wanted = name.strip().upper()
    if wanted in _BEFORE_TURING and wanted in chips:
        raise UsageProblem(
            f"--chip {wanted}: the range profiler counts from Turing on, and this chip is older; "
            "'ftprof plan' lists the chips"
        )
    if wanted in chips:
        return wanted
    near = difflib.get_close_matches(wanted, [chip for chip in chips if chip not in _BEFORE_TURING], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "'ftprof plan' lists the chips"
    raise UsageProblem(f"--chip {name!r}: this CUPTI knows no such chip; {hint}")


def _show_chips(info: _native.LibraryInfo, chips: list[str], as_json: bool) -> None:
    countable = [chip for chip in chips if chip not in _BEFORE_TURING]
    too_old = [chip for chip in chips if chip in _BEFORE_TURING]
    if as_json:
        _write_json({**_header(info), "chips": chips, "too_old": too_old})
        return
    write_stdout(f"CUPTI {info.version} ({info.origin}: {info.path}) knows these chips:")
    for start in range(0, len(countable), 10):
        write_stdout("  " + " ".join(countable[start : start + 10]))
    if too_old:
        write_stdout(f"  too old for the range profiler: {' '.join(too_old)}")
    write_stdout("Groups of one chip: ftprof plan --chip GH100")


def _show_plan(info: _native.LibraryInfo, plan: _native.Plan, as_json: bool) -> None:
    if as_json:
        _write_json({**_header(info), **_as_dict(plan)})
        return
    write_stdout(f"{plan.chip}, CUPTI {info.version} ({info.origin}: {info.path}). Each group takes one pass.")
    for role, meaning in _ROLES.items():
        groups = [group for group in plan.groups if group.role == role]
        if groups:
            write_stdout(f"\n{role}: {meaning}")
        for number, group in enumerate(groups, 1):
            _show_group(number, group)
    for metric in plan.unsupported:
        write_stdout(f"\nunsupported: {metric.metric}: {metric.reason}")


def _show_group(number: int, group: _native.Group) -> None:
    native = _load_native()
    for position, name in enumerate(group.metrics):
        row = native.find_metric(name)
        label = row.precision or row.kind
        weight = f"x{row.weight}" if row.weight else ""
        mark = f"{number}." if position == 0 else ""
        write_stdout(f"  {mark:3} {label:14} {weight:3} {name}")


def _as_dict(plan: _native.Plan) -> dict[str, object]:
    return {
        "chip": plan.chip,
        "groups": [{"role": g.role, "metrics": g.metrics, "passes": g.passes} for g in plan.groups],
        "unsupported": [{"metric": u.metric, "reason": u.reason} for u in plan.unsupported],
    }


def _header(info: _native.LibraryInfo) -> dict[str, object]:
    return {
        "schema": _SCHEMA,
        "cupti_version": info.version,
        "cupti_path": info.path,
        "cupti_origin": info.origin,
    }


def _write_json(answer: dict[str, object]) -> None:
    write_stdout(json.dumps(answer, indent=2))
