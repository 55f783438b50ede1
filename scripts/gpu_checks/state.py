"""What is kept from one call of gpu_check to the next: one file, whole after every experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = "ftprof.gpu-check/1"
EVIDENCE_SCHEMA = "ftprof.gpu-evidence/1"
DONE = "done"


class State:
    """Results by ``STAGE/EXPERIMENT``; those that are done are not run again."""

    def __init__(self, path: Path) -> None:
        """Read it, where it is there. Raises ``ValueError`` where it is no state of gpu_check."""
        self.path = path
        self.data: dict[str, Any] = {"schema": SCHEMA, "machine": {}, "results": {}}
        if path.exists():
            found = json.loads(path.read_text())
            if found.get("schema") != SCHEMA:
                raise ValueError(f"{path} is no state of gpu_check; name another with --state")
            self.data = found

    def take_over(self, evidence: Path) -> None:
        """What earlier evidence has and this state has not. Raises ``ValueError`` where it is no evidence."""
        found = json.loads(evidence.read_text())
        if found.get("schema") != EVIDENCE_SCHEMA:
            raise ValueError(f"{evidence} is no evidence of gpu_check")
        results = {name: {**result, "figures": []} for name, result in found["experiments"].items()}
        for name, figure in found["figures"].items():
            rest = {key: value for key, value in figure.items() if key != "experiment"}
            results[figure["experiment"]]["figures"].append({"name": name, **rest})
        for name, result in results.items():
            result.setdefault("date", found["conditions"]["date"])
            if name not in self.results:
                self.data["results"][name] = result
        self.data["machine"] = {**found["machine"], **self.data["machine"]}
        self.write()

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """By experiment, in the order in which they were first run."""
        return dict(self.data["results"])

    def is_done(self, name: str) -> bool:
        """Whether an experiment has run to its end."""
        return self.results.get(name, {}).get("state") == DONE

    def keep(self, name: str, result: Mapping[str, Any]) -> None:
        """An experiment's result; one that was done before is not replaced by one that failed."""
        if self.is_done(name) and result.get("state") != DONE:
            return
        self.data["results"][name] = dict(result)
        self.write()

    def forget(self, names: list[str]) -> None:
        """So that they are run again."""
        for name in names:
            self.data["results"].pop(name, None)
        self.write()

    def know(self, machine: Mapping[str, Any]) -> None:
        """The machine; what an earlier call knew of it and this one does not stays."""
        self.data["machine"] = {**self.data["machine"], **{k: v for k, v in machine.items() if v is not None}}
        self.write()

    def write(self) -> None:
        """Either the old file or the new one is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(self.data, indent=1) + "\n")
        beside.replace(self.path)
