"""Counter-data images are decoded without a GPU, by the code that decodes them in a training.

With the real CUPTI: the images that were recorded on GPUs, and bytes that are none. With the stand-ins: what a script
counted is what comes out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cuda_standins import BF16, CYCLES, Standins, build
from recorded_images import FIXTURES, decoded, read, real_cupti
from unmeasured_image import unmeasured_image

CHIP = "GH100"
METRICS = [f"{CYCLES}.sum", f"{BF16}.sum"]
# Behind these metrics on GH100, as NVPW_MetricsEvaluator_GetMetricRawDependencies of 13.0 names them.
RAW = [
    *(b"0x1126e14d39270675", b"0xb19b170764376273", b"0x49114c6fda9abf87", b"0x9cbfe3c5a91d00d3"),
    *(b"0xcdc3d20cf28ca62b", b"0x2a990eb023dbbbdb", b"0x7ed94280e6ae04f5"),
]
NO_IMAGE = "no image was recorded yet: a GPU is needed (scripts/gpu_check does it)"


def recorded_files() -> list[Any]:
    """Every fixture, or one case that says that there is none."""
    files = sorted(FIXTURES.glob("*.json"))
    return [pytest.param(file, id=file.stem) for file in files] or [
        pytest.param(None, marks=pytest.mark.skip(reason=NO_IMAGE))
    ]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("file", recorded_files())
def test_an_image_recorded_on_a_gpu_gives_here_what_it_gave_there(file: Path) -> None:
    recorded = read(file)
    assert not recorded.conditions["rehearsal"], "this was recorded on the stand-ins"
    assert any(recorded.counts), "nothing was counted in it"
    answer = decoded(
        real_cupti(), recorded.chip, recorded.metrics, recorded.image, recorded.sha256, recorded.availability
    )
    assert answer == {"counts": recorded.counts}


@pytest.fixture(scope="module")
def unmeasured() -> bytes:
    """Of the right form, and with no counts in it."""
    return unmeasured_image(Path(real_cupti()[0][0], "nvidia/cu13/lib/libnvperf_host.so"), CHIP, RAW)


def test_an_image_without_counts_is_refused_and_no_zero(unmeasured: bytes) -> None:
    """The real CUPTI reads it: it knows the chip, the metrics and the range, and gives no number."""
    answer = decoded(real_cupti(), CHIP, METRICS, unmeasured, sha256(unmeasured))
    assert answer["line"] == f"cuptiProfilerHostEvaluateToGpuValues: {METRICS[0]} is no exact count: nan"


@pytest.mark.parametrize(
    ("chip", "metrics", "name"),
    [
        ("GA100", METRICS, "CUPTI_ERROR_INVALID_PARAMETER"),
        (CHIP, ["sm__no_such_metric.sum"], "CUPTI_ERROR_INVALID"),
        ("GX999", METRICS, "CUPTI_ERROR_INVALID"),
    ],
)
def test_another_chip_or_metric_than_the_images_is_named(
    unmeasured: bytes, chip: str, metrics: list[str], name: str
) -> None:
    answer = decoded(real_cupti(), chip, metrics, unmeasured, sha256(unmeasured))
    assert answer["code"] > 0
    assert name in answer["name"]
    assert (chip if chip == "GX999" else metrics[0]) in answer["name"]


def damaged(image: bytes) -> dict[str, bytes]:
    """Many of these crash CUPTI, which trusts the offsets in an image."""
    turned = bytearray(image)
    turned[0x30] ^= 0xFF
    return {
        "cut in half": image[: len(image) // 2],
        "cut behind its head": image[:512],
        "cut by one byte": image[:-1],
        "longer": image + b"\0",
        "with other bytes in its head": bytes(turned),
        "a head alone": image[:8],
    }


def test_damaged_bytes_are_refused_before_cupti_sees_them(unmeasured: bytes) -> None:
    for how, content in damaged(unmeasured).items():
        answer = decoded(real_cupti(), CHIP, METRICS, content, sha256(unmeasured))
        assert answer["name"] == "its bytes are not those that were recorded", how
        assert (answer["call"], answer["remedy"]) == ("read a counter-data image", "record it again")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"x", "these bytes are none"),
        (bytes(4096), "these bytes are none"),
        (bytes(range(256)) * 64, "these bytes are none"),
    ],
)
def test_what_never_was_an_image_is_refused(content: bytes, why: str) -> None:
    answer = decoded(real_cupti(), CHIP, METRICS, content, sha256(content))
    assert (answer["call"], answer["code"], answer["name"]) == ("read a counter-data image", 0, why)


SCRIPT: dict[str, Any] = {"time": "virtual", "kernels": {"gemm": {BF16: 1001, "cycles": 7, "duration_us": 100}}}


@pytest.fixture
def standins(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Standins:
    return Standins(build(tmp_path_factory), tmp_path)


def record(standins: Standins, ranges: int = 1, script: dict[str, Any] | None = None) -> bytes:
    """What a session counted of six kernels in each range."""
    path = standins.work / "image"
    commands = ["init", "retain 0", "current", "profile", f"host {CHIP} {CYCLES},{BF16}", "enable"]
    commands += [f"size {ranges}", "image", f"config {ranges}", "start"]
    commands += ["push", "launch gemm 6", "advance 1000", "pop"] * ranges
    commands += ["stop", "decode", f"saveimage {path}", "disable"]
    answers = standins.client(SCRIPT if script is None else script, *commands)
    assert [answer.code for answer in answers] == [0] * len(answers)
    return path.read_bytes()


def decoded_there(standins: Standins, image: bytes, chip: str = CHIP) -> dict[str, Any]:
    env = standins.environment(SCRIPT)
    return decoded([(str(standins.folder), "stand-in")], chip, METRICS, image, sha256(image), env=env)


def test_what_was_recorded_on_the_standin_is_decoded_to_what_its_script_counted(standins: Standins) -> None:
    assert decoded_there(standins, record(standins)) == {"counts": [6 * 7, 6 * 1001]}
    (truth,) = standins.truths()
    assert truth.executed() == {CYCLES: 6 * 7, BF16: 6 * 1001}
    assert standins.violations() == []


def test_an_image_with_more_ranges_than_one_is_refused(standins: Standins) -> None:
    answer = decoded_there(standins, record(standins, ranges=2))
    assert answer["name"] == "2 ranges were decoded instead of 1"


def test_a_count_that_a_double_cannot_hold_is_refused(standins: Standins) -> None:
    kernel = {"gemm": {BF16: 2**53 // 6 + 1, "cycles": 7, "duration_us": 100}}
    answer = decoded_there(standins, record(standins, script={**SCRIPT, "kernels": kernel}))
    assert f"{BF16}.sum is no exact count" in answer["name"]
