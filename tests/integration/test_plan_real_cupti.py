"""The plan of every chip from Turing on, held against the real CUPTI 13.0.

What a metric counts is taken from an independent source: the raw hardware counters behind it, which Perfworks names
(NVPW_MetricsEvaluator_GetMetricRawDependencies). Two metrics count the same work where they share a raw counter, so
"nothing left out" and "nothing twice" are statements about sets of raw counters, not about names.
"""

from __future__ import annotations

import ctypes
import itertools
import re
from functools import cache
from pathlib import Path

import pytest
from recorded_images import real_cupti

from ftprof import _native

# Not GV100 and GV11B (Volta): the range profiler counts from compute capability 7.5 on.
CHIPS = [
    *("TU102", "TU104", "TU106", "TU116", "TU117"),
    *("GA100", "GA102", "GA103", "GA104", "GA106", "GA107", "GA10B"),
    "GH100",
    *("AD102", "AD103", "AD104", "AD106", "AD107"),
    *("GB100", "GB102", "GB110", "GB10B"),
    *("GB202", "GB203", "GB205", "GB206", "GB207", "GB20B"),
]
NO_TENSOR_METRICS = {"TU116", "TU117"}
TENSOR = "sm__ops_path_tensor_"
CYCLES = "sm__cycles_active.sum"


@pytest.fixture(scope="module", autouse=True)
def cupti() -> _native.LibraryInfo:
    info = _native.load_cupti(real_cupti())
    assert info.version == "13.0", f"these tests need CUPTI 13.0, {info.path} is {info.version}"
    assert info.warning == ""
    return info


@cache
def plan_of(chip: str) -> _native.Plan:
    return _native.plan(chip)


@cache
def base_metrics(chip: str) -> frozenset[str]:
    return frozenset(_native.base_metrics(chip))


@cache
def single_pass(chip: str, metrics: frozenset[str]) -> bool:
    return _native.passes(chip, sorted(metrics)) == 1


def planned(chip: str, *roles: str) -> list[str]:
    """The metrics of these roles, without rollup and denominators."""
    names = [m for g in plan_of(chip).groups if g.role in roles for m in g.metrics]
    rows = [(name, _native.find_metric(name)) for name in names]
    assert all(row is not None for _, row in rows)
    return [name.removesuffix(".sum") for name, row in rows if row is not None and row.weight > 0]


def plain(name: str) -> str:
    return name.removesuffix("_realtime")


class RawCounters:
    """The raw counters behind each metric of one chip."""

    def __init__(self, chip: str, library: Path) -> None:
        self._perfworks = ctypes.CDLL(str(library))
        self._call("NVPW_InitializeHost", _struct())
        size = self._call(
            "NVPW_CUDA_MetricsEvaluator_CalculateScratchBufferSize",
            _struct(("chip", ctypes.c_char_p), ("image", ctypes.c_void_p), ("size", ctypes.c_size_t)),
            chip=chip.encode(),
        ).size
        self._scratch = ctypes.create_string_buffer(size)
        self._evaluator = self._call(
            "NVPW_CUDA_MetricsEvaluator_Initialize",
            _struct(
                ("scratch", ctypes.c_void_p),
                ("scratch_size", ctypes.c_size_t),
                ("chip", ctypes.c_char_p),
                ("image", ctypes.c_void_p),
                ("data", ctypes.c_void_p),
                ("data_size", ctypes.c_size_t),
                ("evaluator", ctypes.c_void_p),
            ),
            scratch=ctypes.addressof(self._scratch),
            scratch_size=size,
            chip=chip.encode(),
        ).evaluator

    def of(self, metric: str) -> frozenset[bytes]:
        request = (ctypes.c_uint64 * 2)()  # NVPW_MetricEvalRequest: size_t, two uint8_t, uint16_t
        self._call(
            "NVPW_MetricsEvaluator_ConvertMetricNameToMetricEvalRequest",
            _struct(
                ("evaluator", ctypes.c_void_p),
                ("name", ctypes.c_char_p),
                ("request", ctypes.c_void_p),
                ("request_size", ctypes.c_size_t),
            ),
            evaluator=self._evaluator,
            name=f"{metric}.sum".encode(),
            request=ctypes.addressof(request),
            request_size=12,
        )
        kind = _struct(
            ("evaluator", ctypes.c_void_p),
            ("requests", ctypes.c_void_p),
            ("num_requests", ctypes.c_size_t),
            ("request_size", ctypes.c_size_t),
            ("request_stride", ctypes.c_size_t),
            ("names", ctypes.POINTER(ctypes.c_char_p)),
            ("num_names", ctypes.c_size_t),
            ("optional_names", ctypes.c_void_p),
            ("num_optional_names", ctypes.c_size_t),
        )
        given = {
            "evaluator": self._evaluator,
            "requests": ctypes.addressof(request),
            "num_requests": 1,
            "request_size": 12,
            "request_stride": 16,
        }
        function = "NVPW_MetricsEvaluator_GetMetricRawDependencies"
        count = self._call(function, kind, **given).num_names
        names = (ctypes.c_char_p * count)()
        self._call(function, kind, **given, names=names, num_names=count)
        assert count > 0
        return frozenset(name for name in names if name is not None)

    def _call(self, function: str, kind: type[ctypes.Structure], **fields: object) -> ctypes.Structure:
        params = kind(size=ctypes.sizeof(kind), **fields)
        assert getattr(self._perfworks, function)(ctypes.byref(params)) == 0, function
        return params


