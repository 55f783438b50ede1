"""What the tests on the stand-in CUDA driver and CUPTI share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_standins import build


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built stand-ins."""
    return build(tmp_path_factory)
