"""Where the figures come from: commands, hosts, times, software, processes with their journals, and the digest."""

from __future__ import annotations

from ftprof.record.record import ProcessRecord, Record, RunInfo
from ftprof.report.amounts import clock_text, count_text, first_of, moment_text
from ftprof.report.html.elements import NOTHING, Html, definitions, exact, lines, paragraph, section, table, tag, words
from ftprof.report.judged_run import JudgedRun
from ftprof.report.plain import command_text
from ftprof.report.run_use import run_use

_MOST_RUNS = 4
_MOST_PROCESSES = 16
_MOST_HOSTS = 12
_SOFTWARE = {
    "torch": "PyTorch",
    "cuda": "CUDA of PyTorch",
    "cupti": "CUPTI",
    "cupti_path": "CUPTI library",
    "driver": "CUDA driver",
    "python": "Python",
    "system": "System",
}


def provenance_section(run: JudgedRun) -> Html:
    """All of it; big runs are summarised."""
    record = run.record
    return section(
        "provenance",
        "Provenance",
        *(_run(info) for info in record.runs[:_MOST_RUNS]),
        _more_runs(record),
        definitions(_facts(run)),
        _processes(record),
    )


def _run(info: RunInfo) -> Html:
    code = "unknown" if info.exit_code is None else str(info.exit_code)
    ended = "not seen" if info.ended_us is None else moment_text(info.ended_us)
    took = "" if info.ended_us is None else f" ({clock_text(max(info.ended_us - info.began_us, 0))})"
    return definitions(
        [
            ("Command", tag("code", words(command_text(info.command)))),
            ("Host", words(info.host)),
            ("Time", words(f"{moment_text(info.began_us)} to {ended}{took}")),
            ("Exit code", words(code)),
            ("Run", lines((tag("code", words(info.run)), _hash(info.head)))),
        ]
    )


def _more_runs(record: Record) -> Html:
    more = len(record.runs) - _MOST_RUNS
    return paragraph(f"And {more:,} more, in the record.") if more > 0 else NOTHING


def _facts(run: JudgedRun) -> list[tuple[str, Html]]:
    record, use = run.record, run_use(run.record)
    hosts = ", ".join(f"{host} ({count:,})" for host, count in use.hosts[:_MOST_HOSTS])
    more = f" and {len(use.hosts) - _MOST_HOSTS:,} more" if len(use.hosts) > _MOST_HOSTS else ""
    wall = "the end is not known" if use.wall_us is None else clock_text(use.wall_us)
    facts = [
        ("Wall-clock time", words(wall)),
        ("Hosts (processes)", words(f"{count_text(len(use.hosts), 'host')}: {hosts}{more}" if hosts else "none")),
        ("ftprof", words(first_of(sorted({info.ftprof for info in record.runs}), 3) or "version not known")),
    ]
    for key, name in _SOFTWARE.items():
        versions = sorted({str(p.software[key]) for p in record.processes if p.software.get(key)})
        if versions:
            facts.append((name, words(first_of(versions, 3))))
    facts.append(
        ("Record", lines((words("SHA-256 of its content, which holds the head of every journal:"), _hash(run.digest))))
    )
    return facts


def _processes(record: Record) -> Html:
    """Those with the most operations; the others are in the record."""
    processes = sorted(record.processes, key=lambda process: (-process.flops, process.journal))
    kept = processes[:_MOST_PROCESSES]
    rows = [_process(process) for process in kept]
    if len(kept) < len(processes):
        others = processes[len(kept) :]
        rows.append(
            (
                words(f"{len(others):,} others"),
                exact(sum(p.flops for p in others)),
                words("their journals are in the record"),
            )
        )
    return table("Processes and the heads of their journals", ("Process", "FLOP", "Journal"), rows, stack=True)


def _process(process: ProcessRecord) -> tuple[Html, Html, Html]:
    rank = process.rank or {}
    place = f"rank {rank['rank']}" if "rank" in rank else ""
    ended = f"ended: {process.end or 'never'}"
    detail = ", ".join(part for part in (process.method, place, ended) if part)
    journal = lines(
        (words(f"{process.journal}, {count_text(process.journal_lines, 'line')}"), _hash(process.journal_head))
    )
    return lines((words(str(process.identity)), tag("small", words(detail)))), exact(process.flops), journal


def _hash(text: str) -> Html:
    return tag("code", words(text), class_="hash")
