"""ftprof counts the floating-point operations that a training run executes and judges them by policy."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
