"""docs/measured.md: what it makes of evidence, of more than there is yet."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY

if not (REPOSITORY / "scripts" / "measured_page.py").exists():
    pytest.skip("scripts are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from gpu_checks import aws_meter
from gpu_checks.findings import Wanted, at_most, exactly, figure_of, within
from gpu_checks.slopes import slope
from gpu_checks.stages import STAGES


@pytest.fixture(scope="module")
def measured() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measured_page", REPOSITORY / "scripts" / "measured_page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["measured_page"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


ROW = {
    "name": "Llama 1B, LoRA", "exact": 1000, "exact_by": "Nsight Compute's step", "steps": 10, "ftprof": 1001,
    "low": 990, "high": 1010, "gpm": 1060, "analytic": 950, "formula": 1500, "upper bound": None,
}  # fmt: skip


def evidence(*figures: tuple[str, str, list[float], Wanted | None], **rows: Any) -> dict[str, Any]:
    made = {
        name: {**figure_of(name, values, "", wanted), "experiment": experiment}
        for experiment, name, values, wanted in figures
    }
    about = {"gpu": "A GPU", "driver": "1", "cupti": "13.0", "torch": "2", "system": "L", "processor": "p", "date": "d"}
    experiments = {f"accuracy/{name}": {"facts": {"row": row}} for name, row in rows.items()}
    return {"conditions": about, "figures": made, "experiments": experiments}


def page(measured: ModuleType, tmp_path: Path, data: dict[str, Any]) -> str:
    path = tmp_path / "gpu-a.json"
    path.write_text(json.dumps(data))
    text: str = measured.page([measured.read(path)])
    return text


def test_every_column_of_the_tables(measured: ModuleType, tmp_path: Path) -> None:
    text = page(
        measured,
        tmp_path,
        evidence(
            ("gemm/precisions", "bf16 1024, floating-point operations", [2**31] * 3, exactly(2**31)),
            ("overhead/eager", "overhead of ftprof wrap: eager, large, wrapped / bare", [1.0, 1.01], at_most(1.01)),
            ("tools/nsight", "eager, large: with Nsight Compute / bare", [55.0], None),
            ("safety/hazards", "kill: output and exit code are those of the bare run", [1], exactly(1)),
            ("tests", "test_x::test_b", [0], exactly(1)),
            ("nsight/tensor", "training step, tensor cores: windows / Nsight Compute, difference", [0.0], within(0.1)),
            lora=ROW,
        ),
    )
    assert "| product, bf16 1024 | 2,147,483,648 | 2,147,483,648 | 1 | exactly 2,147,483,648 |" in text
    assert "| product, bf16 4096 | 137,438,953,472 | not yet measured | not yet measured |  |" in text
    row = "| LoRA | 1,000 | Nsight Compute's step, 10 steps | +0.1 % (-1 % to +1 %) | +6 % | -5 % | +50 % | no figure |"
    assert row in text
    assert "| LoRA, checkpointing | not yet measured |" in text
    assert "| eager, large kernels | 1.005 (1 to 1.01) | not yet measured |" in text
    assert "| not yet measured | 55 |" in text
    assert "| kill: output and exit code are those of the bare run | yes |" in text
    assert "| test_x::test_b | **no** |" in text


def test_what_was_not_measured_is_named(measured: ModuleType, tmp_path: Path) -> None:
    text = page(measured, tmp_path, evidence(lora=ROW))
    assert "- `accuracy`: full, full-checkpointed, lora-checkpointed" in text
    assert "- `safety`: hazards, devices, held, together" in text
    assert "All of it: not yet measured." in text
    assert text.count("\n- `") == len(STAGES)


def test_a_rehearsal_is_no_evidence(measured: ModuleType, tmp_path: Path) -> None:
    data = evidence()
    data["conditions"]["rehearsal"] = True
    with pytest.raises(ValueError, match="no evidence"):
        page(measured, tmp_path, data)


def test_the_page_and_the_picture_are_of_the_committed_evidence(
    measured: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["measured_page.py", "--check"])
    measured.main()
    old = tmp_path / "measured.svg"
    old.write_text(measured.PICTURE.read_text().replace("<!-- data: ", "<!-- data: 0"))
    monkeypatch.setattr(measured, "PICTURE", old)
    with pytest.raises(SystemExit, match="run scripts/measured_page"):
        measured.main()


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("NVIDIA H200", 148), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA B200", 150), ("NVIDIA A10G", 125)],
)
def test_the_aws_meters_peak_is_found_by_substring(name: str, tflops: int) -> None:
    assert aws_meter.peak(name) == tflops * 10**12
    assert aws_meter.hardware(name, [50, 100], 2.0) == tflops * 10**12 * 3 // 2
    assert aws_meter.hardware(name, [], 2.0) is None


def test_the_aws_meters_formula() -> None:
    assert aws_meter.formula(10, 10, 7) == 6 * 10 * 7
    assert aws_meter.formula(10, 1, 7) == 42 * 7


def test_a_slope_and_its_error() -> None:
    assert slope([(0, 1), (1, 3), (2, 5), (3, 7)]) == (2.0, 0.0)
    assert slope([(0, 0), (1, 1), (2, 2)]) is None
    assert slope([(1, 0), (1, 1), (1, 2), (1, 3)]) is None
    found = slope([(0, 0), (1, 2), (2, 0), (3, 2)])
    assert found
    # By hand: slope 0.4, residuals -0.4, 1.2, -1.2, 0.4, so s^2 = 3.2 / 2, and the sum of squares of x is 5.
    assert found[0] == pytest.approx(0.4)
    assert found[1] == pytest.approx(math.sqrt(1.6 / 5))
