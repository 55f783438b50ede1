"""The executed operations by precision, by phase, by operator or counter, and by device."""

from __future__ import annotations

from collections.abc import Iterator

from ftprof.quantity import two_figures
from ftprof.record.phase_amounts import SHARE_ERROR, phase_amounts
from ftprof.record.record import Record
from ftprof.report.amounts import clock_text, energy_text, flop_text, percent_text
from ftprof.report.device_rows import DeviceRow, device_rows
from ftprof.report.html.elements import NOTHING, Html, bar, exact, lines, paragraph, section, table, tag, words
from ftprof.report.run_text import devices_text

_MOST_ROWS = 12


def breakdown_section(record: Record) -> Html:
    """The tables that the method can give."""
    return section(
        "parts",
        "Where the operations are",
        _shares("By precision", "Precision", record.by_precision),
        _phases(record),
        _shares(*_work(record), record.by_operator),
        paragraph(f"Devices: {devices_text(record)}."),
        _devices(record),
    )


def _work(record: Record) -> tuple[str, str]:
    return ("By hardware counter", "Counter") if record.precisions else ("By operator", "Operator")


def _shares(caption: str, head: str, sums: dict[str, int]) -> Html:
    """The largest rows, and the others as one."""
    total, rows = sum(sums.values()), list(sums.items())
    kept = rows[:_MOST_ROWS] if len(rows) > _MOST_ROWS + 1 else rows
    if len(kept) < len(rows):
        kept.append((f"{len(rows) - len(kept):,} others", sum(flops for _, flops in rows[len(kept) :])))
    return table(caption, (head, "FLOP", "Share"), (_share(name, flops, total) for name, flops in kept))


def _share(name: str, flops: int, total: int) -> tuple[Html, Html, Html]:
    return words(name), exact(flops), lines((words(percent_text(flops, total)), bar(flops, total)))


def _phases(record: Record) -> Html:
    """Counted where operators are counted; else a share of the operators beside, where these were counted."""
    if record.method == "analytic":
        return _shares("By phase", "Phase", record.by_phase)
    amounts, total = phase_amounts(record), record.interval.value
    if not total:
        return NOTHING
    if not amounts:
        return paragraph(
            "By phase: this method does not tell phases apart, and no phase was marked with ftprof.phase()."
        )
    rest = max(total - sum(amount.flops for amount in amounts), 0)
    sums = {"train, the rest": rest, **{amount.phase: amount.flops for amount in amounts}}
    caption = (
        "By phase, estimated: each phase gets the share that it has among the operators counted beside, with an error "
        f"of {two_figures(SHARE_ERROR * 100)} %"
    )
    return _shares(caption, "Phase", sums)


def _devices(record: Record) -> Html:
    rows = device_rows(record)
    kept = rows[:_MOST_ROWS] if len(rows) > _MOST_ROWS + 1 else rows
    cells = [_device(row) for row in kept]
    if len(kept) < len(rows):
        others = rows[len(kept) :]
        cells.append(
            (words(f"{len(others):,} others"), words(flop_text(sum(row.flops or 0 for row in others))), _use(others))
        )
    return table("By device", ("Device", "FLOP", "Time and energy"), cells, stack=True)


def _device(row: DeviceRow) -> tuple[Html, Html, Html]:
    flops = words("not told apart") if row.flops is None else exact(row.flops)
    name = lines((words(row.name or row.label), tag("small", words(row.label)) if row.name else NOTHING))
    return name, flops, _use((row,))


def _use(rows: tuple[DeviceRow, ...]) -> Html:
    return lines(words(text) for text in _use_texts(rows))


def _use_texts(rows: tuple[DeviceRow, ...]) -> Iterator[str]:
    times = [row.time_us for row in rows if row.time_us is not None]
    energies = [row.energy_mj for row in rows if row.energy_mj is not None]
    yield clock_text(sum(times)) if times else "time not measured"
    if len(energies) == len(rows):
        yield energy_text(sum(energies))
    else:
        yield "energy not measured" if not energies else f"{energy_text(sum(energies))}, of {len(energies):,} of them"
