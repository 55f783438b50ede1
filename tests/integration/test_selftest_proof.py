"""What the self-test's kernels execute, proved from their machine code with NVIDIA's compilers and disassembler."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY

KERNELS = REPOSITORY / "ftprof" / "selftest" / "kernels"
SOURCE = (KERNELS / "known.cu").read_text()
ARCHITECTURES = ["sm_75", "sm_120"]  # the oldest and the newest: each mutation is compiled for both


@pytest.fixture(scope="module")
def prover() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prove_selftest", REPOSITORY / "scripts" / "prove_selftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prove_selftest"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tools(prover: ModuleType) -> Any:
    return prover.Tools()


@pytest.mark.slow
def test_every_kernel_is_proved_from_its_source_and_from_what_ships(prover: ModuleType, tools: Any) -> None:
    compiled = prover.compile_and_prove(tools, SOURCE)
    assert list(compiled) == ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
    shipped = json.loads((KERNELS / "manifest.json").read_text())
    assert prover.shipped_problems(tools, shipped, KERNELS, SOURCE.encode()) == []
    assert prover.differences(compiled, shipped) == []


MUTATIONS = {
    "one FFMA more": ("TIMES_32(FFMA(v.x)", "FFMA(v.x) TIMES_32(FFMA(v.x)", r"known_ffma executes \{'FFMA': 129\}"),
    "a stray FADD": ("TIMES_16(DFMA(w)", "FADD(v.y) TIMES_16(DFMA(w)", "known_dfma executes .*'FADD': 1"),
    "an add that C++ makes": (
        "code;", "v.z = __float_as_uint(__uint_as_float(v.z) + 1.0f); code;",
        "executes .*'FADD'",
    ),
    "a loop": (
        "TIMES_32(FMUL(v.x) FMUL(v.y))", '_Pragma("unroll 1") for (Word i = 0; i < 32; ++i) { FMUL(v.x) FMUL(v.y) }',
        "known_fmul: .* may leave or repeat the straight way",
    ),
    "half of the threads": (
        "TIMES_32(FADD(v.x) FADD(v.y) FADD(v.z))", "if (v.w) { FADD(v.x) } TIMES_32(FADD(v.x) FADD(v.y) FADD(v.z))",
        "known_fadd: (ISETP.* is not known|.*may be switched off by|.*may leave or repeat)",
    ),
    "a floating-point instruction that is not in the table": (
        "TIMES_32(IMAD(v.x)", 'asm volatile("ex2.approx.f32 %0, %0;" : "+r"(v.x)); TIMES_32(IMAD(v.x)',
        "is not known to be an integer instruction|executes .*'FMUL'",
    ),
    "a product less": ("TIMES_8(PRODUCT", "TIMES_4(PRODUCT", "known_tensor_fp16 executes .*'HMMA.1688.F32': 8"),
    "a kernel more": ("KNOWN(known_fadd", 'extern "C" __global__ void more() {} KNOWN(known_fadd', "and the table"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_mutated_kernel_is_not_proved(prover: ModuleType, tools: Any, name: str, architecture: str) -> None:
    before, after, why = MUTATIONS[name]
    assert before in SOURCE
    with pytest.raises(prover.NotProved, match=why):
        prover.compile_and_prove(tools, SOURCE.replace(before, after), [architecture])


STRAIGHT = [
    {"opcode": "LDG.E", "operands": "R8,desc[UR4][R8.64]"},
    {"opcode": "FADD", "operands": "R0,R4,R9"},
    {"opcode": "EXIT", "other-attributes": {"control-flow": "True"}},
    {"opcode": "BRA", "operands": "0x30", "other-attributes": {"control-flow": "True"}},
    {"opcode": "NOP"},
]
CROOKED: dict[str, tuple[int, dict[str, Any], str]] = {
    "it may be switched off": (1, {"opcode": "FADD", "predicate": "@P0"}, "switched off by @P0"),
    "another opcode that begins alike": (1, {"opcode": "FADD2"}, "FADD2 is not known"),
    "one that is none of the table's": (0, {"opcode": "HMUL2"}, "HMUL2 is not known"),
    "some threads end early": (2, {"opcode": "EXIT", "predicate": "@P0"}, "one end for all"),
    "a jump back": (3, {"opcode": "BRA", "operands": "0x10"}, "stands behind its end"),
    "code behind the end": (4, {"opcode": "FADD"}, "stands behind its end"),
    "a jump before the end": (0, STRAIGHT[3], "may leave or repeat"),
}  # fmt: skip


def test_only_the_straight_way_is_a_proof(prover: ModuleType) -> None:
    kernel = prover.KnownKernel("one", "one", {"FADD": 1})
    proof = prover.prove(kernel, {"sass-instructions": STRAIGHT, "length": 80})
    assert (proof.opcodes, proof.instructions, proof.least) == ({"EXIT": 1, "FADD": 1, "LDG.E": 1}, 3, 3)
    for place, row, why in CROOKED.values():
        rows = [*STRAIGHT[:place], row, *STRAIGHT[place + 1 :]]
        with pytest.raises(prover.NotProved, match=why):
            prover.prove(kernel, {"sass-instructions": rows, "length": 80})


@pytest.mark.slow
def test_binaries_that_were_changed_are_found(prover: ModuleType, tools: Any, tmp_path: Any) -> None:
    shipped = json.loads((KERNELS / "manifest.json").read_text())
    for row in shipped["binaries"]:
        (tmp_path / row["file"]).write_bytes((KERNELS / row["file"]).read_bytes())
    mutated = SOURCE.replace(*MUTATIONS["one FFMA more"][:2])
    (tmp_path / "sm_90.cubin").write_bytes(tools.by_nvrtc(mutated, "sm_90"))
    shipped["binaries"][0]["kernels"]["known_fadd"]["opcodes"]["FADD"] += 1
    problems = prover.shipped_problems(tools, shipped, tmp_path, mutated.encode())
    assert len(problems) == 4, problems
    for text, problem in zip(("source", "sm_75", "sm_90.cubin is not", "FFMA': 129"), problems, strict=True):
        assert text in problem


@pytest.mark.slow
def test_the_page_s_commands_prove_what_ships(tools: Any) -> None:
    """Those of docs/selftest.md: what they install is what the tests have, and the script is run as it says."""
    page = (REPOSITORY / "docs" / "selftest.md").read_text()
    install, command = page.partition("test_selftest_proof.py -->\n```bash\n")[2].partition("\n```")[0].splitlines()
    for pinned in install.removeprefix("pip install ").split():
        name, _, release = pinned.partition("==")
        assert version(name) == release
    words = command.partition("#")[0].split()
    assert words == ["python", "scripts/prove_selftest.py"]
    done = subprocess.run([sys.executable, *words[1:]], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("proved: 69 kernels for sm_75, sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, by NVRTC")
