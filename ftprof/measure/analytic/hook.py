"""Counts floating-point operations inside a Python process that imports torch, without a change to its code.

This one file needs only the standard library and torch, since it also runs where ftprof is not installed: the
``bootstrap`` folder beside it is first on PYTHONPATH and loads it into every Python process of a run. When torch
is imported, each operator that does work gets a kernel for the dispatch key BackendSelect, below autograd and
above every backend. The kernel calls the next one, looks the operator's shapes up, and adds what the formula
gives. Nothing that it does may raise into the operator that it watches; what the program's own signal handlers raise
in its midst goes on to the program.

What it writes is a journal (ftprof/record/journal.py reads it): JSON lines, each with the hash of the one before.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

SCHEMA = "ftprof.journal/1"
_FIRST_HASH = "0" * 64
_SHORTEST_WINDOW_S = 1.0
_LONGEST_WINDOW_S = 30.0
_KNOWN_SHAPES = 4096
_KNOWN_NUMBERS = 4096
PHASES = ("train", "recompute", "evaluate", "generate", "auxiliary")
Place = tuple[str, str, str]  # operator, precision, device
Cell = tuple[str, str, str, str]  # the same, and the phase
Other = tuple[str, str]  # what kind of thing went uncounted, and its name

# ---------------------------------------------------------------- formulas


def extra_formulas() -> dict[Any, Callable[..., int]]:
    """Formulas that torch lacks or gets wrong, as ``FlopCounterMode(custom_mapping=...)`` takes them.

    Each takes the operator's shapes and gives its operations, a multiply-add being two. Attention is counted
    as torch counts it: the full square, also under a causal mask, and five products in the backward.
    """
    import torch

    aten = torch.ops.aten
    table: dict[str, Callable[..., int]] = {
        "addmm": lambda _c, a, b, *_, **__: _product(a, b),
        "bmm": lambda a, b, *_, **__: _product(a, b),
        "baddbmm": lambda _c, a, b, *_, **__: _product(a, b),
        "mv": lambda a, _x, *_, **__: 2 * _size(a),
        "addmv": lambda _c, a, _x, *_, **__: 2 * _size(a),
        "dot": lambda a, _b, *_, **__: 2 * _size(a),
        "vdot": lambda a, _b, *_, **__: 2 * _size(a),
        "addr": lambda c, *_, **__: 2 * _size(c),
        "_addmm_activation": lambda _c, a, b, *_, **__: _product(a, b),
        "_grouped_mm": lambda a, b, *_, **__: _grouped_product(a, b),
        "convolution_backward": _convolution_backward,
        "mkldnn_rnn_layer": _recurrent_layer,
        "mkldnn_rnn_layer_backward": lambda *a, **k: 2 * _recurrent_layer(*a, **k),
        "_scaled_dot_product_flash_attention_for_cpu": lambda q, k, v, *_, **__: _attention(q, k, v),
        "_scaled_dot_product_flash_attention_for_cpu_backward": (
            lambda _g, q, k, v, *_, **__: _attention_backward(q, k, v)
        ),
    }
    in_place = {f"{name}_": formula for name, formula in table.items()}
    return {getattr(aten, name): formula for name, formula in {**table, **in_place}.items() if hasattr(aten, name)}


def _size(shape: Iterable[int]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _product(a: Any, b: Any) -> int:
    """Two matrices, or two stacks of as many: 2 m k n each."""
    return 2 * _size(a) * int(b[-1])


def _grouped_product(a: Any, b: Any) -> int:
    """A product over groups; where both are flat, the groups share out the inner extent."""
    return 2 * _size(a) * int(b[-1]) if len(b) == 2 or len(a) == 3 else 2 * int(a[0]) * _size(b[1:])


def _attention(query: Any, key: Any, value: Any) -> int:
    rows = _size(query[:-1])
    return 2 * rows * int(key[-2]) * (int(query[-1]) + int(value[-1]))


def _attention_backward(query: Any, key: Any, value: Any) -> int:
    """Scores again, then the gradients of scores, values, queries and keys."""
    rows = _size(query[:-1])
    return 2 * rows * int(key[-2]) * (3 * int(query[-1]) + 2 * int(value[-1]))


def _recurrent_layer(x: Any, weight_input: Any, weight_hidden: Any, *_: Any, **__: Any) -> int:
    """One direction of one layer: at each step of each sequence, both weight matrices times a vector."""
    return 2 * _size(x[:-1]) * (_size(weight_input) + _size(weight_hidden))


def _convolution_backward(
    grad: Any,
    x: Any,
    weight: Any,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Any,
    *_: Any,
    **__: Any,
) -> int:
    """As many as the forward for each gradient that is asked for.

    torch's own formula does not divide the weight's gradient by the groups (torch 2.13), which is out by the
    number of channels for a depthwise convolution.
    """
    positions = _size((x if transposed else grad)[2:])
    forward = 2 * int(grad[0]) * positions * _size(weight)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


# ---------------------------------------------------------------- which operators are watched

_FAMILIES = (
    ("attention", re.compile(r"attention|attn|flash|sdpa")),
    ("recurrent", re.compile(r"rnn|lstm|gru(?:_|$)")),
    ("convolution", re.compile(r"conv(?!ert)")),
    ("matmul", re.compile(r"mm(?:$|[._0-9])|matmul|gemm|gemv|linear(?!1d)|trilinear$|mv$|vdot")),
    (
        "decomposition",
        re.compile(r"^_?(?:linalg_(?!vector_norm|cross|diagonal)|cholesky|geqrf|orm?qr|orgqr|triangular_s)"),
    ),
    ("distance", re.compile(r"^_?[cp]dist(?:_|$)")),
    ("fourier", re.compile(r"^_?fft_(?!fftfreq|rfftfreq|fftshift|ifftshift)")),
)
_NOT_A_FAMILY = re.compile(
    r"upsample|linear_combination|prepack|reorder|unpack|flatten_weight|_fused_(?:lstm|gru)_cell|lgamma|gamma"
)
# Extensions whose kernels are called past torch's dispatcher, so that nothing here sees them.
UNSEEN_EXTENSIONS = {
    "flash_attn_2_cuda": "attention",
    "flash_attn_3_cuda": "attention",
    "flash_attn_3._C": "attention",
    "xformers._C": "attention",
    "transformer_engine_torch": "matmul",
    "selective_scan_cuda": "recurrent",
    "causal_conv1d_cuda": "convolution",
    "deep_gemm_cpp": "matmul",
    "vllm._C": "matmul",
}
_SILENT_NAMESPACES = {
    "prim", "prims", "rngprims", "debugprims", "inductor_prims", "profiler", "_test", "static_runtime",
    "quantization", "symm_mem", "streams", "debug_mode_ops", "export", "_native", "_dtensor", "mkldnn_prepacked",
}  # fmt: skip
_KNOWN_NAMESPACES = {
    "aten", "c10d", "_c10d_functional", "_c10d_functional_autograd", "quantized", "_quantized", "mkldnn", "mkl",
    "onednn", "sparse", "inductor", "torchvision", "bitsandbytes", "torchaudio", "fsdp", "c10d_functional",
    "flex_lib", "onnx",
}  # fmt: skip
_MOVES_NOTHING = re.compile(
    r"^aten::_?(?:empty|new_empty|resize|set_|detach|alias|lift|record_stream|sym_|is_|has_|fused_sdp_choice"
    r"|fw_primal|make_dual|unpack_dual|conj|neg_view|pin_memory|to_cpu|coalesced|indices|values|nested_|assert"
    r"|local_scalar_dense|unsafe_view|reshape_alias|version|cast_|foobar|print|debug|functional|storage|data)"
)


def _family(name: str) -> str | None:
    """The family of work that an operator's name speaks of, else None."""
    short = name.split("::")[-1].lower()
    if not _NOT_A_FAMILY.search(short):
        for family, pattern in _FAMILIES:
            if pattern.search(short):
                return family
    return None


def unbounded_family(other: Other) -> str | None:
    """The family of uncounted work that nothing bounds, so that the interval stays open above; else None.

    An operator of a namespace that torch does not ship, and a Triton kernel, may do anything at all.
    """
    kind, name = other
    if kind == "operator":
        known = name.split("::")[0] in _KNOWN_NAMESPACES
        return _family(name) or (None if known else "unknown")
    if kind in ("formula", "interrupted"):
        return _family(name) or "matmul"
    if kind == "inductor":
        return _family(name) or ("matmul" if _FUSED_PRODUCT.search(name) else None)
    if kind == "extension":
        return UNSEEN_EXTENSIONS[name]
    return "unknown" if kind in ("triton", "inductor template", "compiled code", "cuda graph") else None


