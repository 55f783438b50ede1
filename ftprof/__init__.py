"""ftprof counts the floating-point operations that a training run executes and judges them by policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftprof.counting import FtprofWarning as FtprofWarning
    from ftprof.counting import Run as Run
    from ftprof.counting import count as count
    from ftprof.counting import current as current
    from ftprof.errors import FtprofError as FtprofError
    from ftprof.phases import phase as phase
    from ftprof.result import Result as Result

__version__ = "0.1.0"
__all__ = ["FtprofError", "FtprofWarning", "Result", "Run", "__version__", "count", "current", "phase"]
_HOMES = {
    "FtprofError": "errors",
    "FtprofWarning": "counting",
    "Result": "result",
    "Run": "counting",
    "count": "counting",
    "current": "counting",
    "phase": "phases",
}


def __dir__() -> list[str]:
    """What users may call, also before it was imported."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """What is not needed by every command is imported when it is asked for."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
