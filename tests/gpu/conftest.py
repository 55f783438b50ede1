"""Skips everything here, with the reason, where there is no GPU whose counters may be read."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))  # the programs are gpu_check's

from gpu_checks import machine, place  # noqa: E402


def why_not() -> str | None:
    """Why nothing can be counted here."""
    if place.rehearsal():
        return None
    if not machine.gpus():
        return "there is no NVIDIA GPU here: nvidia-smi names none"
    if machine.may_count() is False:
        return "counters are refused here: RmProfilingAdminOnly is 1 and CAP_SYS_ADMIN is missing"
    if not Path(place.FTPROF).exists():
        return f"ftprof is not installed beside {sys.executable}; scripts/gpu_check does that"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    reason = why_not() if mine else None
    without_torch = importlib.util.find_spec("torch") is None
    for item in mine:
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
        elif without_torch and "torch" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="torch is not installed"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torch: needs torch with CUDA")
