"""``ftprof doctor``: what can count on this machine, what is in the way, and what to do about it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ftprof.cli.output import printable, write_stdout

if TYPE_CHECKING:
    from ftprof.measure.diagnosis import Diagnosis
    from ftprof.measure.machine import Machine
    from ftprof.measure.nvml import GpuInfo

_SCHEMA = "ftprof.doctor/1"


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def command(as_json: bool) -> None:
    """Say which methods can count here, what is in the way, and what to do about it. Changes nothing."""
    from ftprof.measure.diagnosis import diagnose
    from ftprof.report.doctor_text import doctor_lines

    answer = doctor_answer(diagnose())
    if as_json:
        write_stdout(json.dumps(answer, indent=1))
    else:
        write_stdout(printable(sys.stdout, "\n".join(doctor_lines(answer))))


def doctor_answer(diagnosis: Diagnosis) -> dict[str, Any]:
    """The answer as ``schemas/doctor-1.json`` has it."""
    machine = diagnosis.machine
    driver, cupti = machine.driver, machine.cupti
    return {
        "schema": _SCHEMA,
        "verdict": asdict(diagnosis.verdict),
        "methods": [asdict(state) for state in diagnosis.methods],
        "driver": {
            "version": driver.version,
            "cuda": driver.cuda,
            "confidential_computing": driver.confidential,
            "error": None if driver.error is None else str(driver.error),
        },
        "gpus": [_gpu(gpu, machine) for gpu in machine.gpus],
        "cupti": {
            "version": cupti.version,
            "path": cupti.path or None,
            "origin": cupti.origin or None,
            "chips_known": len(cupti.chips),
            "warning": cupti.warning or None,
            "error": cupti.error or None,
        },
        "privilege": {**asdict(machine.privilege), "enough": machine.privilege.enough},
        "container": machine.container,
        "dcgm": list(machine.dcgm),
        "mps": list(machine.mps),
        "injection": machine.injection,
        "torch": machine.torch,
        "problems": [{**asdict(problem), "stops": list(problem.stops)} for problem in diagnosis.problems],
    }


def _gpu(gpu: GpuInfo, machine: Machine) -> dict[str, Any]:
    from ftprof.record.peaks import peak_flops_per_second

    peak = peak_flops_per_second(gpu.capability, gpu.multiprocessors, gpu.max_sm_clock_khz)
    chip = machine.chips.get(gpu.uuid)
    plan = None if chip is None else machine.plans.get(chip)
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "capability": gpu.capability,
        "chip": chip,
        "plan": None if plan is None else asdict(plan),
        "multiprocessors": gpu.multiprocessors,
        "max_sm_clock_khz": gpu.max_sm_clock_khz,
        "peak_flops_per_second": None if peak is None else str(peak),
        "mig": gpu.mig,
        "instances": [asdict(instance) for instance in gpu.instances],
        "virtualisation": gpu.virtualisation,
        "gpm": gpu.gpm,
    }
