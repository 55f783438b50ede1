"""gpu_check's command line: facts, a build, the tests, the stages, the evidence, a table."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_checks import build, child, evidence, machine, place, tests
from gpu_checks.experiment import Experiment
from gpu_checks.stages import STAGES
from gpu_checks.state import State

EXIT_FIGURES = 1  # something is not as wanted
EXIT_REFUSED = 3
EXIT_UNFINISHED = 4
EXIT_NO_BUILD = 5
TESTS = "tests"
_SPARE_S = 8.0  # for writing and printing
_CEILING_S = 480.0  # no stage takes longer


def run(argv: Sequence[str]) -> int:
    """The whole of it; the exit code says how it went."""
    options = _parse(argv)
    if options.list:
        print(_listing())
        return 0
    return Check(options).run()


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    names = [TESTS, *(stage.name for stage in STAGES)]
    parser = argparse.ArgumentParser(
        prog="gpu_check",
        description="Builds ftprof on this GPU machine with no network, checks it, measures it, and writes evidence.",
        epilog="Exit codes: 0 all as wanted; 1 not all; 3 counters are refused here; 4 not finished, run it again; "
        "5 ftprof could not be built.",
    )
    parser.add_argument("--list", action="store_true", help="the stages and how long they take, and nothing else")
    parser.add_argument(
        "--stage", action="append", metavar="NAME", help=f"only this one, repeatable: {', '.join(names)}"
    )
    parser.add_argument("--only", action="append", metavar="STAGE/NAME", help="only this experiment, repeatable")
    parser.add_argument("--budget-s", type=float, default=540, help="begin nothing that would not end in this time")
    parser.add_argument("--output", type=Path, default=place.EVIDENCE, help="for the evidence")
    parser.add_argument(
        "--state", type=Path, help="what earlier calls found (default: gpu-check.state.json in --output)"
    )
    parser.add_argument(
        "--onto", type=Path, metavar="FILE", help="evidence (.json) of an earlier machine of the same kind to add to"
    )
    parser.add_argument("--work", type=Path, default=place.REPOSITORY / "build" / "gpu_check", help="for the build")
    parser.add_argument(
        "--pack", type=Path, metavar="FILE", help="what was built, as .tar.gz for another such machine's --work"
    )
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--anyway", action="store_true", help="go on although counters seem to be refused")
    options = parser.parse_args(argv)
    known = {name for stage in STAGES for name in (stage.name, *(f"{stage.name}/{e.name}" for e in stage.experiments))}
    for name in (*(options.stage or ()), *(options.only or ())):
        if name not in known | {TESTS}:
            parser.error(f"no stage or experiment {name}; --list names them")
    if place.rehearsal() and options.output == place.EVIDENCE:
        parser.error("a rehearsal writes no evidence; name another folder with --output")
    return options


def _listing() -> str:
    rows = [f"{TESTS:<12} {tests.EXPECTED_S:>5.0f} s  tests/gpu: accuracy and safety, quickly"]
    for stage in STAGES:
        rows.append(f"{stage.name:<12} {stage.expected_s:>5.0f} s  {stage.about}")
        rows += [f"  {e.name:<22} {e.expected_s:>3.0f} s  {e.question}" for e in stage.experiments]
    total = tests.EXPECTED_S + sum(stage.expected_s for stage in STAGES)
    return "\n".join([*rows, f"{'in all':<12} {total:>5.0f} s"])


class Check:
    """One call of gpu_check."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.monotonic()
        self.output: Path = options.output.resolve()
        self.work: Path = options.work.resolve()
        self.output.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.state = State((options.state or self.output / "gpu-check.state.json").resolve())
        if options.onto:
            self.state.take_over(options.onto)
        self.built = build.Build(self.work)
        self.refused: str | None = None
        self.unfinished: list[str] = []
        self.ran: list[str] = []

    def run(self) -> int:
        """Everything, as far as the time goes."""
        if self._refused_at_once():
            return EXIT_REFUSED
        if not self._build():
            return EXIT_NO_BUILD
        if self.options.pack:
            self.built.pack(self.options.pack)
        about = {"ftprof": self._version(), "doctor": self._doctor(), "rehearsal": place.rehearsal()}
        self.state.know(about)
        if self.options.again:
            self.state.forget([name for name, _ in self._chosen()])
        for name, experiment in self._chosen():
            if self.state.is_done(name):
                continue
            self._run(name, experiment)
            if self.refused:
                print(f"gpu_check: counters are refused here: {self.refused}")
                break
        self._report()
        return self._exit_code()

    def _refused_at_once(self) -> bool:
        """Say what is here; whether what the driver says rules counters out."""
        facts = machine.facts()
        self.state.know({**facts, "date": evidence.today()})
        packages = {name: version for name, version in facts["packages"].items() if version}
        print(f"kernel    {facts['kernel']}")
        print(f"GPU       {'; '.join(facts['gpus']) or 'nvidia-smi names none'}")
        print(f"driver    {facts['driver']}; nvcc {facts['nvcc']}; ncu {facts['ncu']}")
        print(f"python    {facts['python']} {facts['python_path']}; {packages}")
        allowed = {True: "yes", False: "no", None: "not known"}[facts["counters_allowed"]]
        print(f"privilege RmProfilingAdminOnly {facts['admin_only']}, CapEff {facts['cap_eff']}, uid {facts['uid']}")
        print(f"          may read counters: {allowed}; profilers here: {facts['profilers'] or 'none'}", flush=True)
        if facts["counters_allowed"] is False and not self.options.anyway:
            print("gpu_check: counters are refused here: RmProfilingAdminOnly is 1 and CAP_SYS_ADMIN is missing")
            return True
        if not facts["gpus"] and not place.rehearsal() and not self.options.anyway:
            print("gpu_check: there is no NVIDIA GPU here that nvidia-smi could name")
            return True
        return False

    def _build(self) -> bool:
        if lacks := machine.missing():
            print(f"gpu_check: missing here: {'; '.join(lacks)}")
        if self.built.is_current():
            print("build     is current", flush=True)
            return True
        began = time.monotonic()
        try:
            self.built.make()
        except (build.BuildFailed, OSError) as error:
            print(f"gpu_check: ftprof cannot be built here: {error}")
            return False
        print(f"build     {time.monotonic() - began:.0f} s", flush=True)
        return True

    def _version(self) -> str | None:
        return machine.said([str(self.built.ftprof), "--version"])

    def _doctor(self) -> Any:
        answer = machine.said([str(self.built.ftprof), "doctor", "--json"], 60)
        try:
            return json.loads(answer or "null")
        except ValueError:
            return answer

    def _chosen(self) -> list[tuple[str, Experiment]]:
        """In order: the first window decides, then the tests, then the stages."""
        stages, only = self.options.stage or [], self.options.only or []
        every = [(f"{stage.name}/{e.name}", stage.name, e) for stage in STAGES for e in stage.experiments]
        every.insert(1, (TESTS, TESTS, tests.EXPERIMENT))
        return [(name, e) for name, stage, e in every if not (stages or only) or stage in stages or name in only]

    def _left_s(self) -> float:
        return float(self.options.budget_s) - (time.monotonic() - self.began) - _SPARE_S

    def _run(self, name: str, experiment: Experiment) -> None:
        left = self._left_s()
        if left < experiment.expected_s and not place.rehearsal():
            self.unfinished.append(name)
            return
        limit = min(experiment.limit_s, left, _CEILING_S)
        environment = self._environment()
        command = [str(self.built.python), str(place.REPOSITORY / "scripts" / "gpu_check"), "--experiment"]
        if name == TESTS:
            result = tests.run(self.built.python, self.work, limit, environment, self.state.results.get(TESTS))
        else:
            result = child.experiment(command, name, self.work, limit, environment)
        self.state.keep(name, {**result, "date": evidence.today()})
        self.ran.append(name)
        self.refused = result.get("facts", {}).get("refused")
        wrong = [figure["name"] for figure in result.get("figures", []) if figure["ok"] is False]
        print(f"{name:<28} {result['state']:<8} {result['seconds']:>6.1f} s  {'; '.join(wrong)[:150]}", flush=True)
        with contextlib.suppress(OSError):
            evidence.write(self.state, self.output)

    def _environment(self) -> dict[str, str]:
        """Clean of what would change a measurement."""
        dropped = ("PYTHONPATH", "CUDA_INJECTION64_PATH", "FTPROF_RUN_DIR", "FTPROF_RUN_ID", "PYTHONSTARTUP")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        both = f"{self.built.python.parent}{os.pathsep}{Path(sys.executable).parent}"
        standins = os.environ.get(place.STANDINS)
        rehearsal = {"LD_LIBRARY_PATH": standins, "CUDA_HOME": standins} if standins else {}
        if standins:
            from gpu_checks import rehearsal as play

            rehearsal["FTPROF_STANDIN_SCRIPT"] = str(play.write_script(self.work))
        return {
            **kept,
            "PATH": f"{both}{os.pathsep}{kept.get('PATH', '')}",
            place.WORK: str(self.work),
            place.OUTPUT: str(self.output),
            place.PROBE: str(self.built.probe),
            **rehearsal,
        }

    def _report(self) -> None:
        """This call's figures, and last what is not as it should be."""
        files = evidence.write(self.state, self.output)
        print(f"\n{evidence.table(self.state, self.ran)}\n")
        for name in self.ran:
            result = self.state.results[name]
            for figure in result.get("figures", []):
                if figure["ok"] is False:
                    print(
                        f"NOT AS WANTED {name}: {figure['name']}: {figure['median']} {figure.get('because', '')}"[:400]
                    )
            if result["state"] != "done":
                print(f"{result['state'].upper()} {name}: {evidence.end_of(result.get('log', ''))}")
        ended = [f"{name} {r['state']}" for name, r in self.state.results.items() if r["state"] != "done"]
        print(f"not done: {', '.join(ended) or 'nothing'}")
        print(f"no time left for: {', '.join(self.unfinished) or 'nothing'}")
        print(f"written: {', '.join(map(str, files))}; {time.monotonic() - self.began:.0f} s in all")

    def _exit_code(self) -> int:
        if self.refused:
            return EXIT_REFUSED
        if self.unfinished:
            return EXIT_UNFINISHED
        results = self.state.results.values()
        wrong = any(figure["ok"] is False for result in results for figure in result.get("figures", []))
        return EXIT_FIGURES if wrong or any(result["state"] != "done" for result in results) else 0
