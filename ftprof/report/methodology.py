"""How a run's compute was found, in sentences made of what its record says: for documentation that must explain it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ftprof.quantity import two_figures
from ftprof.record.comparison import comparisons
from ftprof.record.estimate_rows import FLOATING
from ftprof.record.phase_amounts import SHARE_ERROR
from ftprof.record.record import COUNTER_METHODS, Record
from ftprof.report.amounts import count_text, first_of, flop_text, percent_text, two_digits
from ftprof.report.counters_text import coverage_line
from ftprof.report.judged_run import JudgedRun
from ftprof.report.run_text import uncounted_text

_MOST_NAMES = 8
_MOST_REASONS = 3
EQUAL = (
    "A multiply-add counts as two operations, and every precision counts equally (Guidelines C(2025) 5045, Annex A.2, "
    "paragraph 125; in C(2025) 7719: 122)."
)
MARGIN = (
    "The Guidelines ask for an overall error of at most 30 % of the reported estimate (Annex A.2, paragraph 123; in "
    "C(2025) 7719: 120)."
)

OF_FORMULAS = (
    "That error is of the counting. How far a formula is from what a chip executes is not in it, and was not measured "
    "in this run: a chip also multiplies what pads its tiles, and leaves out what a causal mask hides."
)


def methodology(run: JudgedRun) -> tuple[str, ...]:
    """The sentences, each a paragraph at most: method, error, comparison, deductions, what was not counted."""
    return (
        *_method(run.record),
        *_error(run),
        *_beside(run.record),
        *_deductions(run),
        *_uncounted(run.record),
        *_incomplete(run.record),
    )


def error_text(run: JudgedRun) -> str:
    """The interval around the executed figure as a relative error, in words."""
    amount = run.executed
    if amount.value is None:
        return "nothing was counted"
    if run.record.method == "peak-bound":
        return "an upper bound; what was executed may be anything below it"
    if amount.high is None:
        return "no upper end: work went uncounted that nothing bounds"
    if amount.low == amount.high:
        return "exact for what was counted"
    if not amount.value:
        return f"at most {flop_text(amount.high)}"
    less, more = (amount.value - amount.low) / amount.value, (amount.high - amount.value) / amount.value
    return f"\N{MINUS SIGN}{percent_text(less, 1)} to +{percent_text(more, 1)}"


def _method(record: Record) -> Iterator[str]:
    processes = count_text(len({process.identity for process in record.processes}), "process", "es")
    if record.method in COUNTER_METHODS and record.interval.value is not None:
        yield from _counters(record, processes)
    elif record.method == "analytic" and record.interval.value is not None:
        calls = sum(calls for calls, _ in record.counts.values())
        versions = first_of(_software(record, "torch"), _MOST_NAMES) or "not known"
        yield (
            f"The compute is an estimate: each call of an operator with a known formula was seen while {processes} ran "
            f"({count_text(calls, 'call')}; PyTorch {versions}), and its operations were computed from the shapes of "
            f"its inputs. Operators: {first_of(record.by_operator, _MOST_NAMES)}. {EQUAL}"
        )
    elif record.method == "gpm" and record.interval.value is not None:
        yield (
            "The compute is an estimate: NVML sampled the activity of the GPUs' tensor and CUDA-core pipes once a "
            "second, and the sum of activity, SM clock and the dense peak rate of each chip over time is the figure."
        )
    elif record.method == "peak-bound" and record.interval.value is not None:
        yield (
            "The compute is an upper bound, no estimate: the time for which the run used each GPU, at the highest SM "
            "clock and the fastest rate of its chip (sparse tensor products and CUDA cores together)."
        )
    else:
        yield "Nothing could be counted, so there is no figure."


def _counters(record: Record, processes: str) -> Iterator[str]:
    rows = [row for row in record.estimates if row.kind in FLOATING]
    windows = sum(process.windows for process in record.processes if process.method in COUNTER_METHODS)
    contexts = len({(row.process, row.uuid) for row in rows})
    cupti = first_of(_software(record, "cupti"), 3) or "version not known"
    driver = first_of(_software(record, "driver"), 3) or "not known"
    yield (
        f"The compute is what the GPUs executed, counted by their hardware counters (NVIDIA CUPTI {cupti}, CUDA driver "
        f"{driver}) while the unchanged program ran, without replaying its kernels: "
        f"{count_text(windows, 'window')} on {count_text(contexts, 'CUDA context')} of {processes}. "
        f"Counters: {first_of(_counting_metrics(record), _MOST_NAMES) or 'none that counted'}. {EQUAL}"
    )
    parts = [row for row in record.precisions if row.kind in FLOATING]
    total = sum(row.flops for row in parts)
    rotation, gaps = sum(row.rotation for row in parts), sum(row.gaps for row in parts)
    yield (
        f"Coverage: {coverage_line(record)}. Of the figure, {percent_text(rotation, total)} is extrapolated to windows "
        f"that counted other units and {percent_text(gaps, total)} to the gaps between windows; the rest is measured."
    )


def _counting_metrics(record: Record) -> list[str]:
    return [name for name, flops in record.by_operator.items() if flops]


def _software(record: Record, key: str) -> list[str]:
    found = (process.software.get(key) for process in record.processes)
    return sorted({str(version) for version in found if version})


def _error(run: JudgedRun) -> Iterator[str]:
    amount = run.executed
    if amount.value is None or run.record.method == "peak-bound":
        return
    if amount.high is None:
        yield f"The compute is at least {flop_text(amount.low)}; {error_text(run)}."
    elif amount.low != amount.high:
        yield (
            f"The compute lies between {flop_text(amount.low)} and {flop_text(amount.high)}, or {error_text(run)} of "
            f"the figure. {MARGIN}"
        )
    else:
        yield f"The figure is {error_text(run)}. {MARGIN}"
    if run.record.method == "analytic":
        yield OF_FORMULAS


def _beside(record: Record) -> Iterator[str]:
    for row in comparisons(record.interval, record.cross_checks):
        if row["method"] == record.method:
            continue  # the figure itself, by device
        if row["ratio"] is not None:
            ratio = two_digits(Fraction(row["ratio"]))
            says = f" {row['says']}." if row["says"] else ""
            bound = "bounds it by" if row["method"] == "peak-bound" else "gives"
            yield f"Beside it, the method {row['method']} {bound} {ratio} times the figure.{says}"
        elif row["says"]:
            yield f"Beside it, the method {row['method']}: {row['says']}."


def _deductions(run: JudgedRun) -> Iterator[str]:
    claimed = [part for part in run.basis.parts if part.claimed]
    for part in claimed:
        verb = "deducted" if part.sign < 0 else "added"
        how = {
            "measured": "measured in its phase",
            "estimated": f"estimated by its share of the operators counted beside, with an error of {_SHARE_ERROR}",
            "declared": "declared, not measured",
        }[part.basis]
        yield f"{flop_text(part.flops)} are {verb} for {part.what} ({part.source}), {how}."
    if run.record.interval.value is not None and not claimed:
        yield "Nothing is deducted or added: the guidelines-basis figure is the executed one."


_SHARE_ERROR = f"{two_figures(SHARE_ERROR * 100)} %"


def _uncounted(record: Record) -> Iterator[str]:
    yield f"Not counted: {uncounted_text(record)}."


def _incomplete(record: Record) -> Iterator[str]:
    if not record.complete:
        more = len(record.reasons) - _MOST_REASONS
        listed = "; ".join(reason.rstrip(".") for reason in record.reasons[:_MOST_REASONS]) or "no reason is recorded"
        yield f"The record is incomplete: {listed}" + (
            f"; and {more:,} more reasons in the record." if more > 0 else "."
        )
