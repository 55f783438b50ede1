"""A journal's lines of counters and of devices: what each adds to the journal that is being read."""

from __future__ import annotations

from typing import Any

from ftprof.record.counted_context import AbnormalGap, CountedContext, context_of
from ftprof.record.device_window import DeviceWindow
from ftprof.record.fields import parse_hash, parse_list, parse_optional_whole, parse_text, parse_whole
from ftprof.record.journal import Journal


def _enter_context(journal: Journal, line: dict[str, Any]) -> None:
    context = CountedContext.from_json(line)
    known = [other for other in journal.contexts[journal.earlier_contexts :] if other.number == context.number]
    if known:
        known[0].plan(context)
    else:
        journal.contexts.append(context)
    journal.devices = [dict(other.device) for other in journal.contexts]
    journal.last_us = max(journal.last_us, context.begin_us)


def _enter_context_end(journal: Journal, line: dict[str, Any]) -> None:
    context = context_of(journal.contexts[journal.earlier_contexts :], line["context"])
    if context.gone_us is not None:
        raise ValueError("a context is destroyed twice")
    context.gone_us = parse_whole(line["time_us"])
    journal.last_us = max(journal.last_us, context.gone_us)


def _enter_counts(journal: Journal, line: dict[str, Any]) -> None:
    context = context_of(journal.contexts[journal.earlier_contexts :], line["context"])
    flops = context.add_window(line)
    journal.timeline.add(line["begin_us"], line["end_us"], flops)
    journal.windows += 1
    journal.last_us = max(journal.last_us, line["end_us"])


def _enter_rollup(journal: Journal, line: dict[str, Any]) -> None:
    """What it replaces is gone: its head and number of lines stay in the chain."""
    parse_hash(line["replaces_head"])
    parse_whole(line["replaced_lines"])
    parse_whole(line["first_us"])
    before = sum(context.windows for context in journal.contexts)
    for row in parse_list(line["strata"]):
        context = context_of(journal.contexts[journal.earlier_contexts :], row["context"])
        stratum = context.add_stratum(row)
        flops = sum(context.groups[group].operations(sums.sums) for group, sums in stratum.groups.items())
        journal.timeline.add(stratum.begin_us, stratum.end_us, flops)
    journal.windows += sum(context.windows for context in journal.contexts) - before
    journal.last_us = max(journal.last_us, parse_whole(line["last_us"]))


def _enter_gap(journal: Journal, line: dict[str, Any]) -> None:
    gap = AbnormalGap.from_json(line)
    context_of(journal.contexts[journal.earlier_contexts :], line["context"]).gaps.append(gap)
    journal.last_us = max(journal.last_us, gap.end_us)


def _enter_unseen(journal: Journal, line: dict[str, Any]) -> None:
    parse_optional_whole(line["context"])
    where = f"{line['device']}: " if parse_text(line["device"]) else ""
    journal.unseen.append(where + parse_text(line["what"]))


def _enter_device_window(journal: Journal, line: dict[str, Any]) -> None:
    journal.device_windows.append(DeviceWindow.from_json(line))


ENTER = {
    "context": _enter_context,
    "context-end": _enter_context_end,
    "counts": _enter_counts,
    "rollup": _enter_rollup,
    "gap": _enter_gap,
    "uncounted": _enter_unseen,
    "device-window": _enter_device_window,
}