def _struct(*fields: tuple[str, type]) -> type[ctypes.Structure]:
    head = [("size_of_struct", ctypes.c_size_t), ("private", ctypes.c_void_p)]
    kind = type("Params", (ctypes.Structure,), {"_fields_": [*head, *fields]})

    def init(self: ctypes.Structure, size: int, **given: object) -> None:
        ctypes.Structure.__init__(self, size, None, **given)

    kind.__init__ = init  # type: ignore[method-assign]
    return kind


@cache
def raw_counters(chip: str) -> RawCounters:
    return RawCounters(chip, Path(real_cupti()[0][0], "nvidia/cu13/lib/libnvperf_host.so"))


@cache
def raw(chip: str, metric: str) -> frozenset[bytes]:
    return raw_counters(chip).of(metric)


def assert_counted_once(chip: str, offered: set[str], counted: list[str]) -> None:
    """The counted metrics share no raw counter, and have every raw counter of the offered ones.

    A _realtime twin counts the same work by other counters, so it stands for its plain name.
    """
    names = [plain(name) for name in counted]
    total = sum(len(raw(chip, name)) for name in names)
    union = frozenset().union(*(raw(chip, name) for name in names))
    assert len(union) == total, "some work is counted twice"
    assert union == frozenset().union(*(raw(chip, name) for name in offered))


def tensor_metrics(chip: str) -> set[str]:
    return {m for m in base_metrics(chip) if m.startswith(TENSOR) and m == plain(m)}


def floating_metrics(chip: str) -> set[str]:
    return {m for m in tensor_metrics(chip) if "_int" not in m and "_sparsity" not in m}


def test_the_list_of_chips_is_complete() -> None:
    assert set(_native.chips()) - {"GV100", "GV11B"} == set(CHIPS)
    assert {chip for chip in CHIPS if not tensor_metrics(chip)} == NO_TENSOR_METRICS


@pytest.mark.parametrize("chip", CHIPS)
def test_every_group_takes_one_pass(chip: str) -> None:
    groups = plan_of(chip).groups
    assert [g.role for g in groups].count("base") == 1
    assert [g.role for g in groups].count("cuda-core") == 1
    assert [g.role for g in groups].count("link") == 1
    for group in groups:
        assert {m.removesuffix(".sum") for m in group.metrics} <= base_metrics(chip)
        assert len(set(group.metrics)) == len(group.metrics)
        assert group.passes == 1
        assert _native.passes(chip, group.metrics) == 1
        assert (CYCLES in group.metrics) == (group.role != "cuda-core")
    assert plan_of(chip).unsupported == []


@pytest.mark.parametrize("chip", CHIPS)
def test_every_floating_point_tensor_operation_is_counted_once(chip: str) -> None:
    counted = planned(chip, "base", "rotating")
    assert bool(counted) == (chip not in NO_TENSOR_METRICS)
    assert not any("_int" in m or "_sparsity" in m or m.startswith("smsp__") for m in counted)
    assert_counted_once(chip, floating_metrics(chip), counted)


