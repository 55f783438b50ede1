"""On a GPU: its counters are right by ftprof's own self-test, of which no row is left out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from gpu_checks import place
from gpu_checks.evidence import device_in_name


def test_every_row_of_the_self_test_passes() -> None:
    if place.rehearsal():
        pytest.skip("the rehearsal's script has none of the self-test's kernels; test_selftest.py plays them")
    done = subprocess.run([str(place.FTPROF), "selftest", "--json"], capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    if output := os.environ.get(place.OUTPUT):  # gpu_check's: evidence, without this machine's folders
        (answer["software"] or {})["cupti_path"] = Path((answer["software"] or {}).get("cupti_path") or "").name
        name = f"selftest-{device_in_name((answer['device'] or {}).get('name'))}.json"
        (Path(output) / name).write_text(json.dumps(answer, indent=1) + "\n")
    wrong = [row for row in answer["rows"] if row["verdict"] in ("fail", "not counted")]
    assert (done.returncode, wrong) == (0, []), answer["why"]
    assert answer["time_ms"] < 30_000
