"""A counter-data image as Perfworks lays it out for some metrics, in which nothing was counted. Needs no GPU.

It is made by functions that libnvperf_host exports and its headers do not declare, in the form that 13.0 has them: good
for a test of how the real CUPTI takes an image, and for nothing else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path


class _Request(ctypes.Structure):  # NVPA_RawMetricRequest
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("private", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("isolated", ctypes.c_uint8),
        ("keep_instances", ctypes.c_uint8),
    )


class _Layout(ctypes.Structure):
    _fields_ = (
        ("prefix", ctypes.c_void_p),
        ("prefix_size", ctypes.c_size_t),
        ("most_ranges", ctypes.c_uint32),
        ("most_nodes", ctypes.c_uint32),
        ("name_length", ctypes.c_uint32),
    )


class _Parameters:
    """Calls a function whose parameters are this many words behind its size, and gives the words back."""

    def __init__(self, library: Path) -> None:
        self._perfworks = ctypes.CDLL(str(library))

    def __call__(self, function: str, *words: int) -> list[int]:
        block = (ctypes.c_uint64 * (2 + len(words)))(8 * (2 + len(words)), 0, *words)
        assert getattr(self._perfworks, function)(block) == 0, function
        return list(block)[2:]


def unmeasured_image(library: Path, chip: str, raw_counters: Iterable[bytes]) -> bytes:
    """An image with one range for these raw counters. ``library`` is libnvperf_host.so of 13.0."""
    call = _Parameters(library)
    call("NVPW_InitializeHost")
    prefix = _prefix(call, chip, sorted(raw_counters))
    held = ctypes.create_string_buffer(prefix, len(prefix))
    layout = _Layout(ctypes.addressof(held), len(prefix), 1, 1, 64)
    about = ctypes.sizeof(layout), ctypes.addressof(layout)
    size = call("NVPW_CUDA_Profiler_CounterDataImage_CalculateSize", *about, 0)[-1]
    image = ctypes.create_string_buffer(size)
    call("NVPW_CUDA_Profiler_CounterDataImage_Initialize", *about, size, ctypes.addressof(image))
    combiner = call("NVPW_CounterDataCombiner_Create", ctypes.addressof(image), 0)[-1]
    name = (ctypes.c_char_p * 1)(b"window")
    call("NVPW_CounterDataCombiner_CreateRange", combiner, 1, ctypes.addressof(name), 0)
    return image.raw


def _prefix(call: _Parameters, chip: str, raw_counters: list[bytes]) -> bytes:
    named = ctypes.c_char_p(chip.encode())
    address = ctypes.cast(named, ctypes.c_void_p).value
    assert address is not None
    builder = call("NVPW_CUDA_CounterDataBuilder_Create", address, 0, 0)[-1]
    requests = (_Request * len(raw_counters))(*[_Request(26, None, name, 1, 1) for name in raw_counters])
    call("NVPW_CounterDataBuilder_AddMetrics", builder, ctypes.addressof(requests), len(requests))
    size = call("NVPW_CounterDataBuilder_GetCounterDataPrefix", builder, 0, 0, 0)[-1]
    buffer = ctypes.create_string_buffer(size)
    call("NVPW_CounterDataBuilder_GetCounterDataPrefix", builder, size, ctypes.addressof(buffer), 0)
    return buffer.raw
