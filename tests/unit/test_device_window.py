"""Figures of whole devices: their lines, and that each moment of a device is taken once."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.measure.peak_bound import peak_bound_window
from ftprof.record import schemas
from ftprof.record.device_record import activity, not_sampled
from ftprof.record.device_use import DeviceUse, added_uses
from ftprof.record.device_window import Device, DeviceWindow, Estimate, device_totals

H200 = Device("GPU-0", None, "NVIDIA H200", "9.0", 132, 1_980_000)
RATE = 132 * 1_980_000_000 * (16384 + 512)
SECOND = 1_000_000
COUNT, WHOLE, TEXT = {"$ref": "#/$defs/count"}, {"$ref": "#/$defs/whole"}, {"type": "string"}


def nullable(form: dict[str, str]) -> dict[str, object]:
    return {"oneOf": [{"type": "null"}, form]}


def form(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


DEVICE = form(
    uuid=TEXT,
    gpu_instance=nullable(WHOLE),
    name=TEXT,
    capability=nullable(TEXT),
    multiprocessors=nullable(WHOLE),
    clock_khz=nullable(WHOLE),
    instances={"type": "array", "items": TEXT},
)
DEVICE["required"].remove("instances")  # type: ignore[attr-defined]
LINE = form(
    method={"enum": ["gpm", "peak-bound"]},
    device=DEVICE,
    begin_us=WHOLE,
    end_us=WHOLE,
    low=COUNT,
    flops=nullable(COUNT),
    high=nullable(COUNT),
    classes={"type": "array", "items": form(**{"class": TEXT}, low=COUNT, flops=COUNT, high=COUNT)},
    unmeasured_us=WHOLE,
    note=TEXT,
    energy_mj=nullable(COUNT),
)
LINE["required"].remove("energy_mj")  # type: ignore[attr-defined]
CLASSES = {"tensor": Estimate(40, 80, 160), "fp32": Estimate(0, 5, 10)}
ESTIMATE = DeviceWindow("gpm", H200, 10, 20, Estimate(40, 85, 170), CLASSES, 3, "a note", 12345)


def gpm(begin: int, end: int, low: int, flops: int, high: int, device: Device = H200) -> DeviceWindow:
    return DeviceWindow("gpm", device, begin, end, Estimate(low, flops, high))


@pytest.mark.parametrize("window", [ESTIMATE, peak_bound_window(H200, 0, SECOND), peak_bound_window(
    Device("GPU-1", 3, "a new chip", "99.0", None, None), 5, 6)])  # fmt: skip
def test_a_line_is_read_as_it_was_written_and_fits_the_schema(window: DeviceWindow) -> None:
    line = json.loads(json.dumps(window.to_json()))
    assert DeviceWindow.from_json(line) == window
    schema = json.loads(schemas.JOURNAL.read_text())
    jsonschema.validate(line, {"$defs": schema["$defs"], **LINE})
    branches = [b for b in schema["oneOf"] if b["properties"]["kind"].get("const") == "device-window"]
    if branches:  # the journal's own form of these lines is this one
        kept = {
            name: form for name, form in branches[0]["properties"].items() if name not in ("kind", "previous", "hash")
        }
        assert set(kept) == set(LINE["properties"])  # type: ignore[call-overload]
        jsonschema.validate(line, {"$defs": schema["$defs"], **branches[0]})


@pytest.mark.parametrize(
    "change",
    [
        {"method": "counters"}, {"device": {}}, {"begin_us": -1}, {"end_us": 9}, {"low": "86"}, {"low": "-1"},
        {"flops": 85}, {"high": "84"}, {"classes": [{"class": 1}]}, {"note": None}, {"unmeasured_us": "3"},
        {"device": {**H200.to_json(), "uuid": 7}}, {"device": {**H200.to_json(), "multiprocessors": -1}},
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        DeviceWindow.from_json({**ESTIMATE.to_json(), **change})


def test_the_bound_is_time_times_peak_and_its_low_end_is_zero() -> None:
    window = peak_bound_window(H200, 7, 7 + 90 * SECOND)
    assert window.estimate == Estimate(0, 90 * RATE, 90 * RATE)
    assert H200.bound_over(0, 1) == -(-RATE // SECOND)
    assert H200.bound_over(5, 5) == H200.bound_over(6, 5) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"capability": None}, "compute capability"), ({"capability": "99.0"}, "no published peak"),
        ({"multiprocessors": None}, "number of SMs"), ({"clock_khz": None}, "highest SM clock"),
    ],
)  # fmt: skip
def test_an_unknown_device_is_bounded_by_nothing_and_says_why(change: dict[str, None], why: str) -> None:
    window = peak_bound_window(replace(H200, **change), 0, SECOND)  # type: ignore[arg-type]
    assert window.estimate == Estimate(0, None, None)
    assert why in window.note
    assert device_totals([window, peak_bound_window(H200, SECOND, 2 * SECOND)])[0].estimate.high is None


def test_windows_that_follow_each_other_add_up() -> None:
    (total,) = device_totals([gpm(10, 20, 1, 2, 3), gpm(0, 10, 10, 20, 30), gpm(30, 40, 100, 200, 300)])
    assert total.estimate == Estimate(111, 222, 333)
    assert (total.begin_us, total.end_us, total.time_us) == (0, 40, 30)


def test_a_moment_that_two_journals_saw_is_taken_once() -> None:
    (total,) = device_totals([gpm(0, 100, 50, 100, 200), gpm(0, 100, 50, 100, 200), gpm(90, 110, 10, 20, 40)])
    assert total.estimate == Estimate(50, 110, 240), "half of the last one's time, and maybe all of its activity"
    assert total.time_us == 110


@pytest.mark.parametrize(("first", "second"), [(10**17, 10**17), (0, 10**17), (10**17, 0)])
def test_nobody_knows_when_in_a_window_a_gpu_was_active(first: int, second: int) -> None:
    """Two watched one GPU, from 0 and from 300 s on, 600 s each: it was busy while both did, or one, or the other."""
    windows = [(0, 600, first), (300, 900, second)]
    (total,) = device_totals(
        gpm(begin * SECOND, end * SECOND, int(0.9 * flops), flops, int(1.1 * flops)) for begin, end, flops in windows
    )
    truth = max(first, second)
    assert total.estimate.low <= truth
    assert total.estimate.high is not None
    assert truth <= total.estimate.high <= 1.1 * (first + second)


def test_a_part_of_a_window_holds_what_fits_into_its_time_and_what_did_not_fit_into_the_rest() -> None:
    busy = 10 * RATE  # of eleven seconds at most
    (total,) = device_totals([gpm(0, 10 * SECOND, 0, 0, 0), gpm(0, 11 * SECOND, busy, busy, 11 * RATE)])
    assert total.estimate == Estimate(0, busy // 11, RATE)
    (total,) = device_totals([gpm(0, SECOND, 0, 0, 0), gpm(0, 11 * SECOND, busy, busy, 11 * RATE)])
    assert total.estimate.low == 9 * RATE


def test_a_part_of_a_window_keeps_its_shares() -> None:
    (total,) = device_totals([gpm(0, 15, 0, 0, 0), ESTIMATE])
    assert total.estimate == Estimate(0, 42, 170)
    assert total.classes == {"tensor": Estimate(0, 40, 160), "fp32": Estimate(0, 2, 10)}
    assert (total.unmeasured_us, total.notes) == (1, ("a note",))


def test_devices_and_methods_are_kept_apart() -> None:
    instance, other = replace(H200, gpu_instance=1), replace(H200, uuid="GPU-1")
    windows = [gpm(0, 10, 1, 1, 1, d) for d in (instance, other, H200)] + [peak_bound_window(H200, 0, 10)]
    totals = [(t.method, t.device.uuid, t.device.gpu_instance) for t in device_totals(windows)]
    assert totals == [
        ("peak-bound", "GPU-0", None),
        ("gpm", "GPU-0", None),
        ("gpm", "GPU-0", 1),
        ("gpm", "GPU-1", None),
    ]
    assert device_totals([]) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_the_bound_of_any_windows_is_that_of_their_union(spans: list[tuple[int, int]]) -> None:
    windows = [peak_bound_window(H200, begin, begin + length) for begin, length in spans]
    union = len({moment for begin, length in spans for moment in range(begin, begin + length)})
    (total,) = device_totals(windows)
    assert total.time_us == union
    exact = Fraction(RATE * union, SECOND)
    assert total.estimate.high is not None
    assert exact <= total.estimate.high <= exact + 2 * len(windows)  # rounded up, a window at a time


def test_an_estimate_that_contradicts_itself_is_none() -> None:
    for numbers in ((2, 1, 3), (1, 3, 2), (4, None, 3)):
        with pytest.raises(ValueError, match="flops"):
            Estimate(*numbers)


def test_energy_is_shared_out_by_time_and_unknown_where_one_window_does_not_say() -> None:
    (total,) = device_totals([gpm(0, 15, 0, 0, 0), ESTIMATE])
    assert total.energy_mj is None
    first, second = replace(gpm(0, 10, 0, 0, 0), energy_mj=100), replace(gpm(5, 15, 0, 0, 0), energy_mj=80)
    (total,) = device_totals([first, second])
    assert total.energy_mj == 140


def test_the_uses_of_a_gpu_in_several_runs_add_up() -> None:
    first, second = DeviceUse("GPU-0", None, "NVIDIA H200", 10, 100), DeviceUse("GPU-0", None, "NVIDIA H200", 5, 7)
    other, silent = DeviceUse("GPU-1", None, "NVIDIA H200", 3, 1), DeviceUse("GPU-0", None, "NVIDIA H200", 1, None)
    assert added_uses([([(0, 10)], [first, other]), ([(10, 15)], [second])]) == (
        replace(first, time_us=15, energy_mj=107),
        other,
    )
    shared = [([(0, 10)], [second]), ([(1, 9)], [first])]  # by ranks
    assert added_uses([*shared, ([(10, 15)], [second])]) == (replace(first, time_us=15, energy_mj=71 + 7),)
    assert added_uses([([(0, 5)], [first]), ([(5, 6)], [silent])]) == (replace(first, time_us=11, energy_mj=None),)


def test_uses_that_overlap_cover_their_times_together_however_they_are_added() -> None:
    def of(*times: tuple[int, int]) -> DeviceUse:
        return DeviceUse("GPU-0", None, "NVIDIA H200", sum(end - begin for begin, end in times), 100)

    hours = [(0, 10), (5, 15), (12, 20)]
    for order in permutations(hours):
        (chain,) = added_uses([([time], [of(time)]) for time in order])
        assert (chain.time_us, chain.energy_mj) == (20, 300 * 20 // 28)
    outer = [(0, 1), (4, 5)]  # two runs that were added up before, and one between them
    (three,) = added_uses([(outer, [of(*outer)]), ([(2, 3)], [of((2, 3))])])
    assert three.time_us == 3


def test_activity_of_some_gpus_leaves_the_others_to_their_peak() -> None:
    """And where nothing bounds the run, the activity's own end bounds it no more."""
    other = replace(H200, uuid="GPU-1", name="NVIDIA A100", capability="8.0")
    both = [gpm(0, 10, 10, 20, 40), peak_bound_window(H200, 0, 10), peak_bound_window(other, 0, 10)]
    totals = device_totals(both)
    bound = other.bound_over(0, 10)
    assert bound
    method, interval = activity(totals, 10**30)
    assert (method, interval.low, interval.value, interval.high) == ("gpm", 10, 20, 40 + bound)
    (reason,) = not_sampled(totals)
    assert reason.startswith("NVML samples no activity of NVIDIA A100 (GPU-1)")
    assert activity(totals, None)[1].high is None
    assert not_sampled(device_totals(both[:2])) == []
    assert activity(device_totals(both[:2]), 10**30)[1].high == 40
