"""What every record has, by whatever method: its runs, processes, policies' inputs and cross-checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from math import ceil, floor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from ftprof.errors import UntrustedInput
from ftprof.quantity import to_json
from ftprof.record.journal import Journal, ProcessIdentity
from ftprof.record.record import ProcessRecord, Record, RunInfo
from ftprof.record.run_times import SLACK_US, Span, groups_at_once, run_times

if TYPE_CHECKING:
    from ftprof.record.device_window import DeviceTotal

Counted: TypeAlias = Mapping[ProcessIdentity, tuple[Journal, int]]


def run_info(journal: Journal) -> RunInfo:
    """The ``ftprof wrap`` that wrote this journal."""
    header, end = journal.header, journal.end
    return RunInfo(
        run=header["run"],
        command=tuple(header["command"]),
        host=header["host"],
        began_us=header["time_us"],
        ended_us=None if end is None else end["time_us"],
        exit_code=None if end is None else end["exit_code"],
        ftprof=header["software"]["ftprof"],
        head=journal.head,
        launch=journal.launch,
    )


def process_record(journal: Journal, flops: int) -> ProcessRecord:
    """The process that wrote this journal. ``flops`` are its operations by the method of its header."""
    header = journal.header
    return ProcessRecord(
        identity=journal.identity,
        method=header["method"],
        flops=flops,
        windows=journal.windows,
        began_us=header["time_us"],
        last_us=journal.last_us,
        end=None if journal.end is None else journal.end["reason"],
        rank=header["rank"],
        software=header["software"],
        devices=tuple(journal.devices),
        journal=journal.path.name,
        journal_lines=journal.lines,
        journal_head=journal.head,
    )


def is_partial(journal: Journal) -> bool:
    """Whether operators were counted from some moment on only: to tell phases apart, not for their total."""
    return "operators" in journal.header["software"]


def _by_phase(journals: list[Journal], of_gpus: bool = False) -> dict[str, str]:
    sums: dict[str, int] = {}
    for journal in journals:
        for cell, (_, flops) in journal.counts.items():
            if not of_gpus or cell.device.startswith("cuda"):
                sums[cell.phase] = sums.get(cell.phase, 0) + flops
    return {phase: str(sums[phase]) for phase in sorted(sums)}


def _by_process(journals: list[Journal], counted: Counted) -> list[dict[str, Any]]:
    """Each process's own operations by phase, and what its counters counted meanwhile.

    A share of these operations is a share of that work alone: neither of what came before, nor of another process's.
    """
    rows = []
    for journal in journals:
        # What a GPU counted is shared out by what ran on GPUs.
        on_gpus = _by_phase([journal], of_gpus=True)
        if phases := on_gpus or _by_phase([journal]):
            row: dict[str, Any] = {**asdict(journal.identity), "by_phase": phases}
            if not on_gpus:
                row["on_cpu"] = True
            if journal.identity in counted:
                row["meanwhile"] = _meanwhile(journal, *counted[journal.identity])
            rows.append(row)
    return rows


def _meanwhile(operators: Journal, meter: Journal, flops: int) -> dict[str, str]:
    """How many of the operations that a process's counters gave came after its operators began to be counted."""
    shares = meter.timeline.after(operators.header["time_us"], meter.header["time_us"], meter.last_us)
    least, likely, most = (share * flops for share in shares)
    return {"low": str(floor(least)), "flops": str(round(likely)), "high": str(ceil(most))}


def _operators(journals: list[Journal], counted: Counted) -> dict[str, Any]:
    """What operators' formulas give. There is an upper end where all of the run's operators were seen and have one."""
    flops = str(sum(journal.flops for journal in journals))
    unbounded = sorted({work.name for journal in journals for work in journal.uncounted if work.family})
    partial = any(is_partial(journal) for journal in journals)
    cut = any(journal.end is None or journal.torn for journal in journals)
    row = {"method": "analytic", "device": None, "low": flops, "flops": flops}
    return {
        **row,
        "high": None if partial or cut or unbounded else flops,
        "by_phase": _by_phase(journals),
        "by_process": _by_process(journals, counted),
        "partial": partial,
        **({"cut": True} if cut else {}),
        **({"unbounded": unbounded} if unbounded else {}),
    }


def common_inputs(inputs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The policies' inputs where all parts agree on them; different bases make no common one.

    By which option or variable they were given makes no difference.
    """
    given = [one for one in inputs if one]
    if any(_without_source(one) != _without_source(given[0]) for one in given):
        raise UntrustedInput(
            "the parts name different base models, base compute or claims (--deduct, --public-generation); merge runs "
            "of one base model and with one set of claims only"
        )
    return given[0] if given else {}


def merged_inputs(records: Iterable[Record]) -> dict[str, Any]:
    """Those of several records: of one base model, and the generation that each start of a training declared, added.

    The parts of one start (ranks, nodes) run at once and declare the same generation, which counts once.
    """
    given = [record for record in records if record.policy_inputs]
    declared: dict[Any, list[tuple[Sequence[Span], Fraction]]] = {}
    for record in given:
        generated = Fraction(record.policy_inputs.get("claims", {}).get("generated_flops", 0))
        declared.setdefault(record.starts, []).append((run_times(record), generated))
    all_of_it = sum((max(one) for parts in declared.values() for one in groups_at_once(parts, SLACK_US)), Fraction(0))
    merged = common_inputs(_generating(record.policy_inputs, "0") for record in given)
    return _generating(merged, to_json(all_of_it))


def _generating(inputs: dict[str, Any], flops: str) -> dict[str, Any]:
    return {**inputs, "claims": {**inputs["claims"], "generated_flops": flops}} if "claims" in inputs else inputs


def run_inputs(runs: Iterable[Journal]) -> tuple[dict[str, Any], str]:
    """The policies' inputs of one run's parts. Where these were given different ones there are none, and a note."""
    try:
        return common_inputs(journal.header.get("policy_inputs", {}) for journal in runs), ""
    except UntrustedInput:
        return {}, "the run's parts were given different base models or base compute; the verdicts are by one of them"


def _without_source(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "pretrain_source"}


def run_device_totals(runs: list[Journal]) -> list[DeviceTotal]:
    """What NVML gave of whole devices, by all the runs' journals: one total for each method and device."""
    windows = [window for journal in runs for window in journal.device_windows]
    if not windows:
        return []
    from ftprof.record.device_window import device_totals

    return device_totals(windows)


def cross_checks(
    runs: list[Journal], others: list[Journal], counted: Counted = MappingProxyType({})
) -> Iterable[dict[str, Any]]:
    """What other methods give for the same run, for the record. ``others`` are the journals of operators' formulas.

    ``counted`` has, of each process, the journal of its counters with a timeline of its own, and their operations.
    """
    if any(journal.flops for journal in others):
        yield _operators(others, counted)
    for total in run_device_totals(runs):
        yield {"method": total.method, "device": total.device.to_json(), **total.estimate.to_json()}
