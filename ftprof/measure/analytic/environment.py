"""The environment variables through which the analytic method reaches every Python process of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ftprof.measure.analytic.hook import clock_for_others

BOOTSTRAP = Path(__file__).with_name("bootstrap")


def with_hook(environment: Mapping[str, str], folder: Path, run_id: str, methods: str = "analytic") -> dict[str, str]:
    """``environment`` for a command whose Python processes shall load the hook and keep journals in ``folder``.

    ``methods`` tells the hook whether operators are to be counted: only with ``analytic``.
    """
    python_path = [str(BOOTSTRAP)]
    if environment.get("PYTHONPATH"):
        python_path.append(environment["PYTHONPATH"])
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(python_path),
        "FTPROF_RUN_DIR": str(folder),
        "FTPROF_RUN_ID": run_id,
        "FTPROF_METHODS": methods,
        **clock_for_others(),
    }