@pytest.mark.parametrize("chip", CHIPS)
def test_integer_operations_are_counted_once_and_apart(chip: str) -> None:
    counted = planned(chip, "integer")
    assert bool(counted) == (chip not in NO_TENSOR_METRICS)
    assert_counted_once(chip, {m for m in tensor_metrics(chip) if "_int" in m and "_sparsity" not in m}, counted)


@pytest.mark.parametrize("chip", CHIPS)
def test_sparse_operations_are_counted_once_and_apart(chip: str) -> None:
    offered = {m for m in tensor_metrics(chip) if m.endswith("_sparsity_on") and "_int" not in m}
    assert bool(offered) == (not chip.startswith("TU"))
    assert_counted_once(chip, offered, planned(chip, "sparse"))


@pytest.mark.parametrize("chip", CHIPS)
def test_every_cuda_core_operation_is_counted_once(chip: str) -> None:
    pattern = r"smsp__sass_thread_inst_executed_op_[a-z](add|mul|fma)\d?_pred_on"
    offered = {m for m in base_metrics(chip) if re.fullmatch(pattern, m)}
    counted = planned(chip, "cuda-core")
    assert set(counted) == offered
    assert len(offered) == (15 if chip in {"GB100", "GB102", "GB110"} else 9)
    # CUPTI's own sums over add, mul and fma are made of the same raw counters.
    sums = {m for m in base_metrics(chip) if re.fullmatch(r"smsp__sass_thread_inst_executed_ops_\w+_pred_on", m)}
    assert_counted_once(chip, sums, counted)
    [group] = [g for g in plan_of(chip).groups if g.role == "cuda-core"]
    assert "smsp__sass_thread_inst_executed.sum" in group.metrics


@pytest.mark.parametrize("chip", CHIPS)
def test_no_metric_is_beside_its_parent(chip: str) -> None:
    parents = {row.name: row.parent for row in _native.catalogue()}
    for roles in (("base", "rotating"), ("integer",), ("sparse",)):
        names = {plain(m) for m in planned(chip, *roles)}
        for name in names:
            ancestor = parents[name]
            while ancestor:
                assert ancestor not in names
                ancestor = parents[ancestor]


@pytest.mark.parametrize("chip", CHIPS)
def test_catalogue_parents_contain_their_children(chip: str) -> None:
    """Of one kind: a parent's raw counters are those of its children, where the chip splits it."""
    rows = {r.name: r for r in _native.catalogue() if r.name in tensor_metrics(chip) and r.kind != "sparse"}
    parents = {r.name: r.parent for r in _native.catalogue()}
    children: dict[str, list[str]] = {}
    for name, row in rows.items():
        ancestor = parents[name]
        while ancestor and ancestor not in rows:
            ancestor = parents[ancestor]
        if ancestor and rows[ancestor].kind == row.kind:
            children.setdefault(ancestor, []).append(name)
    for parent, names in children.items():
        assert_counted_once(chip, {parent}, names)


@pytest.mark.parametrize("chip", CHIPS)
def test_the_base_group_is_full_and_the_rotating_groups_are_the_fewest(chip: str) -> None:
    base = planned(chip, "base")
    counted = frozenset().union(*(raw(chip, plain(m)) for m in base))
    leaves = [leaf for leaf in leaf_counters(chip) if not leaf <= counted]
    [base_group] = [g for g in plan_of(chip).groups if g.role == "base"]
    for leaf in leaves:
        for form in forms_of(chip, leaf):
            assert not single_pass(chip, frozenset({*base_group.metrics, form}))
    assert [g.role for g in plan_of(chip).groups].count("rotating") == fewest_groups(chip, leaves)


def leaf_counters(chip: str) -> list[frozenset[bytes]]:
    """The finest split of the floating-point tensor operations that the chip offers."""
    sets = {raw(chip, m) for m in floating_metrics(chip)}
    return sorted((s for s in sets if not any(other < s for other in sets)), key=sorted)


