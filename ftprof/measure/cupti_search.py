"""Where a CUPTI library may lie on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

_TOOLKIT_VARIABLES = ("CUDA_HOME", "CUDA_PATH")
_TOOLKIT_FOLDERS = ("/usr/local/cuda", "/opt/cuda")


def search_roots(python_path: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """The roots to hand to ``_native.load_cupti``, best first: each a folder and what to call it.

    ``python_path`` is the ``sys.path`` of the environment that trains; the default is this interpreter's own.
    """
    packages = [path for path in (sys.path if python_path is None else python_path) if _holds_nvidia(path)]
    toolkits = [os.environ[variable] for variable in _TOOLKIT_VARIABLES if os.environ.get(variable)]
    toolkits += [folder for folder in _TOOLKIT_FOLDERS if Path(folder).is_dir()]
    roots = [(path, "Python environment") for path in packages] + [(path, "CUDA toolkit") for path in toolkits]
    return list(dict.fromkeys(roots))


def _holds_nvidia(path: str) -> bool:
    return Path(path, "nvidia").is_dir()
