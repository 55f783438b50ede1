"""Plays matrix libraries on the stand-in driver: a product launches the kernel that the script names for it.

Nothing is multiplied, and what is counted says nothing about hardware. The real libraries need a GPU.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

_cuda = ctypes.CDLL("libcuda.so.1")


def call(name: str, *arguments: Any) -> None:
    """Call the stand-in driver, in the context that is current."""
    if code := getattr(_cuda, name)(*arguments):
        raise RuntimeError(f"{name}: CUDA error {code}")


@functools.cache
def _function(kernel: str) -> ctypes.c_void_p:
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuModuleLoadData", ctypes.byref(module), b"any")
    call("cuModuleGetFunction", ctypes.byref(function), module, kernel.encode())
    return function


def launch(kernel: str, stream: int | None = None) -> None:
    """By the name that the script has."""
    call("cuLaunchKernel", _function(kernel), 1, 1, 1, 1, 1, 1, 0, ctypes.c_void_p(stream), None, None)


class Matrix:
    """What a product needs to know of one."""

    def __init__(self, shape: Any, dtype: str) -> None:
        self.shape = shape if isinstance(shape, tuple) else (shape,)
        self.dtype = dtype

    def to(self, dtype: str) -> Matrix:
        return Matrix(self.shape, dtype)

    view = to

    def t(self) -> Matrix:
        return Matrix(self.shape[::-1], self.dtype)
