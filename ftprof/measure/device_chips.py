"""Which chip each GPU is, by CUPTI's name. Only a started CUDA driver knows: a compute capability fits several chips.

The driver is started in a process of its own, which may be ended: a broken one hangs, or crashes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ftprof.measure.cupti_search import search_roots
from ftprof.measure.short_process import OWN_FOLDER, end, signal_name
from ftprof.record.device_window import bare_uuid
from ftprof.record.explanation import explain

# Eight GPUs that nothing keeps awake take some ten seconds to start.
PATIENCE_S = 30.0
_DRIVER = "libcuda.so.1"
_LONGEST_WORDS = 200
_HIDDEN = ("CUDA_VISIBLE_DEVICES", "CUDA_INJECTION64_PATH")  # all GPUs, and no tool in that process
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from ftprof.measure.device_chips import write_answer; write_answer()"
_LOOK = "look for Xid messages in the kernel's log; if nvidia-smi hangs or fails too, reboot"


@dataclass(frozen=True)
class ChipUnknown:
    """Why a GPU's chip is not known, and what to do. ``uuid`` is ``None`` where it is so of all GPUs.

    ``no_driver``: there is no CUDA driver to load, so no process can use a GPU.
    """

    uuid: str | None
    what: str
    remedy: str
    no_driver: bool = False


@dataclass(frozen=True)
class DeviceChips:
    """The chips by the UUIDs that the driver gives, and what could not be asked."""

    names: Mapping[str, str]
    unknown: tuple[ChipUnknown, ...] = ()

    def of(self, *uuids: str) -> str | None:
        """The chip of a GPU with this UUID, or one of whose instances has one of these."""
        names = {bare_uuid(uuid): name for uuid, name in self.names.items()}
        return next((names[bare_uuid(uuid)] for uuid in uuids if bare_uuid(uuid) in names), None)


def ask_chips(environ: Mapping[str, str], patience_s: float = PATIENCE_S) -> DeviceChips:
    """Ask the driver in a child process. Raises nothing: whatever fails is in ``unknown``."""
    command = [sys.executable, "-c", _CHILD, OWN_FOLDER, *sys.path]
    environment = {name: value for name, value in environ.items() if name not in _HIDDEN}
    try:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        return _nothing(f"no process could be started ({error})", "free some memory or processes")
    try:
        out, said = child.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        return _nothing(f"the CUDA driver did not answer within {patience_s:.0f} s", _LOOK)
    finally:
        end(child)
    if child.returncode < 0:
        return _nothing(f"the process that asked the CUDA driver ended with {signal_name(-child.returncode)}", _LOOK)
    return _understood(out, said)


def _nothing(what: str, remedy: str, no_driver: bool = False) -> DeviceChips:
    return DeviceChips({}, (ChipUnknown(None, what, remedy, no_driver),))


def _understood(out: bytes, said: bytes) -> DeviceChips:
    try:
        answer = json.loads(out.splitlines()[-1])  # before it comes what a sitecustomize of the user's prints
        if failure := answer["failure"]:
            return DeviceChips({}, (_unknown(None, failure),))
        devices = answer["devices"]
        names = {device["uuid"]: device["chip"] for device in devices if device["chip"]}
        unknown = [_unknown(device["uuid"], device["failure"]) for device in devices if device["failure"]]
    except (ValueError, LookupError, TypeError):
        last = " ".join(said.decode("utf-8", "replace").splitlines()[-1:])[:_LONGEST_WORDS] or "nothing"
        what = f"the process that asked the CUDA driver gave no answer (it said: {last})"
        return _nothing(what, "run 'ftprof --debug doctor'")
    return DeviceChips(names, tuple(unknown))


def _unknown(uuid: str | None, failure: Mapping[str, Any]) -> ChipUnknown:
    call, code = failure["call"], failure["code"]
    if call.endswith(_DRIVER) and code == 0:
        remedy = "install the driver's CUDA part; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return ChipUnknown(uuid, f"{_DRIVER} cannot be loaded ({failure['name']})", remedy, no_driver=True)
    explained = explain(call, code)
    what = f"{call}: error {code} {explained.reason or failure['name']}" if code else f"{call}: {failure['name']}"
    return ChipUnknown(uuid, what, failure["remedy"] or explained.remedy)


def write_answer() -> NoReturn:
    """What the child process does: one line of JSON on stdout."""
    native = importlib.import_module("ftprof._native")
    answer: dict[str, Any] = {"failure": None, "devices": []}
    try:
        native.load_cupti(search_roots())
        answer["devices"] = [
            {"uuid": device.uuid, "chip": device.chip, "failure": device.failure and _as_dict(device.failure)}
            for device in native.device_chips()
        ]
    except native.CuptiError as error:
        answer["failure"] = _as_dict(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # past the driver's own exit handlers, which hang where the driver does


def _as_dict(error: Any) -> dict[str, Any]:
    return {"call": error.call, "code": error.code, "name": " ".join(error.name.split()), "remedy": error.remedy}
