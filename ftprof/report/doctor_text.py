"""The answer of ``ftprof doctor`` as text: one screen, the verdict first."""

from __future__ import annotations

import textwrap
from fractions import Fraction
from typing import Any

from ftprof.quantity import two_figures

_WIDTH = 79
_LABEL = 9
_YES = {True: "yes", False: "no", None: "maybe"}


def doctor_lines(answer: dict[str, Any]) -> list[str]:
    """The lines, from an answer of schema ftprof.doctor/1."""
    verdict = answer["verdict"]
    takes = "would take" if verdict["available"] else "would try"
    lines = _entry("verdict", f"auto {takes} {verdict['method']}: {verdict['why']}")
    lines += ["", *_methods(answer["methods"]), ""]
    lines += _entry("driver", _driver(answer["driver"]))
    lines += _gpus(answer["gpus"])
    lines += _entry("CUPTI", _cupti(answer["cupti"]))
    if answer["driver"]["version"] is not None:
        lines += _entry("privilege", _privilege(answer["privilege"]))
    lines += _entry("around", _around(answer))
    if answer["problems"]:
        lines += ["", "in the way, or to know:"]
    for problem in answer["problems"]:
        remedy = f" -> {problem['remedy']}" if problem["remedy"] else ""
        lines += _wrapped("  ", f"{problem['id']}: {problem['what']}{remedy}", "    ")
    return lines


def _methods(states: list[dict[str, Any]]) -> list[str]:
    """One line a method; those that fail for one reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for state in states:
        groups.setdefault((_YES[state["available"]], _why(state)), []).append(state["method"])
    width = max(len(", ".join(methods)) for methods in groups.values()) + 2
    lines = []
    for (word, why), methods in groups.items():
        first = f"  {', '.join(methods):{width}}{word:7}"
        lines += _wrapped(first, why, " " * len(first))
    return lines


def _why(state: dict[str, Any]) -> str:
    """A problem is told once, in the list at the end; here is its name."""
    if state["problem"] is None:
        return str(state["why"])
    return f"see '{state['problem']}' below"


def _driver(driver: dict[str, Any]) -> str:
    if driver["version"] is None:
        return f"none ({driver['error']})"
    confidential = ", confidential computing" if driver["confidential_computing"] else ""
    failed = f"; {driver['error']}" if driver["error"] else ""
    return f"{driver['version']}, CUDA {driver['cuda']}{confidential}{failed}"


def _gpus(gpus: list[dict[str, Any]]) -> list[str]:
    """Equal ones on one line."""
    groups: dict[str, list[int]] = {}
    for gpu in gpus:
        groups.setdefault(_gpu(gpu), []).append(gpu["index"])
    lines = []
    for text, indices in groups.items():
        consecutive = len(indices) > 1 and indices[-1] - indices[0] == len(indices) - 1
        numbers = f"{indices[0]}-{indices[-1]}" if consecutive else ",".join(map(str, indices))
        lines += _entry(f"GPU {numbers}", text)
    return lines


def _gpu(gpu: dict[str, Any]) -> str:
    parts = [gpu["name"], f"capability {gpu['capability'] or 'unknown'}"]
    if gpu["multiprocessors"] and gpu["max_sm_clock_khz"]:
        parts.append(f"{gpu['multiprocessors']} SMs at up to {gpu['max_sm_clock_khz'] // 1000} MHz")
    if gpu["peak_flops_per_second"]:
        parts.append(f"at most {two_figures(Fraction(gpu['peak_flops_per_second']))} FLOP/s (sparse)")
    if gpu["mig"]:
        number = len(gpu["instances"])
        parts.append(f"divided by MIG ({number} instance{'s' if number != 1 else ''})")
    if gpu["virtualisation"] not in (None, "none"):
        parts.append(gpu["virtualisation"])
    parts.append("chip not told" if gpu["chip"] is None else f"chip {gpu['chip']}")
    return ", ".join(parts) + (f": {_plan(gpu['plan'])}" if gpu["plan"] else "")


def _plan(plan: dict[str, Any]) -> str:
    if plan["error"]:
        return f"no plan ({plan['error']})"
    always = ", ".join(plan["precisions"]) or "SM cycles only (no tensor cores)"
    turns = plan["rotating"]
    parts = [f"counts {always} always"]
    parts += [f"{turns} more group{'s' if turns > 1 else ''} in turn"] if turns else []
    parts += ["CUDA cores in rare windows"] if plan["cuda_core"] else []
    return ", ".join(parts)


def _cupti(cupti: dict[str, Any]) -> str:
    if cupti["version"] is None:
        return f"none that can be used: {cupti['error']}"
    return f"{cupti['version']}, {cupti['origin']}, plans for {cupti['chips_known']} chips, {cupti['path']}"


def _privilege(privilege: dict[str, Any]) -> str:
    said = {True: "1, administrators only", False: "0, everybody may read them", None: "not readable"}
    word = {True: "yes", False: "no", None: "not readable"}
    inside = " (user namespace)" if privilege["user_namespace"] else ""
    return (
        f"RmProfilingAdminOnly {said[privilege['admin_only']]}; CAP_SYS_ADMIN {word[privilege['cap_sys_admin']]}"
        + (f", CAP_PERFMON {word[privilege['cap_perfmon']]}" if privilege["cap_perfmon"] is not False else "")
        + inside
    )


def _around(answer: dict[str, Any]) -> str:
    container, dcgm, mps = answer["container"], answer["dcgm"], answer["mps"]
    parts = [
        f"container ({container}), from inside:" if container else "no container,",
        f"DCGM ({' '.join(dcgm)})," if dcgm else "no DCGM,",
        f"MPS ({' '.join(mps)})," if mps else "no MPS,",
        f"CUDA_INJECTION64_PATH={answer['injection']}" if answer["injection"] else "no other tool injected",
    ]
    return " ".join(parts)


def _entry(label: str, text: str) -> list[str]:
    return _wrapped(f"{label:{_LABEL}} ", text, " " * (_LABEL + 1))


def _wrapped(first: str, text: str, rest: str) -> list[str]:
    """Wrapped at spaces; a path that is longer than the line stays whole."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
