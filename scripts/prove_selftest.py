#!/usr/bin/env python3
"""Proves what the self-test's kernels execute, from their machine code. Needs no GPU.

python scripts/prove_selftest.py           # compiles, proves, compares with the binaries and the manifest that ship
python scripts/prove_selftest.py --write   # compiles, proves, and writes both

NVRTC and nvcc compile ftprof/selftest/kernels/known.cu for every architecture, and nvdisasm reads what came of it. The
three come from PyPI (nvidia-cuda-nvrtc, nvidia-cuda-nvcc with nvidia-nvvm, nvidia-cuda-nvdisasm) or a CUDA toolkit.
What NVRTC made ships; what nvcc made must hold the same instructions.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from ftprof.selftest.known_kernels import INSTRUCTIONS, KERNELS, SOURCE, KnownKernel, kernels_of  # noqa: E402

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
MANIFEST = KERNELS / "manifest.json"
INSTRUCTION_BYTES = 16
# Everything else that may stand in a kernel: it moves bits, adds integers, or reads and writes memory. An opcode that
# is in neither list is not proved to be no floating-point one.
INTEGER = frozenset(
    {"IADD3", "IMAD", "LD", "LDC", "LDCU", "LDG", "LEA", "LOP3", "MOV", "NOP", "S2R", "SHF", "ST", "UIADD3", "ULDC"}
)
_WHERE = (Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13", *sorted(Path("/usr/local").glob("cuda*"))[::-1])


class NotProved(Exception):
    """What in the machine code is not as the table says."""


@dataclass(frozen=True)
class Proof:
    """What one kernel's machine code holds, up to its end. ``least`` leaves out what need not count for each thread."""

    opcodes: Mapping[str, int]
    instructions: int
    least: int


def prove(kernel: KnownKernel, function: Mapping[str, Any]) -> Proof:
    """Raises ``NotProved`` unless each thread executes exactly what the table says, straight through to its end."""
    rows = function["sass-instructions"]
    if function["length"] != INSTRUCTION_BYTES * len(rows):
        raise NotProved(f"{kernel.name}: {len(rows)} instructions do not fill its {function['length']} bytes")
    end = _end(kernel, rows)
    found: Counter[str] = Counter()
    for row in rows[:end]:
        claimed = _claimed(row["opcode"])
        if claimed is None and row["opcode"].partition(".")[0] not in INTEGER:
            raise NotProved(f"{kernel.name}: {row['opcode']} is not known to be an integer instruction")
        if claimed is not None:
            if row.get("predicate"):
                raise NotProved(f"{kernel.name}: {row['opcode']} may be switched off by {row['predicate']}")
            found[claimed] += 1
    if found != Counter(kernel.executes):
        raise NotProved(f"{kernel.name} executes {dict(found)}, and the table says {dict(kernel.executes)}")
    opcodes = Counter(row["opcode"] for row in rows[: end + 1])
    each = [row for row in rows[: end + 1] if not _may_not_count(row)]
    return Proof(dict(sorted(opcodes.items())), end + 1, len(each))


def _claimed(opcode: str) -> str | None:
    """The table's name of a floating-point instruction."""
    return next((name for name in INSTRUCTIONS if opcode == name or opcode.startswith(f"{name}.")), None)


def _may_not_count(row: Mapping[str, Any]) -> bool:
    """Whether a counter of the threads' instructions may leave it out: a warp's own, padding, or switched off."""
    return row["opcode"].startswith(("U", "LDCU", "NOP")) or bool(row.get("predicate"))


def _end(kernel: KnownKernel, rows: Sequence[Mapping[str, Any]]) -> int:
    """Where the one way through the kernel ends. Raises ``NotProved`` where there may be another way."""
    ends = [place for place, row in enumerate(rows) if row["opcode"] == "EXIT"]
    if len(ends) != 1 or rows[ends[0]].get("predicate"):
        raise NotProved(f"{kernel.name} has not exactly one end for all threads")
    for place, row in enumerate(rows):
        jumps = "control-flow" in row.get("other-attributes", {})
        if place < ends[0] and jumps:
            raise NotProved(f"{kernel.name}: {row['opcode']} may leave or repeat the straight way")
        if place > ends[0] and row["opcode"] != "NOP" and not _stays(row, place):
            raise NotProved(f"{kernel.name}: {row['opcode']} stands behind its end")
    return ends[0]


