"""The answer of ``ftprof selftest`` as text: the verdict first, then a row a case."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

_WIDTH = 79
_MARKS = {"pass": "pass", "fail": "FAIL", "not counted": "not counted", "skipped": "skipped"}
_MEANINGS = {
    "pass": "every count is what was executed",
    "fail": "a count is not what was executed: these counters cannot be trusted",
    "not counted": "no proof: not everything could be counted",
}


def selftest_lines(answer: dict[str, Any]) -> list[str]:
    """The lines, from an answer of schema ftprof.selftest/1."""
    rows = answer["rows"]
    numbers = Counter(row["verdict"] for row in rows)
    told = ", ".join(f"{number} {verdict}" for verdict, number in numbers.items())
    lines = _wrapped("verdict  ", f"{_MARKS[answer['verdict']]}: {_MEANINGS[answer['verdict']]}", 9)
    if told:
        lines += _wrapped("rows     ", f"{told}, in {answer['time_ms'] / 1000:.1f} s", 9)
    if answer["why"]:
        remedy = f"; {answer['remedy']}" if answer["remedy"] else ""
        lines += _wrapped("why      ", f"{answer['why']}{remedy}; 'ftprof doctor' says what is in the way", 9)
    lines += _about(answer)
    if rows:
        lines.append("")
    for same in _alike(rows):
        lines += _row(same[0], len(same) - 1)
    return lines


def _alike(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows; those that stand together and were not counted for one reason as one."""
    groups: list[list[dict[str, Any]]] = []
    for row in rows:
        last = groups[-1][0] if groups else None
        if last and row["counted"] is None and (last["verdict"], last["why"]) == (row["verdict"], row["why"]):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _about(answer: dict[str, Any]) -> list[str]:
    device, software, code = answer["device"], answer["software"], answer["machine_code"]
    if device is None:
        return []
    others = f"; {device['visible']} are visible, CUDA_VISIBLE_DEVICES chooses" if device["visible"] > 1 else ""
    gpu = f"{device['name']}, capability {device['capability']}, chip {device['chip']}, {device['uuid']}{others}"
    about = f"ftprof {software['ftprof']}, CUPTI {software['cupti']}, CUDA {software['driver']}"
    proof = "machine code not proved: none ships for this chip"
    if code is not None:
        proof = f"machine code proved for {code['architecture']}, sha256 {code['sha256'][:16]}..."
    return [*_wrapped("GPU      ", gpu, 9), *_wrapped("with     ", about, 9), *_wrapped("kernels  ", proof, 9)]


def _row(row: dict[str, Any], more: int) -> list[str]:
    name = f"{row['name']} ({row['precision']})" if row["precision"] else row["name"]
    also = f", and {more} more" if more else ""
    unproved = ", machine code not proved" if row["counted"] is not None and not row["proved"] else ""
    lines = _wrapped(f"{_MARKS[row['verdict']]:12}", f"{name}{also}{unproved}", 12)
    if row["counted"] is not None:
        lines += _wrapped(" " * 12, f"counted {_shown(row['counted'])}, expected {_expected(row)}", 12)
    if row["why"]:
        lines += _wrapped(" " * 12, row["why"], 12)
    return lines


def _expected(row: dict[str, Any]) -> str:
    low, high = _shown(row["low"]), _shown(row["high"])
    return f"{low} {row['unit']}" if low == high else f"{low} to {high} {row['unit']}"


def _shown(number: str) -> str:
    return f"{int(number):,}"


def _wrapped(first: str, text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
