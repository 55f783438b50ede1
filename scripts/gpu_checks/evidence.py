"""The evidence files: one JSON, one Markdown, both from the state alone."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpu_checks import place
from gpu_checks.state import DONE, EVIDENCE_SCHEMA, State


def conditions(state: State) -> dict[str, Any]:
    """The machine on which it was measured; the keys of the other evidence files come first."""
    machine = state.data["machine"]
    golden = state.results.get("window/golden", {}).get("facts", {})
    cupti = golden.get("cupti", {})
    return {
        "date": machine.get("date"),
        "processor": f"{machine.get('processor') or 'a processor'}, {machine.get('cores')} cores",
        "system": f"Linux {machine.get('kernel')}",
        "python": machine.get("python"),
        "torch": (machine.get("packages") or {}).get("torch"),
        "gpu": golden.get("device") or ", ".join(machine.get("gpus") or []) or None,
        "chip": golden.get("chip"),
        "driver": machine.get("driver"),
        "kernel": machine.get("kernel"),
        "cupti": cupti.get("version"),
        "cupti_path": cupti.get("path"),
        "ftprof": machine.get("ftprof"),
        "rehearsal": bool(machine.get("rehearsal")),
    }


def evidence(state: State) -> dict[str, Any]:
    """All of it. ``figures`` by name, as the README's tables read them."""
    figures = {}
    for name, figure in _figures(state):
        figures[figure["name"]] = {k: v for k, v in figure.items() if k != "name"} | {"experiment": name}
    return {
        "schema": EVIDENCE_SCHEMA,
        "conditions": conditions(state),
        "figures": figures,
        "experiments": {name: _without_figures(result) for name, result in state.results.items()},
        "machine": state.data["machine"],
    }


def _without_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("figures", "log")}


def _figures(state: State) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, result in state.results.items():
        for figure in result.get("figures", []):
            yield name, figure


def write(state: State, output: Path) -> list[Path]:
    """The two files, named for the device."""
    name = stem(state)
    content, text = output / f"{name}.json", output / f"{name}.md"
    content.write_text(anonymous(json.dumps(evidence(state), indent=1)) + "\n")
    text.write_text(anonymous(markdown(state)))
    return [content, text]


def anonymous(text: str) -> str:
    """Without what is only this machine's: the paths of its folders, its name."""
    folders = {str(place.REPOSITORY): "REPOSITORY", str(place.work().resolve()): "WORK", sys.prefix: "PYTHON"}
    for path in sorted(folders, key=len, reverse=True):
        if len(path) > len("/usr"):
            text = text.replace(path, folders[path])
    return re.sub(rf"\bon {re.escape(platform.node())}\b", "on HOST", text)


def stem(state: State) -> str:
    """Such as ``gpu-nvidia-h200``."""
    return f"gpu-{device_in_name(conditions(state)['gpu'])}"


def device_in_name(device: str | None) -> str:
    """Such as ``nvidia-h200``; of several devices the first."""
    return re.sub(r"[^a-z0-9]+", "-", (device or "unknown").partition(",")[0].lower()).strip("-")


def number(value: float) -> str:
    """Integers whole, the rest with four figures."""
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}"


def table(state: State, only: Collection[str] | None = None) -> str:
    """Every figure that was measured, with its spread and what was wanted; or those of some experiments."""
    rows = ["| experiment | figure | median | least | most | n | wanted | holds |", "|---|---|---|---|---|---|---|---|"]
    for name, figure in _figures(state):
        if only is not None and name not in only:
            continue
        unit = f" {figure['unit']}" if figure["unit"] and figure["unit"] != "holds" else ""
        holds = {True: "yes", False: "**NO**", None: ""}[figure["ok"]]
        if figure["unit"] == "holds":
            cells = ["yes" if figure["median"] else "no", "", "", "", ""]
        else:
            spread = [number(figure[key]) for key in ("median", "min", "max")]
            cells = [spread[0] + unit, *spread[1:], str(figure["rounds"]), figure["wanted"] or ""]
        rows.append(f"| {name} | {figure['name']} | {' | '.join(cells)} | {holds} |")
    return "\n".join(rows)


def endings(state: State) -> str:
    """How each experiment ended."""
    rows = ["| experiment | ended | seconds | date |", "|---|---|---|---|"]
    for name, result in state.results.items():
        rows.append(f"| {name} | {result['state']} | {result.get('seconds', '')} | {result.get('date', '')} |")
    return "\n".join(rows)


def markdown(state: State) -> str:
    """For people."""
    about = conditions(state)
    lines = [f"# ftprof on {about['gpu'] or 'an unknown GPU'}", ""]
    if about["rehearsal"]:
        lines += ["**A rehearsal without a GPU, on stand-ins: nothing here says anything about hardware.**", ""]
    lines += ["Written by `scripts/gpu_check`; the JSON beside it holds the same and the raw facts.", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if value not in (None, False)]
    lines += ["", "## Figures", "", table(state), "", "## Experiments", "", endings(state), ""]
    for name, result in state.results.items():
        lines += _about(name, result)
    return "\n".join(lines).rstrip() + "\n"


def _about(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    said = [*result.get("notes", [])]
    said += [f"{f['name']}: {f['because']}" for f in result.get("figures", []) if f["ok"] is False and f.get("because")]
    if refused := result.get("facts", {}).get("refused"):
        said.append(refused)
    if result["state"] != DONE:
        said.append(f"it {result['state']}: {end_of(result.get('log', ''))}")
    if said:
        yield f"### {name}"
        yield ""
        yield from (f"- {' '.join(str(sentence).split())}" for sentence in said)
        yield ""


def end_of(log: str) -> str:
    """The last that was said, on one line."""
    lines = [line for line in log.strip().splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:]


def today() -> str:
    """The date in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())