def _stays(row: Mapping[str, Any], place: int) -> bool:
    """Whether it is the jump to itself that pads every kernel."""
    operand = row.get("operands", "")
    return row["opcode"] == "BRA" and bool(re.fullmatch(r"0x[0-9a-f]+", operand)) and int(operand, 16) == 16 * place


def prove_all(architecture: str, disassembly: Sequence[Any]) -> dict[str, Proof]:
    """Each kernel's proof. Raises ``NotProved``, also where there is a kernel too many, or another chip's code."""
    capability = capability_of(architecture)
    version = disassembly[0]["SM"]["version"]
    if (version["major"], version["minor"]) != capability:
        raise NotProved(f"machine code of sm_{version['major']}{version['minor']}, not of {architecture}")
    functions = {function["function-name"]: function for function in disassembly[1]}
    expected = {kernel.name: kernel for kernel in kernels_of(capability)}
    if functions.keys() != expected.keys():
        raise NotProved(f"{architecture} holds {sorted(functions)}, and the table {sorted(expected)}")
    try:
        return {name: prove(kernel, functions[name]) for name, kernel in expected.items()}
    except NotProved as problem:
        raise NotProved(f"{architecture}: {problem}") from problem


def capability_of(architecture: str) -> tuple[int, int]:
    """Such as (12, 0) of sm_120."""
    number = int(architecture.removeprefix("sm_"))
    return number // 10, number % 10


class Tools:
    """The compilers and the disassembler of this machine. Raises ``SystemExit`` where one is missing."""

    def __init__(self) -> None:
        self._nvcc = _find("bin/nvcc")
        self._nvdisasm = _find("bin/nvdisasm")
        library = _find("lib/libnvrtc.so.13", "lib64/libnvrtc.so.13")
        for part in library.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(part))  # NVRTC opens it by its bare name
        self._nvrtc = ctypes.CDLL(str(library))

    def versions(self) -> dict[str, str]:
        """Of each tool, as it says it."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return {
            "nvrtc": f"{major.value}.{minor.value}",
            "nvcc": self._told(self._nvcc),
            "nvdisasm": self._told(self._nvdisasm),
        }

    @staticmethod
    def _told(tool: Path) -> str:
        said = subprocess.run([str(tool), "--version"], check=True, capture_output=True, text=True).stdout
        return re.findall(r"V(\d+\.\d+\.\d+)", said)[-1]

    def by_nvrtc(self, source: str, architecture: str) -> bytes:
        """The machine code, as cupy has it compiled. Raises ``NotProved`` where it does not compile."""
        program = ctypes.c_void_p()
        self._check("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"known.cu", 0, None, None)
        options = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
        if self._nvrtc.nvrtcCompileProgram(program, 1, options):
            raise NotProved(self._answer(program, "nvrtcGetProgramLog").decode(errors="replace"))
        code = self._answer(program, "nvrtcGetCUBIN")
        self._check("nvrtcDestroyProgram", ctypes.byref(program))
        return code

    def _answer(self, program: ctypes.c_void_p, name: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(f"{name}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(name, program, buffer)
        return buffer.raw

    def _check(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._nvrtc, name)(*arguments):
            raise NotProved(f"{name}: error {code}")

    def by_nvcc(self, source: str, architecture: str) -> bytes:
        """The machine code. Raises ``NotProved`` where it does not compile."""
        with tempfile.TemporaryDirectory() as folder:
            text, code = Path(folder, "known.cu"), Path(folder, "known.cubin")
            text.write_text(source)
            command = [str(self._nvcc), f"-arch={architecture}", "-cubin", "-o", str(code), str(text)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise NotProved(done.stderr)
            return code.read_bytes()

    def disassembled(self, code: bytes) -> Any:
        """What nvdisasm reads in it."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(code)
            file.flush()
            command = [str(self._nvdisasm), "-json", file.name]
            return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def assembler(self, code: bytes) -> str:
        """What the machine code says of who made it."""
        note = self.disassembled(code)[0][".note.nv.tkinfo"]
        return f"{note['tki_toolName']} {note['tki_toolVersion'].rpartition('V')[2]}"


def _find(*names: str) -> Path:
    for folder in _WHERE:
        for name in names:
            if (folder / name).exists():
                return folder / name
    if found := shutil.which(Path(names[0]).name):
        return Path(found)
    raise SystemExit(f"{names[0]} is missing: pip install nvidia-cuda-nvrtc nvidia-cuda-nvcc nvidia-cuda-nvdisasm")