def forms_of(chip: str, leaf: frozenset[bytes]) -> list[str]:
    names = [m for m in floating_metrics(chip) if raw(chip, m) == leaf]
    twins = [f"{m}_realtime" for m in names if f"{m}_realtime" in base_metrics(chip)]
    return sorted(f"{m}.sum" for m in names + twins)


def fewest_groups(chip: str, leaves: list[frozenset[bytes]]) -> int:
    """By brute force: all single-pass sets of leaves, level by level, then the smallest cover.

    Leaves suffice: a parent has the raw counters of its leaves, so it fits nowhere where they do not.
    """
    elements = [(bit, form) for bit, leaf in enumerate(leaves) for form in forms_of(chip, leaf)]
    level = {frozenset({e}) for e in elements if single_pass(chip, frozenset({e[1], CYCLES}))}
    fitting = set(level)
    while level:
        larger = {s | {e} for s in level for e in elements if all(e[0] != bit for bit, _ in s)}
        level = {
            s
            for s in larger
            if all(frozenset(part) in fitting for part in itertools.combinations(s, len(s) - 1))
            and single_pass(chip, frozenset({CYCLES, *(form for _, form in s)}))
        }
        fitting |= level
    masks = {sum(1 << bit for bit, _ in s) for s in fitting}
    reached, count, everything = {0}, 0, (1 << len(leaves)) - 1
    while everything not in reached:
        reached = {done | mask for done in reached for mask in masks}
        count += 1
        assert count <= len(leaves), "a leaf fits into no pass"
    return count


def test_the_groups_of_an_h100() -> None:
    groups = [g for g in plan_of("GH100").groups if g.role in {"base", "rotating"}]
    assert [[m.removeprefix(TENSOR) for m in g.metrics] for g in groups] == [
        ["src_bf16_dst_fp32.sum", "op_hgmma_src_fp16.sum", "src_fp8.sum", CYCLES],
        ["op_hmma_src_fp16_dst_fp32.sum", CYCLES],
        ["op_hmma_src_fp16_dst_fp16.sum", "src_fp64.sum", CYCLES],
        ["src_tf32_dst_fp32.sum", CYCLES],
    ]


@pytest.mark.parametrize("chip", sorted(NO_TENSOR_METRICS))
def test_a_chip_without_tensor_metrics_has_the_cycles_alone_as_its_base(chip: str) -> None:
    assert [g.role for g in plan_of(chip).groups] == ["base", "cuda-core", "link"]
    assert plan_of(chip).groups[0].metrics == [CYCLES]


@pytest.mark.parametrize("chip", CHIPS)
def test_planning_asks_few_questions(chip: str) -> None:
    # 1 to 3 ms each; enumerating all pairs of a Blackwell chip alone would be some 3000.
    assert 0 < plan_of(chip).questions <= 600


def test_every_row_of_the_catalogue_is_on_some_chip() -> None:
    offered = frozenset().union(*(base_metrics(chip) for chip in CHIPS))
    rows = _native.catalogue()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.name in offered
        assert row.parent == "" or row.parent in {other.name for other in rows}
        assert row.unit in {"operation", "instruction", "cycle"}


@pytest.mark.parametrize("chip", CHIPS)
def test_units_agree_with_cupti(chip: str) -> None:
    units = {"operation": "math_op", "instruction": "instruction", "cycle": "gpc_cycle"}
    rows = [row for row in _native.catalogue() if row.name in base_metrics(chip)]
    assert len(rows) >= 12
    for row in rows:
        properties = _native.properties(chip, f"{row.name}.sum")
        assert properties is not None
        assert properties.dimension == units[row.unit]


def test_a_configuration_that_cupti_refuses_is_an_error_with_all_its_parts() -> None:
    with pytest.raises(_native.CuptiError) as caught:
        _native.passes("GH100", ["sm__no_such_metric.sum"])
    assert caught.value.call == "cuptiProfilerHostConfigAddMetrics"
    assert caught.value.code == 1
    assert "CUPTI_ERROR_INVALID_PARAMETER" in caught.value.name
    assert "sm__no_such_metric.sum" in str(caught.value)
    with pytest.raises(_native.CuptiError, match="chip XX999"):
        _native.plan("XX999")
    assert _native.properties("GH100", "sm__no_such_metric.sum") is None
    assert ".sum" in _native.sub_metrics("GH100", CYCLES)
