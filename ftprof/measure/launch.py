"""Which launcher started this ``ftprof wrap`` as one of several, by the variables that it sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ftprof.measure.analytic.hook import rank_of
from ftprof.record.launch import Launch

Environment = Mapping[str, str]
SAGEMAKER = "SageMaker"


def launch_of(environment: Environment, shared: bool) -> Launch:
    """The start that these variables tell of, if any. ``shared``: the run directory was named."""
    found = next((launch for read in _READERS if (launch := read(environment)) is not None), Launch(shared))
    return replace(
        found,
        shared=shared,
        job=training_job_name(environment),
        instance_type=_label(
            environment, "TRAINING_INSTANCE_TYPE", "SM_CURRENT_INSTANCE_TYPE", of_training_env="current_instance_type"
        ),
        model_package_group=_label(environment, "MODEL_PACKAGE_GROUP_NAME"),
    )


def training_job_name(environment: Environment) -> str | None:
    """The SageMaker training job's name, or ``None`` outside such a job."""
    return _label(environment, "TRAINING_JOB_NAME", of_training_env="job_name")


def current_host(environment: Environment) -> str | None:
    """What SageMaker calls this container, such as ``algo-1``; ``None`` outside one."""
    return _label(environment, "SM_CURRENT_HOST", of_training_env="current_host")


def sagemaker_output(environment: Environment, root: Path | None = None) -> Path | None:
    """The folder that SageMaker keeps when a training job has ended, if this is its container and it may be written.

    Below ``root``, by default ``/opt/ml``, or what SageMaker's own SAGEMAKER_BASE_DIR names: ``output/data``, which is
    uploaded, or else ``output``. Both as aws/sagemaker-training-toolkit has them (ENVIRONMENT_VARIABLES.md,
    src/sagemaker_training/environment.py).
    """
    ml = root or Path(environment.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
    if current_host(environment) is None and "SM_TRAINING_ENV" not in environment:
        # A container without the toolkit has no variables of its own; SageMaker gives every one this file.
        given = ml / "input" / "config" / "resourceconfig.json"
        if training_job_name(environment) is None or not given.is_file():
            return None
    output = ml / "output"
    for folder in (output / "data", output):
        if folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return None


def _label(environment: Environment, *names: str, of_training_env: str = "") -> str | None:
    """The first of these variables that says something that can be printed, or SageMaker's own entry."""
    said = [environment.get(name) for name in names]
    if of_training_env:
        said.append(_of_training_env(environment, of_training_env))
    return next((text for text in said if text and text.isprintable()), None)


def _of_training_env(environment: Environment, key: str) -> str | None:
    try:
        value = json.loads(environment.get("SM_TRAINING_ENV", "{}"))[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _torch(environment: Environment) -> Launch | None:
    """Under torchrun (``--no-python``), and where a cluster sets its variables for each node (Kubeflow)."""
    if "RANK" not in environment:
        return None
    place = ":".join(environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if environment.get(name))
    run = environment.get("TORCHELASTIC_RUN_ID")  # "none" where the user gave no --rdzv-id
    # With a run's id the address is no part of it: a restart may move the first rank, and with it address and port.
    start = run if run and run != "none" else place
    return _ranked(environment, "torch", start, attempt=environment.get("TORCHELASTIC_RESTART_COUNT"))


def _open_mpi(environment: Environment) -> Launch | None:
    if "OMPI_COMM_WORLD_RANK" not in environment:
        return None
    job = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid")
    return _ranked(environment, "Open MPI", job and f"job {job}")


def _other_mpi(environment: Environment) -> Launch | None:
    """MVAPICH2, MPICH and Intel MPI give a process no name of their job (it comes over a socket)."""
    if "MV2_COMM_WORLD_RANK" in environment:
        return _ranked(environment, "MVAPICH2", None)
    if "PMI_RANK" in environment and "SLURM_STEP_ID" not in environment:
        return _ranked(environment, "MPI", None)
    return None


def _slurm(environment: Environment) -> Launch | None:
    """Inside a step of srun; in a batch script there is no step. A job that was requeued keeps its number."""
    if "SLURM_JOB_ID" not in environment or "SLURM_STEP_ID" not in environment:
        return None
    start = f"job {environment['SLURM_JOB_ID']} step {environment['SLURM_STEP_ID']}"
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    return _ranked(environment, "SLURM", start + (f" restart {restarts}" if restarts != "0" else ""))


def _torchrun_arguments(environment: Environment) -> Launch | None:
    """torchrun takes each argument from a variable too (torch/distributed/argparse_util.py); Kubeflow sets these.

    Its workers inherit them, and are ranks of their own.
    """
    if "LOCAL_RANK" in environment:
        return None
    part, parts = (_whole(environment.get(name)) for name in ("PET_NODE_RANK", "PET_NNODES"))
    if part is None or parts is None or part >= parts:
        return None
    place = ":".join(environment[name] for name in ("PET_MASTER_ADDR", "PET_MASTER_PORT") if environment.get(name))
    return Launch(True, "torchrun", environment.get("PET_RDZV_ID") or place or None, part, parts, "node")


def _sagemaker(environment: Environment) -> Launch | None:
    host = current_host(environment)
    try:
        hosts = json.loads(environment.get("SM_HOSTS", "null"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(hosts, list) or not all(isinstance(name, str) for name in hosts) or host not in hosts:
        return None
    name = training_job_name(environment)
    return Launch(True, SAGEMAKER, name and f"job {name}", hosts.index(host), len(hosts), "host", tuple(hosts))


_READERS: tuple[Callable[[Environment], Launch | None], ...] = (
    _torchrun_arguments,
    _torch,
    _open_mpi,
    _other_mpi,
    _slurm,
    _sagemaker,
)


def _ranked(environment: Environment, launcher: str, start: str | None, attempt: str | None = None) -> Launch | None:
    """One part for each rank."""
    rank = rank_of(environment) or {}
    part, parts = rank.get("rank"), rank.get("world_size")
    if part is None or parts is None or part >= parts:
        return None
    return Launch(True, launcher, start or None, part, parts, attempt=_whole(attempt) or 0)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 16 else None