def compile_and_prove(
    tools: Tools, source: str, architectures: Sequence[str] = ARCHITECTURES
) -> dict[str, tuple[bytes, dict[str, Proof]]]:
    """NVRTC's machine code for each architecture with its proofs; nvcc's must be proved too. Raises ``NotProved``."""
    found = {}
    for architecture in architectures:
        ways: dict[str, Callable[[str, str], bytes]] = {"nvrtc": tools.by_nvrtc, "nvcc": tools.by_nvcc}
        codes = {way: compiled(source, architecture) for way, compiled in ways.items()}
        try:
            proofs = {way: prove_all(architecture, tools.disassembled(code)) for way, code in codes.items()}
        except NotProved as problem:
            raise NotProved(f"known.cu: {problem}") from problem
        found[architecture] = codes["nvrtc"], proofs["nvrtc"]
    return found


def manifest(tools: Tools, source: bytes, compiled: Mapping[str, tuple[bytes, dict[str, Proof]]]) -> Any:
    """What ships beside the binaries."""
    return {
        "schema": "ftprof.selftest-kernels/1",
        "source": {"file": SOURCE.name, "sha256": hashlib.sha256(source).hexdigest()},
        "tools": tools.versions(),
        "binaries": [
            {
                "architecture": architecture,
                "capability": ".".join(map(str, capability_of(architecture))),
                "file": f"{architecture}.cubin",
                "sha256": hashlib.sha256(code).hexdigest(),
                "assembler": tools.assembler(code),
                "kernels": {
                    name: {"instructions": proof.instructions, "least": proof.least, "opcodes": proof.opcodes}
                    for name, proof in proofs.items()
                },
            }
            for architecture, (code, proofs) in compiled.items()
        ],
    }


def shipped_problems(tools: Tools, shipped: Any, folder: Path, source: bytes) -> list[str]:
    """What does not hold of the manifest and the binaries that lie beside it, proved anew from each binary."""
    problems = []
    if shipped["source"]["sha256"] != hashlib.sha256(source).hexdigest():
        problems.append(f"{SOURCE.name} is not the source that the manifest names")
    if [row["architecture"] for row in shipped["binaries"]] != list(ARCHITECTURES):
        problems.append("the manifest does not list every architecture")
    for row in shipped["binaries"]:
        code = (folder / row["file"]).read_bytes()
        if hashlib.sha256(code).hexdigest() != row["sha256"]:
            problems.append(f"{row['file']} is not the binary that the manifest names")
        try:
            proofs = prove_all(row["architecture"], tools.disassembled(code))
        except NotProved as problem:
            problems.append(f"{row['file']}: {problem}")
            continue
        told = {name: Proof(k["opcodes"], k["instructions"], k["least"]) for name, k in row["kernels"].items()}
        if told != proofs:
            problems.append(f"{row['file']} does not hold what the manifest says")
    return problems


def differences(compiled: Mapping[str, tuple[bytes, dict[str, Proof]]], shipped: Any) -> list[str]:
    """Where what was compiled just now holds other floating-point instructions than what ships."""
    rows = {row["architecture"]: row["kernels"] for row in shipped["binaries"]}
    return [
        f"{architecture}: {name}"
        for architecture, (_, proofs) in compiled.items()
        for name, proof in proofs.items()
        if _floating(proof.opcodes) != _floating(rows[architecture][name]["opcodes"])
    ]


def _floating(opcodes: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for opcode, times in opcodes.items():
        if (claimed := _claimed(opcode)) is not None:
            found[claimed] += times
    return found


def main() -> None:
    tools = Tools()
    source = SOURCE.read_bytes()
    try:
        compiled = compile_and_prove(tools, source.decode())
    except NotProved as problem:
        sys.exit(f"not proved: {problem}")
    if "--write" in sys.argv[1:]:
        for architecture, (code, _) in compiled.items():
            (KERNELS / f"{architecture}.cubin").write_bytes(code)
        MANIFEST.write_text(json.dumps(manifest(tools, source, compiled), indent=1) + "\n")
    shipped = json.loads(MANIFEST.read_text())
    problems = shipped_problems(tools, shipped, KERNELS, source) + differences(compiled, shipped)
    if problems:
        sys.exit("\n".join(f"not proved: {problem}" for problem in problems))
    kernels = sum(len(row["kernels"]) for row in shipped["binaries"])
    print(f"proved: {kernels} kernels for {', '.join(compiled)}, by NVRTC and nvcc; {tools.versions()}")


if __name__ == "__main__":
    main()
