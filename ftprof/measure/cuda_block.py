"""What blocks that are counted on a GPU have in common: its contexts, its pending work, and stream captures."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ftprof.measure.analytic.hook import clock_zero_us, end_of_capture
from ftprof.measure.block import CannotCount, Line, waited
from ftprof.measure.injection import injected_capturing
from ftprof.record.canonical import FIRST_HASH
from ftprof.record.explanation import explain

if TYPE_CHECKING:
    from ftprof import _native

UNSETTLED_BEFORE = "what was launched before the block had not ended when it began, and may be in its figures"
UNSETTLED_AFTER = "what was launched in the block had not ended when it was left, and is not in its figures"


class _Pending:
    """The wait for the GPU that is under way; where the GPU hangs, it stays the only one."""

    settling: _native.Settling | None = None

    @classmethod
    def forget(cls) -> None:
        cls.settling = None


os.register_at_fork(after_in_child=_Pending.forget)
_captures: set[int] = set()  # the graphs whose capture is under way


def native() -> Any:
    """The native module. Raises ``CannotCount`` where this installation has none that works."""
    try:
        from ftprof import _native
    except ImportError as error:
        raise CannotCount(f"the native module is missing from this installation of ftprof ({error})") from error
    _native.set_clock_zero(clock_zero_us())
    return _native


def contexts() -> list[_native.CudaContext]:
    """The contexts that a block can count: see ``_native.cuda_contexts``. Raises ``CannotCount``."""
    module = native()
    try:
        return list(module.cuda_contexts())
    except module.CuptiError as error:
        raise CannotCount(f"the CUDA driver failed: {error}") from error


def settle(found: Sequence[_native.CudaContext], patience_s: float) -> bool:
    """Wait until the GPU has done what was launched so far. False where that took too long.

    While a stream is being captured nothing is waited for: captured work is not executed, and waiting could spoil it.
    """
    if not found or capturing():
        return True
    if _Pending.settling is None or _Pending.settling.done(0):
        _Pending.settling = native().Settling(found)
    return waited(_Pending.settling.done, patience_s, hopeless=capturing)


def capturing() -> bool:
    """Whether a stream capture is known to be under way. Until its end no window is opened or closed."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return (
        bool(_captures)
        or native().capturing()
        or injected_capturing()
        or (cuda is not None and bool(cuda.is_initialized()) and bool(cuda.is_current_stream_capturing()))
    )


def announce_captures(graph: Any) -> None:
    """Tell the meters of this process of every capture of torch's ``CUDAGraph``: code is never patched during one."""
    if getattr(graph.capture_begin, "_ftprof", False):
        return
    module = native()
    last = end_of_capture(graph)
    begin, end = graph.capture_begin, getattr(graph, last)

    def begins(capture: Any) -> None:
        _captures.add(id(capture))
        _quietly(module.capture_begins)

    def ends(capture: Any) -> None:
        _captures.discard(id(capture))
        _quietly(module.capture_ends)

    def began(self: Any, *args: Any, **kwargs: Any) -> Any:
        begins(self)
        try:
            return begin(self, *args, **kwargs)
        except BaseException:
            ends(self)
            raise

    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return end(self, *args, **kwargs)
        finally:
            ends(self)

    began._ftprof = True  # type: ignore[attr-defined]
    if capturing():
        _quietly(module.capture_begins)  # its end will be told
    graph.capture_begin = began
    setattr(graph, last, ended)
    module.captures_are_announced()


def _quietly(tell: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # the capture must go on whatever the meter does
        tell()


def why_not(gap: Line) -> str:
    """Why nobody counted in a gap, for the user: what it means, the call, what to do."""
    known = explain(gap["call"], gap["code"])
    meaning = known.reason.partition(": ")[2] or gap["reason"]
    code = f", error {gap['code']}" if gap["code"] else ""
    remedy = gap["remedy"] or known.remedy
    return f"{meaning} ({gap['call']}{code})" + (f"; {remedy}" if remedy else "")


def clipped(gaps: Iterable[Line], context: int, begin_us: int, end_us: int) -> list[Line]:
    """The lines of gaps, as far as they lie in a time; with those of no length, which tell of the whole context."""
    lines = []
    for gap in gaps:
        begin, end = max(gap["begin_us"], begin_us), min(gap["end_us"], end_us)
        if begin < end or gap["begin_us"] == gap["end_us"] <= end_us:
            lines.append({**gap, "kind": "gap", "context": context, "begin_us": begin, "end_us": max(begin, end)})
    return lines


def strata_line(strata: Sequence[Line]) -> list[Line]:
    """The line that gives a block's windows as sums; none where it has none."""
    if not strata:
        return []
    return [
        {
            "kind": "rollup",
            "replaces_head": FIRST_HASH,
            "replaced_lines": 0,
            "first_us": min(stratum["begin_us"] for stratum in strata),
            "last_us": max(stratum["end_us"] for stratum in strata),
            "strata": list(strata),
        }
    ]


def uncounted_line(device: int, what: str) -> Line:
    """Work on a device that may have happened and was not counted."""
    return {"kind": "uncounted", "context": None, "device": f"cuda:{device}", "what": what}