def _may_work(name: str) -> bool:
    """Whether an operator without a formula can move numbers, by its name and kernels."""
    import torch

    if name.split("::")[0] in _SILENT_NAMESPACES or _MOVES_NOTHING.match(name):
        return False
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return not has(name, "CompositeImplicitAutograd") and not has(name, "BackendSelect")


class _NumberTensors:
    """Plain numbers as the marked tensors ("wrapped numbers") that torch makes of them for ``x * 2.0``.

    Where a schema has a tensor and the user gave a number, torch passes a tensor of no dimension, marked so that it
    does not widen the result. A kernel in Python gets the plain number instead, and torch refuses that on the way
    back. Python cannot mark a tensor, but autograd keeps the marked operand of a product and gives it out.
    """

    def __init__(self) -> None:
        import torch

        # A kernel runs below autograd: the thread's state is exchanged for this one while a number is made.
        self._include = torch._C._dispatch_tls_local_include_set()
        self._exclude = torch._C._dispatch_tls_local_exclude_set()
        self.factor = torch.ones((), device="cpu", requires_grad=True)
        self._product = torch.ones((), device="cpu")
        self._known: dict[tuple[type, Any], Any] = {}
        marked = self.of(2)
        if torch.result_type(torch.ones((), device="cpu", dtype=torch.int8), marked) != torch.int8:
            raise RuntimeError("this torch gives no marked number out")

    def of(self, number: Any) -> Any:
        """The tensor that stands for ``number``, which nobody may write to."""
        # A complex number's parts have signs that equality does not see, and branch cuts do: by its text.
        key = (type(number), repr(number) if type(number) is complex else number)
        found = self._known.get(key)
        if found is None:
            found = self._make(number)
            if number == number and (number != 0 or type(number) is complex):  # -0.0 equals 0.0, and nan nothing
                if len(self._known) >= _KNOWN_NUMBERS:
                    self._known.clear()
                self._known[key] = found
        return found

    def _make(self, number: Any) -> Any:
        import torch

        with (
            torch._C._ForceDispatchKeyGuard(self._include, self._exclude),
            torch._C.DisableTorchFunction(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            return (self.factor * number).grad_fn._saved_other

    def product(self) -> Any:
        """What a product with ``factor`` gives: anything, as long as autograd may keep a history of it."""
        return self._product.detach()


def _number_tensors() -> _NumberTensors | None:
    """None with a torch whose autograd keeps its operands in another way."""
    try:
        return _NumberTensors()
    except (AttributeError, RuntimeError, TypeError):
        return None


def _takes_numbers_for_tensors(namespace: str, base: str) -> bool:
    """Whether a number may stand where a schema of the operator has a tensor, as in ``x * 2.0``.

    Only where torch gives out no marked number: a kernel of ours would then break the user's call.
    """
    import torch

    if torch._C._should_allow_numbers_as_tensors(base):
        return True
    packet = getattr(getattr(torch.ops, namespace), base.rstrip("_"), None)
    if packet is None:
        return False
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
    # An overload of numbers alone (exp, sqrt ...) is TorchScript's own and takes no tensor's place.
    return any(
        any("Tensor" in str(argument.type) for argument in schema.arguments) and "Scalar" in schema.overload_name
        for schema in schemas
    )


def _number_positions(schema: Any) -> tuple[int, ...]:
    """Where a schema has a tensor that it only reads, for which torch may pass a number."""
    return tuple(
        position
        for position, argument in enumerate(schema.arguments)
        if str(argument.type) in ("Tensor", "Optional[Tensor]") and argument.alias_info is None
    )


def _works_on_tensors(schema: Any) -> bool:
    """Takes tensors, and writes to one or gives a new one: no view, no allocation."""
    takes = any("Tensor" in str(a.type) for a in schema.arguments)
    writes = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
    gives = any("Tensor" in str(r.type) and r.alias_info is None for r in schema.returns)
    return takes and (writes or gives)


def all_formulas() -> dict[str, Callable[..., int]]:
    """By the operator's name: torch's, and ours where torch has none or a worse one.

    ``ftprof estimate`` applies the same ones to a pass without data.
    """
    from torch.utils.flop_counter import flop_registry, shape_wrapper

    by_name: dict[str, Callable[..., int]] = {}
    for packet, formula in flop_registry.items():
        name = getattr(packet, "_qualified_op_name", None)
        if name:
            by_name[name] = formula
    for packet, formula in extra_formulas().items():
        by_name[packet._qualified_op_name] = shape_wrapper(formula)  # type: ignore[no-untyped-call]
    for name in [name for name in by_name if name.startswith("aten::")]:
        by_name.setdefault(name + "_", by_name[name])  # the form in place, where there is one
    for name, position in _SEQUENCE_LENGTHS.items():
        if name in by_name:
            by_name[name] = _without_lengths(by_name[name], position)
    return by_name


# Where sequences of different lengths are packed, their lengths lie on the device: reading them would make the
# training wait for its GPU, and break a graph capture.
_SEQUENCE_LENGTHS = {
    "aten::_flash_attention_forward": 3,
    "aten::_flash_attention_backward": 6,
    "aten::_efficient_attention_forward": 4,
    "aten::_efficient_attention_backward": 6,
}


def _without_lengths(formula: Callable[..., int], position: int) -> Callable[..., int]:
    def guarded(*args: Any, **kwargs: Any) -> int:
        if args[position] is not None:
            raise NotImplementedError("the sequences' lengths lie on the device")
        return formula(*args, **kwargs)

    return guarded


# ---------------------------------------------------------------- phases


class Phases:
    """Which phase of the training each thread is in; the innermost that it has entered, else ``train``.

    A thread that has entered none works for the main thread, and is in its phase: autograd has a thread for each GPU.
    """

    def __init__(self) -> None:
        self.main: list[str] = []  # what the main thread has entered
        self.at_first: Callable[[], object] | None = None  # called before the first phase is entered, once
        self._local = threading.local()

    def entered(self) -> list[str]:
        """What this thread has entered; the list stays the same one."""
        try:
            stack: list[str] = self._local.stack
        except AttributeError:
            stack = self.main if threading.get_ident() == threading.main_thread().ident else []
            self._local.stack = stack
        return stack

    def enter(self, phase: str) -> None:
        """This thread is in ``phase`` until it leaves it."""
        begin, self.at_first = self.at_first, None
        if begin is not None:
            begin()
        self.entered().append(phase)

    def leave(self, phase: str) -> None:
        """Leave the innermost phase of this name: generators and callbacks may end in another order."""
        stack = self.entered()
        for position in range(len(stack) - 1, -1, -1):
            if stack[position] == phase:
                del stack[position]
                return

    def inside(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, which is in ``phase`` while it runs."""

        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            self.enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave(phase)

        return entered

    def after_fork(self) -> None:
        """The thread that forked is the child's main one."""
        self.main = self.entered()


phases = Phases()


def watch_checkpoints(module: Any) -> None:
    """Torch's activation checkpointing (``torch.utils.checkpoint``): the forward that its backward does again."""
    function, frame = module.CheckpointFunction, module._CheckpointFrame
    backward, make = function.backward, frame.__init__

    @functools.wraps(backward)
    def reentrant(ctx: Any, *gradients: Any) -> Any:
        run = ctx.run_function
        ctx.run_function = phases.inside("recompute", run)  # and not the backward that follows it in the same call
        try:
            return backward(ctx, *gradients)
        finally:
            ctx.run_function = run

    @functools.wraps(make)
    def made(self: Any, recompute_fn: Any, *args: Any, **kwargs: Any) -> None:
        make(self, phases.inside("recompute", recompute_fn), *args, **kwargs)

    function.backward, frame.__init__ = staticmethod(reentrant), made


def watch_trainer(module: Any) -> None:
    """The evaluation of the Hugging Face ``Trainer`` and of its subclasses."""
    trainer = module.Trainer
    for name in ("evaluate", "predict", "evaluation_loop", "prediction_loop"):
        if hasattr(trainer, name):
            setattr(trainer, name, phases.inside("evaluate", getattr(trainer, name)))


def watch_ranges(module: Any) -> None:
    """NVTX ranges whose message is the name of a phase, by ``torch.cuda.nvtx``."""
    push, pop, start, end = module.range_push, module.range_pop, module.range_start, module.range_end
    ranges = _Ranges()
    started: dict[Any, str] = {}

    @functools.wraps(push)
    def pushed(msg: Any) -> Any:
        depth = push(msg)
        ranges.push(msg)
        return depth

    @functools.wraps(pop)
    def popped() -> Any:
        ranges.pop()
        return pop()

    @functools.wraps(start)
    def began(msg: Any) -> Any:
        handle = start(msg)
        if msg in PHASES:
            started[handle] = msg
            phases.enter(msg)
        return handle

    @functools.wraps(end)
    def ended(range_id: Any) -> Any:
        phase = started.pop(range_id, None)
        if phase is not None:
            phases.leave(phase)
        return end(range_id)

    module.range_push, module.range_pop, module.range_start, module.range_end = pushed, popped, began, ended


def watch_nvtx(module: Any) -> None:
    """The same by the ``nvtx`` package: ``push_range``, and ``annotate`` as context manager and decorator."""
    push, pop, annotate = module.push_range, module.pop_range, module.annotate
    make, enter, leave, decorate = annotate.__init__, annotate.__enter__, annotate.__exit__, annotate.__call__
    ranges = _Ranges()

    @functools.wraps(push)
    def pushed(message: Any = None, *args: Any, **kwargs: Any) -> Any:
        push(message, *args, **kwargs)
        ranges.push(message)

    @functools.wraps(pop)
    def popped(*args: Any, **kwargs: Any) -> Any:
        ranges.pop()
        return pop(*args, **kwargs)

    @functools.wraps(make)
    def made(self: Any, message: Any = None, *args: Any, **kwargs: Any) -> None:
        make(self, message, *args, **kwargs)
        self.ftprof_message = message

    @functools.wraps(enter)
    def entered(self: Any) -> Any:
        ranges.push(self.ftprof_message)
        return enter(self)

    @functools.wraps(leave)
    def left(self: Any, *error: Any) -> Any:
        ranges.pop()
        return leave(self, *error)

    @functools.wraps(decorate)
    def decorated(self: Any, function: Any) -> Any:
        message = self.ftprof_message
        return decorate(self, phases.inside(message, function) if message in PHASES else function)

    for home in (module, sys.modules.get(push.__module__, module)):  # the package has them from a module inside it
        home.push_range, home.pop_range = pushed, popped
    annotate.__init__, annotate.__enter__, annotate.__exit__, annotate.__call__ = made, entered, left, decorated


class _Ranges(threading.local):
    """A thread's open ranges, each with the phase that it names, if any."""

    def __init__(self) -> None:
        self._open: list[str | None] = []

    def push(self, message: Any) -> None:
        phase = message if isinstance(message, str) and message in PHASES else None
        self._open.append(phase)
        if phase is not None:
            phases.enter(phase)

    def pop(self) -> None:
        phase = self._open.pop() if self._open else None
        if phase is not None:
            phases.leave(phase)


PHASE_WATCHERS: dict[str, Callable[[Any], None]] = {
    "torch.utils.checkpoint": watch_checkpoints,
    "torch.cuda.nvtx": watch_ranges,
    "transformers.trainer": watch_trainer,
    "nvtx": watch_nvtx,
}


# ---------------------------------------------------------------- counting


class _Tally:
    """What one thread has counted since its process began. Only that thread writes to it."""

    __slots__ = ("calls", "entered", "inside", "others", "paused", "places")

    def __init__(self) -> None:
        self.inside = False  # in the midst of an operator that is counted
        self.paused = False
        self.calls = 0
        self.entered = phases.entered()
        # By phase; no phase is ever added, so that another thread may go through them.
        self.places: dict[str, dict[Place, list[int]]] = {phase: {} for phase in PHASES}  # [calls, operations]
        self.others: dict[Other, int] = {}  # calls

    def cells(self) -> dict[Cell, list[int]]:
        # A copy of a dict is one step under the interpreter lock: the thread may go on counting.
        return {
            (*place, phase): count for phase, counts in self.places.items() for place, count in counts.copy().items()
        }

    def note(self, other: Other) -> None:
        self.others[other] = self.others.get(other, 0) + 1


class _Token:
    """Lives as long as its thread does."""

    __slots__ = ("__weakref__",)


class _PerThread(threading.local):
    def __init__(self, register: Callable[[_Tally, _Token], None]) -> None:
        self.token = _Token()
        self.tally = _Tally()
        register(self.tally, self.token)


class Totals:
    """Counts added up: of several threads, or of a time."""

    def __init__(self) -> None:
        self.cells: dict[Cell, list[int]] = {}
        self.others: dict[Other, int] = {}

    def add(self, cells: dict[Cell, list[int]], others: dict[Other, int]) -> None:
        """Add one thread's counts."""
        for cell, (calls, flops) in cells.items():
            into = self.cells.setdefault(cell, [0, 0])
            into[0] += calls
            into[1] += flops
        for other, calls in others.items():
            self.others[other] = self.others.get(other, 0) + calls

    def to_json(self) -> dict[str, Any]:
        """As a ``window`` line has it; a row without a phase belongs to the training itself."""
        return {
            "counts": [
                {"operator": o, "precision": p, "device": d, "calls": str(calls), "flops": str(flops)}
                | ({} if phase == "train" else {"phase": phase})
                for (o, p, d, phase), (calls, flops) in sorted(self.cells.items())
            ],
            "uncounted": [
                {"kind": kind, "name": name, "calls": str(calls), "family": unbounded_family((kind, name))}
                for (kind, name), calls in sorted(self.others.items())
            ],
        }

    def since(self, earlier: Totals) -> Totals:
        """What came after ``earlier``; what did not change is left out."""
        new = Totals()
        for cell, (calls, flops) in self.cells.items():
            old = earlier.cells.get(cell, [0, 0])
            if [calls, flops] != old:
                new.cells[cell] = [calls - old[0], flops - old[1]]
        for other, calls in self.others.items():
            if calls != earlier.others.get(other, 0):
                new.others[other] = calls - earlier.others.get(other, 0)
        return new


def from_outside(problem: BaseException) -> bool:
    """Whether the program raised this in the midst of our code: a signal handler of its own, or another thread.

    Such an exception is the program's, and goes on to it. One out of a function that we called, though the program has
    put its own in that place, is a failure of ours. ``problem`` was caught in this file.
    """
    # The names that ``signal`` gives to numbers take longer than all else here.
    import _signal  # type: ignore[import-not-found]

    if not isinstance(problem, Exception):
        return True
    handlers = {_code_of(_signal.getsignal(number)) for number in _signal.valid_signals()} - {None}
    trace, last = problem.__traceback__, None
    while trace is not None:
        last = trace.tb_frame
        if last.f_code in handlers or _is_handler(last):
            return True
        trace = trace.tb_next
    # What another thread raises here (PyThreadState_SetAsyncExc) comes out of no function, and is of no kind of ours.
    here = last is not None and last.f_code.co_filename == __file__
    kind = type(problem).__module__.partition(".")[0]
    return here and (
        kind not in ("builtins", "json", "torch") or (isinstance(problem, TimeoutError) and not problem.errno)
    )


def leave_out_our_frame(problem: BaseException) -> None:
    """What a function raises that we only called shows the program's own frames, as in the bare run.

    To be followed by a bare ``raise``; before Python 3.11 that puts our frame back.
    """
    trace = problem.__traceback__
    if trace is not None:
        problem.__traceback__ = trace.tb_next


def _is_handler(frame: Any) -> bool:
    """Whether a frame was given the one that called it: as a signal handler is, also one that is none any more."""
    if frame.f_back is None:
        return False
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04)]
    given = [frame.f_locals.get(name) for name in names]
    return any(one is frame.f_back or (type(one) is tuple and any(x is frame.f_back for x in one)) for one in given)


def _code_of(handler: Any) -> Any:
    """The code that a signal handler runs, as far as it is in Python."""
    handler = getattr(handler, "func", handler)  # functools.partial
    handler = getattr(handler, "__func__", handler)  # a method
    if not hasattr(handler, "__code__"):
        handler = vars(type(handler)).get("__call__")
    return getattr(handler, "__code__", None)


class OperatorCounter:
    """Counts operators through kernels that it registers for BackendSelect.

    ``tick`` is called from a counted operator once ``deadline`` (monotonic clock, seconds) has passed. With ``naming``
    off, operators without a formula are left alone.
    """

    def __init__(self, tick: Callable[[], None], naming: bool = True) -> None:
        import torch

        self.deadline = 0.0
        self._at_first: Callable[[], object] | None = None
        self._naming = naming
        self.unwatched: set[str] = set()
        self._tick = tick
        self._threads: list[tuple[weakref.ref[_Token], _Tally]] = []
        self._retired = Totals()
        self._local = _PerThread(self._add_thread)
        self._libraries: dict[str, Any] = {}
        self._seen: set[str] = set()
        self._plain: dict[type, bool] = {}
        self._tensor = torch.Tensor
        self._strided = torch.strided
        self._below = torch._C._dispatch_keyset_full_after(torch._C.DispatchKey.BackendSelect)
        self._formulas = all_formulas()
        self._numbers = _number_tensors()
        self._kernels: set[Any] = set()  # the code of every kernel below
        self._tracing = _tracing_classes()

    def watch_operators(self) -> None:
        """Give a kernel to every operator that has none yet. Cheap where nothing is new."""
        import torch

        for name in torch._C._dispatch_get_all_op_names():
            self._watch_new(name)

    def watch_when_ready(self, name: str) -> None:
        """The same for one operator, unless it has no kernel yet that does its work: what it is, those tell."""
        import torch

        has = torch._C._dispatch_has_computed_kernel_for_dispatch_key
        if name not in self._seen and any(has(name, backend) for backend in _BACKENDS):
            self._watch_new(name)

    def _watch_new(self, name: str) -> None:
        if name not in self._seen:
            self._seen.add(name)
            try:
                self._watch(name)
            except (AttributeError, RuntimeError, TypeError) as problem:
                if from_outside(problem):
                    self._seen.discard(name)
                    raise
                # It cannot be looked up or takes no kernel of ours: it runs as before, and is named.
                self.unwatched.add(name)

    def _watch(self, name: str) -> None:
        import torch

        namespace, _, rest = name.partition("::")
        base, _, overload = rest.partition(".")
        formula = self._formulas.get(f"{namespace}::{base}")
        if formula is None and (not self._naming or not _may_work(name)):
            return
        op = getattr(getattr(getattr(torch.ops, namespace), base), overload or "default")
        if formula is None and not _works_on_tensors(op._schema):
            return
        if formula is None and self._numbers is None and _takes_numbers_for_tensors(namespace, base):
            self.unwatched.add(f"{namespace}::{base}")
            return
        call = op._handle.redispatch_boxed if hasattr(op, "_handle") else op.redispatch
        if formula is not None:
            kernel = self._counting_kernel(f"{namespace}.{base}", call, formula)
        elif unbounded_family(("operator", name)):
            kernel = self._family_kernel(("operator", name), call)
        else:
            kernel = self._naming_kernel(("operator", name), call, op._schema)
        self._kernels.add(kernel.__code__)
        if namespace not in self._libraries:
            # Kept for ever: a kernel may be called from a thread of torch until the very end.
            self._libraries[namespace] = torch._C._dispatch_library("IMPL", namespace, "", __file__, 0)
        self._libraries[namespace].impl(rest, "BackendSelect", kernel, True)

    def _counting_kernel(
        self, operator: str, call: Callable[..., Any], formula: Callable[..., int]
    ) -> Callable[..., Any]:
        local, below, monotonic, is_inner = self._local, self._below, time.monotonic, self._is_inner
        known: dict[Any, tuple[Place, int] | Other | None] = {}

        def counted(keyset: Any, *args: Any, **kwargs: Any) -> Any:
            tally = local.tally
            if tally.inside:
                if is_inner(tally):  # an operator inside one that is counted already
                    try:
                        return call(keyset & below, *args, **kwargs)
                    except BaseException as problem:
                        leave_out_our_frame(problem)
                        raise
                self._act_at_first()
            tally.inside = True
            try:
                out = call(keyset & below, *args, **kwargs)
            except BaseException as problem:
                # From outside, such as Ctrl-C: whether the operator had run is not known.
                if not isinstance(problem, _TORCHS_OWN_ERRORS) or from_outside(problem):
                    tally.note(("interrupted", operator))
                leave_out_our_frame(problem)
                raise
            finally:
                tally.inside = False
            try:
                key = self._key(args)
                found = known.get(key, _UNKNOWN)
                if found is _UNKNOWN:
                    if len(known) >= _KNOWN_SHAPES:
                        known.clear()  # lengths that never recur must not fill the memory
                    found = known[key] = self._apply(operator, formula, args, kwargs, out)
                if found is not None:
                    self._enter(tally, found)
            except BaseException as problem:
                # Whatever went wrong here, the user's call has its result; the operator is named. Tracing with sizes
                # that are symbols comes here too, since these cannot be looked up, and is no work.
                if from_outside(problem):
                    tally.note(("interrupted", operator))
                    raise
                if self._moves_numbers(args):
                    tally.note(("formula", operator))
            if monotonic() >= self.deadline:
                self._tick()
            return out

        return counted

    @staticmethod
    def _enter(tally: _Tally, found: tuple[Place, int] | Other) -> None:
        place, flops = found
        if isinstance(flops, str):
            tally.note((place, flops))  # type: ignore[arg-type]
            return
        entered = tally.entered or phases.main
        counts = tally.places[entered[-1] if entered else "train"]
        count = counts.get(place)  # type: ignore[arg-type]
        if count is None:
            count = counts[place] = [0, 0]  # type: ignore[index]
        count[0] += 1
        count[1] += flops
        tally.calls += 1

    def _family_kernel(self, other: Other, call: Callable[..., Any]) -> Callable[..., Any]:
        """For an operator that may do unbounded work: named, but for one of torch's whose inner ones are counted."""
        local, below = self._local, self._below
        foreign = other[1].split("::")[0] not in _KNOWN_NAMESPACES

        def named(keyset: Any, *args: Any, **kwargs: Any) -> Any:
            tally = local.tally
            before = tally.calls
            if self._at_first is not None and self._moves_numbers(args):
                self._act_at_first()
            try:
                out = call(keyset & below, *args, **kwargs)
            except BaseException as problem:
                leave_out_our_frame(problem)
                raise
            if (foreign or before == tally.calls) and not self._is_inner(tally) and self._moves_numbers(args):
                tally.note(other)
            return out

        return named

    def _naming_kernel(self, other: Other, call: Callable[..., Any], schema: Any) -> Callable[..., Any]:
        local, below, plain = self._local, self._below, self._plain
        numbers: Any = self._numbers
        positions = _number_positions(schema) if numbers is not None else ()

        def named(keyset: Any, *args: Any, **kwargs: Any) -> Any:
            for position in positions:
                if position < len(args) and type(args[position]) in _NUMBERS:
                    if args[0] is numbers.factor:
                        return numbers.product()  # this call is the one that makes a marked number
                    args = (*args[:position], numbers.of(args[position]), *args[position + 1 :])
            tally = local.tally
            if not tally.inside or not self._is_inner(tally):
                first: Any = args[0] if args else None
                if (not first.is_meta) if plain.get(type(first)) else self._moves_numbers(args):
                    others = tally.others
                    others[other] = others.get(other, 0) + 1
            try:
                return call(keyset & below, *args, **kwargs)
            except BaseException as problem:
                leave_out_our_frame(problem)
                raise

        return named

    def _is_inner(self, tally: _Tally) -> bool:
        """Whether an operator was called by one that is counted, and not by a signal handler in its midst."""
        # Torch's own code is no Python: the caller of the caller is then a kernel of ours, or the capture's user.
        return tally.paused or (tally.inside and sys._getframe(2).f_code in self._kernels)

    def _moves_numbers(self, args: tuple[Any, ...]) -> bool:
        """False for what only traces: fake, functional and meta tensors. Other subclasses come here to work."""
        for arg in args:
            for item in arg if isinstance(arg, (list, tuple)) else (arg,):
                if isinstance(item, self._tensor):
                    return self._is_plain(type(item)) and not item.is_meta
        return True

    def _is_plain(self, kind: type) -> bool:
        plain = self._plain.get(kind)
        if plain is None:
            plain = not issubclass(kind, self._tracing)
            self._plain[kind] = plain
        return plain

    def _key(self, args: tuple[Any, ...]) -> Any:
        """Everything that a formula may depend on: shapes, numbers and flags; precision and device."""
        tensor = self._tensor
        key: list[Any] = []
        for arg in args:
            if isinstance(arg, tensor):
                key += (arg.shape, arg.dtype, arg.device, arg.layout, type(arg))
            else:
                key.append(tuple(arg) if type(arg) is list else arg)
        return tuple(key)

    def _apply(
        self, operator: str, formula: Callable[..., int], args: Any, kwargs: Any, out: Any
    ) -> tuple[Place, int] | Other | None:
        """One call's place and operations; a name where it is not counted; None where it only traced."""
        tensors = [a for a in args if isinstance(a, self._tensor)]
        if not all(self._is_plain(type(t)) and not t.is_meta for t in tensors):
            return None
        if any(t.layout != self._strided for t in tensors):
            return ("formula", operator)  # a sparse product does what its zeros leave over
        numeric = next((t for t in tensors if t.dtype.is_floating_point or t.dtype.is_complex), None)
        if numeric is None:
            return ("integer", operator)
        try:
            flops = int(formula(*args, **kwargs, out_val=out))
        except Exception as problem:
            if from_outside(problem):
                raise
            return ("formula", operator)  # it does not fit this call: named, and the interval stays open
        if numeric.dtype.is_complex:
            flops *= 4  # a complex multiply-add is four real ones
        return (operator, precision_of(str(numeric.dtype)), str(numeric.device)), flops

    def note(self, other: Other) -> None:
        """Name something that does work and is not counted."""
        self._local.tally.note(other)
        self._act_at_first()

    def at_first_operator(self, act: Callable[[], object]) -> None:
        """Have ``act`` called once: before the next operator with a formula, or of unbounded work, runs."""
        self._at_first = act
        for _, tally in self._threads:
            tally.inside = True  # a kernel asks no more than this, as long as nothing is special

    def _add_thread(self, tally: _Tally, token: _Token) -> None:
        tally.inside = self._at_first is not None
        self._threads.append((weakref.ref(token), tally))

    def _act_at_first(self) -> None:
        act, self._at_first = self._at_first, None
        if act is not None:
            act()

    def pause(self) -> None:
        """Count nothing in this thread until ``resume``."""
        tally = self._local.tally
        tally.inside = tally.paused = True

    def resume(self) -> None:
        """Count again in this thread."""
        tally = self._local.tally
        tally.inside = tally.paused = False

    def totals(self) -> Totals:
        """Everything counted so far by all threads, also by those that have ended."""
        total = Totals()
        for entry in self._threads[:]:
            reference, tally = entry
            if reference() is None:
                self._threads.remove(entry)
                self._retired.add(tally.cells(), tally.others)
            else:
                total.add(tally.cells(), tally.others.copy())
        total.add(self._retired.cells, self._retired.others)
        return total

    def forget(self) -> None:
        """Start at zero: in a forked child, what came before was its parent's."""
        self._retired = Totals()
        for _, tally in self._threads:
            for counts in tally.places.values():
                counts.clear()
            tally.others.clear()


def _tracing_classes() -> tuple[type, ...]:
    from torch._subclasses.fake_tensor import FakeTensor
    from torch._subclasses.functional_tensor import FunctionalTensor

    return (FakeTensor, FunctionalTensor)


# What an operator itself raises: then it did not run, or its memory did not suffice.
_TORCHS_OWN_ERRORS = (RuntimeError, TypeError, ValueError, IndexError)
_UNKNOWN: Any = object()
_NUMBERS = frozenset((bool, int, float, complex))
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64", "complex32": "fp16",
               "bcomplex32": "bf16", "complex64": "fp32", "complex128": "fp64"}  # fmt: skip


