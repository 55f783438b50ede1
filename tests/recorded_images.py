"""Counter-data images that scripts/gpu_check recorded on a GPU, and how to decode one with a CUPTI that has none."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures" / "counter_data"
SCHEMA = "ftprof.counter-data/1"

# In a process of its own: a process has one CUPTI, and one that meets damaged bytes may crash.
_DECODE = """
import json, sys
from ftprof import _native
roots, chip, metrics, sha256, availability = json.loads(sys.argv[1])
_native.load_cupti(roots)
try:
    counts = _native.evaluate(chip, metrics, sys.stdin.buffer.read(), sha256, bytes.fromhex(availability))
    answer = {"counts": counts}
except _native.CuptiError as error:
    answer = {"call": error.call, "code": error.code, "name": error.name, "remedy": error.remedy, "line": str(error)}
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Recorded:
    """What a fixture holds: the image, and what the CUPTI of the machine with the GPU decoded it to."""

    chip: str
    metrics: list[str]
    counts: list[int]
    image: bytes
    sha256: str
    availability: bytes
    conditions: dict[str, Any]


def read(path: Path) -> Recorded:
    """One of gpu_check's files."""
    data = json.loads(path.read_text(encoding="ascii"))
    assert data["schema"] == SCHEMA
    return Recorded(
        chip=data["chip"],
        metrics=data["metrics"],
        counts=[int(value) for value in data["values"]],
        image=_unpacked(data["image"]),
        sha256=data["image"]["sha256"],
        availability=_unpacked(data["availability"]),
        conditions={key: data[key] for key in ("device", "capability", "cupti", "driver", "date", "rehearsal")},
    )


def real_cupti() -> list[tuple[str, str]]:
    """Where the real CUPTI lies."""
    spec = importlib.util.find_spec("nvidia")
    assert spec is not None, "install the test extra: nvidia-cuda-cupti==13.0.*"
    assert spec.submodule_search_locations
    return [(str(Path(next(iter(spec.submodule_search_locations))).parent), "test")]


def _unpacked(packed: Mapping[str, Any]) -> bytes:
    content = zlib.decompress(base64.b64decode(packed["zlib_base64"]))
    assert len(content) == packed["bytes"]
    return content


def decoded(
    roots: Sequence[tuple[str, str]],
    chip: str,
    metrics: Sequence[str],
    image: bytes,
    sha256: str,
    availability: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """``{"counts": [...]}``, or what the ``CuptiError`` says. Fails the test where the process crashes."""
    argument = json.dumps([list(roots), chip, list(metrics), sha256, availability.hex()])
    done = subprocess.run(
        [sys.executable, "-c", _DECODE, argument], input=image, capture_output=True, timeout=60, env=env
    )
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    return dict(json.loads(done.stdout))