def precision_of(dtype: str) -> str:
    """The vocabulary's name of a torch dtype: ``torch.bfloat16`` is bf16, every float8 is fp8."""
    name = dtype.replace("torch.", "")
    narrow = re.match(r"float([468])_", name)
    if narrow:
        return "fp" + narrow.group(1)
    return _PRECISIONS.get(name, name)


# ---------------------------------------------------------------- what works past the dispatcher


_FUSED_PRODUCT = re.compile(r"_(?:b|add|badd)?mm_|_(?:add)?mv_|_v?dot_")  # in the name of a generated loop
_TEMPLATE = re.compile(r"micro_gemm|MicroGemm|flex_attention|flash_attention|cpublas::")  # in its source


def watch_inductor(module: ModuleType, note: Callable[[Other], None]) -> None:
    """Name the C++ kernels that Inductor generated, when they run: those of its templates hold matrix products."""
    compiler = module.AsyncCompile
    templates: list[Any] = []  # what compiling a template gave; kept, so that no other object gets its identity

    def compiling(original: Callable[..., Any]) -> Callable[..., Any]:
        def compiled(self: Any, *args: Any, **kwargs: Any) -> Any:
            kernel = original(self, *args, **kwargs)
            if any(isinstance(a, str) and _TEMPLATE.search(a) for a in (*args, *kwargs.values())):
                templates.append(kernel)
            return kernel

        return compiled

    def launching(other: Other, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def launched(*args: Any, **kwargs: Any) -> Any:
            note(other)
            return kernel(*args, **kwargs)

        return launched

    wait = compiler.wait

    def waited(self: Any, scope: dict[str, Any]) -> None:
        named = {name: value for name, value in scope.items() if name.startswith("cpp_")}
        wait(self, scope)
        for name, value in named.items():
            kind = "inductor template" if any(value is template for template in templates) else "inductor"
            if callable(scope.get(name)):
                scope[name] = launching((kind, name), scope[name])

    compiler.wait = waited
    for method in ("cpp", "cpp_pybinding"):
        if hasattr(compiler, method):
            setattr(compiler, method, compiling(getattr(compiler, method)))


def watch_inductor_triton(module: ModuleType, note: Callable[[Other], None]) -> None:
    """The same for Inductor's Triton kernels, whose class launches all of them."""
    run = module.CachingAutotuner.run

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = str((getattr(self, "inductor_meta", None) or {}).get("kernel_name") or "triton kernel")
        note(("inductor template" if "_tem_" in name else "inductor", name))
        return run(self, *args, **kwargs)

    module.CachingAutotuner.run = counted


def watch_compiled_code(module: ModuleType, note: Callable[[Other], None]) -> None:
    """Inductor's C++ wrapper (``cpp_wrapper``) calls torch past its dispatcher: named when it is loaded."""
    cache = module.CppWrapperCodeCache
    for method in ("load_pybinding", "load_pybinding_async"):
        load = getattr(cache, method).__func__

        def loaded(cls: Any, *args: Any, _load: Callable[..., Any] = load, **kwargs: Any) -> Any:
            note(("compiled code", "Inductor C++ wrapper"))
            return _load(cls, *args, **kwargs)

        setattr(cache, method, classmethod(loaded))  # type: ignore[arg-type]


def watch_ahead_of_time(module: Any, note: Callable[[Other], None]) -> None:
    """The same for models that AOTInductor compiled, when they run."""
    for runner in (getattr(module, name) for name in dir(module) if name.startswith("AOTIModel")):
        for method in ("run", "boxed_run"):
            if hasattr(runner, method):
                run = getattr(runner, method)

                def ran(self: Any, *args: Any, _run: Callable[..., Any] = run, **kwargs: Any) -> Any:
                    note(("compiled code", "AOTInductor model"))
                    return _run(self, *args, **kwargs)

                setattr(runner, method, ran)


def watch_triton(module: ModuleType, note: Callable[[Other], None]) -> None:
    """Name the user's own Triton kernels when they are launched."""
    run = module.JITFunction.run

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(("triton", getattr(self.fn, "__qualname__", "kernel")))
        return run(self, *args, **kwargs)

    module.JITFunction.run = counted


def end_of_capture(graph: Any) -> str:
    """The method that ends a capture. torch 2.14 has two steps, which may also be called one by one."""
    return "capture_end_pre" if hasattr(graph, "capture_end_pre") else "capture_end"  # which calls both


_BACKENDS = ("CPU", "CUDA", "XPU", "HPU", "MPS", "PrivateUse1")


def watch_registrations(torch: Any, counter: OperatorCounter) -> None:
    """Give operators that the program registers later their kernels before their first call.

    Those of Python are registered by ``Library.impl`` (``custom_op``, ``triton_op`` and ``torch.library.impl`` use it).
    Those of a library in C++ appear when it is loaded, and are looked up in ``torch.ops`` before they can be called;
    one that C++ alone calls is seen from the next window on.
    """
    namespaces: type = torch._ops._OpNamespace
    implement, look_up = torch.library.Library.impl, namespaces.__getattr__  # type: ignore[attr-defined]

    @functools.wraps(implement)
    def implemented(self: Any, op_name: Any, *args: Any, **kwargs: Any) -> Any:
        out = implement(self, op_name, *args, **kwargs)
        name = op_name if isinstance(op_name, str) else op_name.name()
        _unharmed(lambda: counter.watch_when_ready(f"{self.ns}::{name.split('::')[-1]}"))
        return out

    @functools.wraps(look_up)
    def looked_up(self: Any, op_name: str) -> Any:
        packet = look_up(self, op_name)
        for overload in getattr(packet, "_overload_names", ()):
            name = f"{self.name}::{op_name}" + (f".{overload}" if overload else "")
            _unharmed(lambda name=name: counter.watch_when_ready(name))  # type: ignore[misc]
        return packet

    torch.library.Library.impl = implemented
    namespaces.__getattr__ = looked_up  # type: ignore[attr-defined]


def _unharmed(act: Callable[[], object]) -> None:
    """What goes wrong in ``act`` stays here, unless it is the program's own."""
    try:
        act()
    except Exception as problem:
        if from_outside(problem):
            raise


def watch_cuda_graphs(graph: Any, counter: OperatorCounter) -> None:
    """Operators of a graph's capture do not run, those of its replays are not seen: neither is counted."""
    last = end_of_capture(graph)
    begin, end, replay = graph.capture_begin, getattr(graph, last), graph.replay

    def began(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = begin(self, *args, **kwargs)
        counter.pause()
        return out

    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        counter.resume()
        return end(self, *args, **kwargs)

    def replayed(self: Any, *args: Any, **kwargs: Any) -> Any:
        counter.note(("cuda graph", "torch.cuda.CUDAGraph.replay"))
        return replay(self, *args, **kwargs)

    graph.capture_begin, graph.replay = began, replayed
    setattr(graph, last, ended)


# ---------------------------------------------------------------- what the injection library cannot see


def tell_injection_library(what: str, *arguments: Any, load: bool = False) -> None:
    """Call a function of ftprof's injection library, if the CUDA driver has loaded that into this process.

    With ``load`` also if it has not done so yet: what the library is told is in its memory until then.
    """
    import ctypes

    try:
        path = os.environ["CUDA_INJECTION64_PATH"]
        loads = load and os.path.basename(path) == "libftprof_inject.so"  # and not another tool's
        library = ctypes.CDLL(path, mode=os.RTLD_NOW if loads else os.RTLD_NOLOAD | os.RTLD_NOW)
        getattr(library, f"ftprof_inject_{what}")(*arguments)
    except (AttributeError, KeyError, OSError) as problem:
        if from_outside(problem):
            raise
        # Else there is no CUDA here so far, or another tool's library.


def announce_captures(graph: Any) -> None:
    """Tell of stream captures, during which no window of patched code may be open."""
    last = end_of_capture(graph)
    begin, end = graph.capture_begin, getattr(graph, last)

    def began(self: Any, *args: Any, **kwargs: Any) -> Any:
        tell_injection_library("capture_begins")
        try:
            return begin(self, *args, **kwargs)
        except BaseException:
            tell_injection_library("capture_ends")  # nothing is captured: its end will not come
            raise

    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return end(self, *args, **kwargs)
        finally:
            tell_injection_library("capture_ends")

    graph.capture_begin = began
    setattr(graph, last, ended)
    # Not through the environment, which a program that replaces this one (exec) has, too.
    tell_injection_library("captures_are_announced", load=True)


def watch_ends_for_injection_library() -> None:
    """Its windows are closed by an exit handler, which neither of these runs."""
    _before(os, "_exit", lambda: tell_injection_library("end", b"os._exit"))
    _before(os, "execv", lambda: tell_injection_library("cut", 2000))
    _before(os, "execve", lambda: tell_injection_library("cut", 2000))


# ---------------------------------------------------------------- the journal


def canonical(line: dict[str, Any]) -> bytes:
    """The one serialisation of a journal's line."""
    import json

    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def process_identity() -> dict[str, Any]:
    """What tells this process from every other one: host, boot, process id and start time (clock ticks)."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        boot = "unknown"  # a sandbox may hide it; the other three still tell processes of one host apart
    with open("/proc/self/stat", errors="replace") as file:  # the program's name may be cut inside a character
        start = int(file.read().rpartition(")")[2].split()[19])
    return {"host": os.uname().nodename, "boot": boot, "pid": os.getpid(), "start_ticks": start}


CLOCK_VARIABLE = "FTPROF_CLOCK"


def now_us() -> int:
    """Microseconds since the epoch, as the system's clock had it when the run began, going on evenly from there.

    Somebody may set that clock at any time, and neither a length nor the order of two moments may hang on it.
    """
    return clock_zero_us() + _since_boot_us()


def _since_boot_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@functools.cache
def clock_zero_us() -> int:
    """What ``now_us`` was when this machine started: as the run's first process has told, or as this one finds it."""
    name, told = _clock_name(), os.environ.get(CLOCK_VARIABLE, "")
    number = told[len(name) :]
    if name and told.startswith(name) and number.isascii() and number.isdigit():
        return int(number)
    readings = []
    for _ in range(5):
        before = _since_boot_us()
        wall = time.time_ns() // 1000
        took = _since_boot_us() - before
        readings.append((took, wall - before - took // 2))
    return min(readings)[1]


def _clock_name() -> str:
    """Whose time since boot it is; another machine's is of no use. Empty where the system does not say it."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/time')} "
    except OSError:
        return ""


def clock_for_others() -> dict[str, str]:
    """The variable with which other processes of this machine go by this one's clock."""
    name = _clock_name()
    return {CLOCK_VARIABLE: f"{name}{clock_zero_us()}"} if name else {}


def open_high(path: str, flags: int, mode: int = 0o644) -> int:
    """Open a file under no number that a program without stdin, stdout or stderr takes for one of these.

    Never by a link: in a folder where several users may write, another one could have put it there.
    """
    file = os.open(path, flags | os.O_NOFOLLOW, mode)
    if file > 2:
        return file
    import fcntl

    try:
        return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 64)
    finally:
        os.close(file)


def write_undisturbed(file: int, text: bytes) -> int:
    """Write, and keep the signal of a write past RLIMIT_FSIZE to ourselves: a program may have its default back.

    As csrc/journal/undisturbed.h does it.
    """
    import _signal

    size = {_signal.SIGXFSZ}
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, size)
        was_pending = _signal.SIGXFSZ in _signal.sigpending()
        try:
            return os.write(file, text)
        finally:
            if not was_pending and _signal.SIGXFSZ in _signal.sigpending():
                _signal.sigtimedwait(size, 0)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


class Journal:
    """One process's append-only, hash-chained file. A line is written with one call, so only a last one tears."""

    def __init__(self, folder: str, identity: dict[str, Any], suffix: str = "") -> None:
        name = "{host}-{boot:.8}-{pid}-{start_ticks}".format(**identity) + f"{suffix}.journal"
        self.path = os.path.join(folder, re.sub(r"[^A-Za-z0-9._-]", "_", name))
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = open_high(self.path, flags)
        self._opened = self._now_open()
        self._size = 0
        self._hash = _FIRST_HASH
        self._under_way: tuple[str, int] | None = None  # of a line that is being written: its hash and length
        self.continues = self._take_up()

    def _take_up(self) -> bool:
        """A process that replaced its program (exec) goes on in the journal that it has begun."""
        import json

        old = b""
        while chunk := os.pread(self._file, 1 << 20, len(old)):
            old += chunk
        lines = old.split(b"\n")
        if len(lines) > 1:
            self._hash = json.loads(lines[-2])["hash"]
            self._size = len(old) - len(lines[-1])
            os.ftruncate(self._file, self._size)
        return len(lines) > 1

    def write(self, kind: str, **content: Any) -> bool:
        """Append a line. False, and the file as it was, where that failed (a full disk)."""
        import hashlib

        self._settle()
        line = {"kind": kind, "previous": self._hash, **content}
        digest = hashlib.sha256(canonical(line)).hexdigest()
        text = canonical({**line, "hash": digest}) + b"\n"
        try:
            self._take_back()
            self._under_way = digest, len(text)
            written = write_undisturbed(self._file, text)
        except OSError as problem:
            if from_outside(problem):
                raise
            written = 0
        if written != len(text):
            self._under_way = None
            if written:
                self._cut_back()
            return False
        self._settle()
        return True

    @property
    def size(self) -> int:
        """How long the chain is (bytes): of its whole lines."""
        self._settle()
        return self._size

    def _settle(self) -> None:
        """A signal handler may raise between a line and our note of it: the file tells whether it is there."""
        if self._under_way is None:
            return
        digest, length = self._under_way
        there = os.fstat(self._file).st_size if self._now_open() == self._opened else 0
        if there == self._size + length:
            self._hash, self._size = digest, there
        elif there > self._size:
            self._cut_back()
        self._under_way = None

    def _now_open(self) -> tuple[int, int] | None:
        try:
            status = os.fstat(self._file)
        except OSError as problem:
            if from_outside(problem):
                raise
            return None
        return status.st_dev, status.st_ino

    def _take_back(self) -> None:
        """A process may close files that it did not open, and its next one then has our number: never write there."""
        if self._now_open() != self._opened:
            self._file = open_high(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            if self._now_open() != self._opened:
                raise OSError("the journal is not what it was")

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._size)
        except OSError as problem:
            if from_outside(problem):
                raise
            self._hash = "broken"  # half a line stays: whatever follows must not pass for a whole chain

    def close(self) -> None:
        """Give the file back, without a further line."""
        if self._now_open() == self._opened:
            os.close(self._file)


# ---------------------------------------------------------------- a process's life


class Meter:
    """Counts this process's operators and keeps its journal.

    ``partial``: only to tell phases apart, beside hardware counters and from the first phase on.
    """

    def __init__(self, folder: str, run_id: str, partial: bool = False) -> None:
        self._folder = folder
        self._run_id = run_id
        self._partial = partial
        self._lock = threading.Lock()
        self._failures = FailureFile(folder)
        self._begin()
        self.counter = OperatorCounter(self._close_window, naming=not partial)
        self.counter.deadline = time.monotonic() + _SHORTEST_WINDOW_S

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._journal: Journal | None = None
        self._written = Totals()
        self._window: tuple[Totals, int, list[str], int] | None = None  # being written: totals, end, devices, and where
        self._window_begin_us = now_us()
        self._began = time.monotonic()
        self._ended = False
        self._said = False
        self._extensions: set[str] = set()
        self._devices = {"cpu"}  # the header has it

    def start(self) -> None:
        """Watch operators, and this process's ways to end."""
        self.counter.watch_operators()
        self._open_journal()
        atexit.register(self._end_at_exit)
        os.register_at_fork(after_in_child=self._after_fork)
        _before(os, "_exit", lambda: self.end("os._exit"))
        # Where the next program counts too, its first line takes the end back.
        for name in ("execv", "execve"):
            _before(os, name, lambda: self.end("exec"), self._go_on)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            identity = process_identity()
            journal = Journal(self._folder, identity)
            kind = "program" if journal.continues else "header"
            header = header_of(self._run_id, identity, sorted(self.counter.unwatched))
            if self._partial:
                header["software"]["operators"] = FROM_FIRST_PHASE
            if not journal.write(kind, **header):
                raise OSError("the journal's first line cannot be written")
            self._journal = journal
        return self._journal

    def _begin_journal(self) -> None:
        """In a forked child, before its first operator: were it killed in that, nobody would know. Never raises."""
        if not self._lock.acquire(blocking=False):
            return  # somebody is at it
        try:
            self._open_journal()
        except Exception as problem:
            if from_outside(problem):
                raise
            self._say_once(problem)
        finally:
            self._lock.release()

    def _close_window(self) -> None:
        """Called from an operator, in any thread, when a window is due. Never waits; raises the program's own only."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            length = min(max((time.monotonic() - self._began) / 60, _SHORTEST_WINDOW_S), _LONGEST_WINDOW_S)
            self.counter.deadline = time.monotonic() + length
            if self._write_window() and self._ended:
                self._write_end("after the end")
        except Exception as problem:
            # The counts stay in memory and the next window tries again; if the process is killed, they are lost.
            self.counter.deadline = time.monotonic() + _SHORTEST_WINDOW_S
            if from_outside(problem):
                raise
            self._say_once(problem)
        finally:
            self._lock.release()

    def _say_once(self, problem: Exception) -> None:
        if not self._said:
            self._said = True
            try:
                self._failures.say(
                    f"process {self._pid}: the analytic meter cannot write its journal: {problem!r:.200}"
                )
            except OSError as error:
                if from_outside(error):
                    raise
                # Else the run directory has gone, and with it the whole record.

    def _write_window(self) -> bool:
        """Write what came since the last window. False where that failed, so that something is not on disk."""
        self.counter.watch_operators()  # those of extensions loaded since
        self._note_extensions()
        self._settle_window()
        totals = self.counter.totals()
        new = totals.since(self._written)
        if not new.cells and not new.others:
            return True
        end_us = now_us()
        devices = self._new_devices(new)
        journal = self._open_journal()
        self._window = totals, end_us, [described["device"] for described in devices], journal.size
        written = journal.write(
            "window",
            method="analytic",
            begin_us=self._window_begin_us,
            end_us=end_us,
            devices=devices,
            **new.to_json(),
        )
        self._settle_window()
        return written

    def _settle_window(self) -> None:
        """Whether the last window is on disk, the journal tells: an exception may have come in the midst of writing."""
        if self._window is None or self._journal is None:
            return
        totals, end_us, devices, began_at = self._window
        if self._journal.size > began_at:
            self._written, self._window_begin_us = totals, end_us
            self._devices.update(devices)
        self._window = None

    def _new_devices(self, counted: Totals) -> list[dict[str, str]]:
        """The accelerators on which operators were counted for the first time: so they are in use already."""
        import torch

        new = []
        for device in sorted({cell[2] for cell in counted.cells} - self._devices):
            described = {"device": device, "name": ""}
            if device.startswith("cuda:"):
                properties = torch.cuda.get_device_properties(device)
                described["name"] = properties.name
                if hasattr(properties, "uuid"):  # not in torch 2.4
                    described["uuid"] = f"GPU-{properties.uuid}"
                described["capability"] = f"{properties.major}.{properties.minor}"
            new.append(described)
        return new

    def _note_extensions(self) -> None:
        for name in UNSEEN_EXTENSIONS:
            if name in sys.modules and name not in self._extensions:
                self._extensions.add(name)
                self.counter.note(("extension", name))

    def _flush(self) -> bool:
        if self._pid != os.getpid() or not self._lock.acquire(timeout=2):
            return False
        try:
            return self._write_window()
        except Exception as problem:
            if from_outside(problem):
                raise
            self._say_once(problem)
            return False
        finally:
            self._lock.release()

    def end(self, reason: str) -> None:
        """Write what is left and the journal's end line."""
        # A forked child that never counted anything has no journal, and needs none. Where counts are not on disk,
        # no end line may say that all is well.
        if self._flush() and self._journal is not None and not self._ended:
            self._ended = True
            self.counter.deadline = 0.0  # whatever is still counted is written at once
            self._write_end(reason)

    def _go_on(self) -> None:
        """The program could not be replaced."""
        self._ended = False

    def _write_end(self, reason: str) -> None:
        if self._journal is not None:
            self._journal.write("end", reason=reason, time_us=now_us())

    def _end_at_exit(self) -> None:
        kind = getattr(sys, "last_type", None)
        self.end("exit" if kind is None else f"exception: {kind.__name__}")

    def _after_fork(self) -> None:
        """The child has its own counts and, once it counts something, its own journal."""
        if self._journal is not None:
            self._journal.close()
        self._lock = threading.Lock()
        phases.after_fork()
        self.counter.forget()
        self._begin()
        self.counter.deadline = 0.0  # its first count is written at once, so that it is not lost if it is killed
        self.counter.at_first_operator(self._begin_journal)


def _before(module: Any, name: str, act: Callable[[], object], failed: Callable[[], object] = lambda: None) -> None:
    """Let ``act`` run before a function of ``module``, and ``failed`` where that raises; what goes wrong stays here."""
    original = getattr(module, name)

    def acted(*args: Any, **kwargs: Any) -> Any:
        _unharmed(act)  # the function must run whatever the meter does
        try:
            return original(*args, **kwargs)
        except BaseException:
            failed()
            raise

    acted.__name__ = acted.__qualname__ = name
    acted.__module__ = module.__name__  # a program may hand it to another process, which finds it by its names
    acted.__doc__ = original.__doc__
    setattr(module, name, acted)


FROM_FIRST_PHASE = "counted from the first phase on"


def header_of(run_id: str, identity: dict[str, Any], unwatched: list[str] | None = None) -> dict[str, Any]:
    """The content of a journal's first line."""
    import platform

    torch: Any = sys.modules.get("torch")
    software = {
        "python": platform.python_version(),
        "system": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
    }
    if torch is not None:
        software |= {"torch": str(torch.__version__), "cuda": torch.version.cuda}
    return {
        "schema": SCHEMA,
        "run": run_id,
        "role": "process",
        "method": "analytic",
        **identity,
        "parent_pid": os.getppid(),
        "time_us": now_us(),
        "rank": rank_of(os.environ),
        "software": software,
        "devices": [{"device": "cpu", "name": _processor_name()}],
        "unwatched": unwatched or [],
    }


# Each launcher's variables for the first five of _RANK_KEYS, the nearest to the process first: an mpirun inside a SLURM
# allocation starts its daemons by srun, whose SLURM_PROCID the ranks inherit. csrc/journal/process_identity.cpp has the
# same table. From: torchrun, docs.pytorch.org/docs/stable/elastic/run.html (accelerate launch runs it); DeepSpeed,
# deepspeed/launcher/launch.py (CROSS_RANK is its node); Open MPI, docs.open-mpi.org/en/v5.0.x/tuning-apps/
# environment-var.html (whose OMPI_COMM_WORLD_NODE_RANK is a rank within a node, no node's number); MVAPICH2's user
# guide, mpirun_rsh; MPICH's Hydra (PMI_*) and Intel MPI (MPI_LOCALRANKID); srun(1), output environment variables, of
# which a batch script without srun has SLURM_PROCID and SLURM_NTASKS too, but no SLURM_STEP_*; PMIx, of any starter.
_RANK_KEYS = ("rank", "local_rank", "world_size", "node", "nodes")
_RANK_VARIABLES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (
        ("RANK",), ("LOCAL_RANK",), ("WORLD_SIZE",),
        ("GROUP_RANK", "CROSS_RANK", "NODE_RANK"), ("GROUP_WORLD_SIZE", "CROSS_SIZE"),
    ),
    (("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_LOCAL_RANK",), ("OMPI_COMM_WORLD_SIZE",), (), ()),
    (("MV2_COMM_WORLD_RANK",), ("MV2_COMM_WORLD_LOCAL_RANK",), ("MV2_COMM_WORLD_SIZE",), (), ()),
    (("PMI_RANK",), ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"), ("PMI_SIZE",), (), ()),
    (
        ("SLURM_PROCID",), ("SLURM_LOCALID",), ("SLURM_STEP_NUM_TASKS",),
        ("SLURM_NODEID",), ("SLURM_STEP_NUM_NODES",),
    ),
    (("PMIX_RANK",), (), (), (), ()),
)  # fmt: skip
_LARGEST_WHOLE = 2**53 - 1  # as the journal's schema has it


def rank_of(environment: Mapping[str, str]) -> dict[str, int] | None:
    """The rank that a launcher gave this process, with its world and node; None where there is none.

    What the nearest launcher does not tell comes from another one that gives the same rank of as many.
    """
    found: dict[str, int] = {}
    for variables in _RANK_VARIABLES:
        row = {}
        for position, names in enumerate(variables):
            number = next((n for n in map(environment.get, names) if _is_whole(n)), None)
            if number is not None:
                row[_RANK_KEYS[position]] = int(number)
        same = "world_size" in row and all(row[key] == found.get(key) for key in ("rank", "world_size") if key in row)
        if "rank" in row and (not found or same):
            found = {**row, **found}
    return found or None


def _is_whole(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and int(text) <= _LARGEST_WHOLE


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return ""


# ---------------------------------------------------------------- waiting for torch


class _ImportWatcher:
    """A finder that finds nothing itself: it acts when one of a few modules has been imported."""

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._actions = actions

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, its loader followed by our action."""
        if name not in self._actions:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if finder is not self and find is not None else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    self._act_after_loading(spec.loader, name)
                return spec
        return None

    def _act_after_loading(self, loader: Any, name: str) -> None:
        execute = loader.exec_module

        def loaded(module: ModuleType) -> None:
            try:
                execute(module)
            except BaseException as problem:
                leave_out_our_frame(problem)
                raise
            vars(loader).pop("exec_module", None)  # another watcher may have put its own in place of ours
            action = self._actions.pop(name, None)  # only now: a spec may be asked for and thrown away
            try:
                if action is not None:
                    action(module)
            except Exception as problem:
                if from_outside(problem):
                    raise
                report_problem(f"the analytic meter could not start: {problem!r:.300}")

        loader.exec_module = loaded


def report_problem(what: str) -> None:
    """Tell the record of the run that this process is in that, and why, something in it is not counted."""
    if not _run_folder:
        return  # a block of ftprof.count() outside of any wrapped run: it tells its own record
    try:
        identity = process_identity()
        journal = Journal(_run_folder, identity)
        if not journal.continues:
            journal.write("header", **header_of(_run_id, identity))
        journal.write("problem", what=what, time_us=now_us())
        journal.close()
    except Exception as problem:
        if from_outside(problem):
            raise
        try:
            why = f"process {os.getpid()}: {what}; its journal cannot be written: {problem!r:.200}"
            FailureFile(_run_folder).say(why)
        except Exception:
            pass  # nowhere is left to say it: the run directory has gone, and with it the whole record


class FailureFile:
    """The last resort where there is no journal: a file that all processes of the run share.

    It is opened before it is needed, since a fork may have given up the right to open files.
    """

    def __init__(self, folder: str) -> None:
        path, flags = os.path.join(folder, "failures.txt"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            # Where all may write, nobody can "create" a file that is there and another's (protected_regular of Linux).
            self._file = open_high(path, flags)
        except FileNotFoundError:
            self._file = open_high(path, flags | os.O_CREAT, 0o666)
        self._opened = os.fstat(self._file)

    def say(self, why: str) -> None:
        """Write one line, unless the number has come to mean another file."""
        now = os.fstat(self._file)
        if (now.st_dev, now.st_ino) == (self._opened.st_dev, self._opened.st_ino):
            write_undisturbed(self._file, (" ".join(why.split()) + "\n").encode("ascii", "replace"))


_meter: Meter | None = None
# Of this process's start: a program may clear its environment before it imports torch.
_run_folder, _run_id = os.environ.get("FTPROF_RUN_DIR", ""), os.environ.get("FTPROF_RUN_ID", "")


def watch_for_torch() -> None:
    """Start counting in this process when torch has been imported.

    Where hardware counters count (FTPROF_METHODS has no ``analytic``), operators are left alone: the injection library
    is only told what it cannot see.
    """
    count_operators = "analytic" in os.environ.get("FTPROF_METHODS", "analytic").split(",")
    injected = bool(os.environ.get("CUDA_INJECTION64_PATH"))
    if injected:
        watch_ends_for_injection_library()

    def start(_: ModuleType) -> None:
        torch = sys.modules["torch"]
        if injected:
            announce_captures(torch.cuda.CUDAGraph)
        if count_operators:
            begin(partial=False)
            watch_ahead_of_time(getattr(torch._C, "_aoti", None), note)
        else:
            phases.at_first = begin_in_the_midst

    def begin(partial: bool) -> None:
        global _meter
        _meter = Meter(_run_folder, _run_id, partial)
        _meter.start()
        watch_cuda_graphs(sys.modules["torch"].cuda.CUDAGraph, _meter.counter)
        watch_registrations(sys.modules["torch"], _meter.counter)

    def begin_in_the_midst() -> None:
        try:
            begin(partial=True)
        except Exception as problem:
            if from_outside(problem):
                raise
            report_problem(f"phases cannot be told apart: {problem!r:.300}")

    def note(other: Other) -> None:
        if _meter is not None:
            _meter.counter.note(other)

    def patched(patch: Callable[[ModuleType, Callable[[Other], None]], None]) -> Callable[[ModuleType], None]:
        def act(module: ModuleType) -> None:
            if _meter is not None:
                patch(module, _meter.counter.note)

        return act

    actions: dict[str, Callable[[ModuleType], None]] = {"torch": start, **PHASE_WATCHERS}
    if count_operators:
        actions |= {
            "torch._inductor.async_compile": patched(watch_inductor),
            "torch._inductor.codecache": patched(watch_compiled_code),
            "torch._inductor.runtime.triton_heuristics": patched(watch_inductor_triton),
            "triton.runtime.jit": patched(watch_triton),
        }
    sys.meta_path.insert(0, _ImportWatcher(actions))
