"""``ftprof estimate`` without torch: the arithmetic, the chips, the workload, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.cli import main
from ftprof.errors import FtprofError, UntrustedInput, UsageProblem
from ftprof.estimate import chip as chip_module
from ftprof.estimate.chip import MachineUse, chip_names, find_chip
from ftprof.estimate.config import read_config
from ftprof.estimate.method import TuningMethod, compared_methods, read_method, split_list
from ftprof.estimate.method_estimate import MethodEstimate
from ftprof.estimate.reference_formulas import aws_formula, six_pd
from ftprof.estimate.threshold_distance import distances, largest_tokens_below
from ftprof.estimate.workload import StepShape, WorkloadOptions, plan_workload
from ftprof.policy.amount import Amount
from ftprof.policy.claims import Claims
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.policy import load_policy
from ftprof.policy.verdict import judge
from ftprof.record.peaks import chip_peaks

DATA = json.loads((Path(chip_module.__file__).parent / "data" / "chips.json").read_text(encoding="ascii"))
positive = st.integers(1, 10**6)


def test_the_largest_number_of_tokens_is_below_and_one_more_is_above() -> None:
    threshold, a_token = Fraction(10**23, 3), Fraction(8 * 10**9 + 1, 7)
    most = largest_tokens_below(threshold, a_token)
    assert most is not None
    assert most * a_token <= threshold < (most + 1) * a_token
    policy, inputs = load_policy("ec-2025"), PolicyInputs()
    outcomes = [judge(policy, inputs, Amount.given(n * a_token, Fraction(0))).verdict for n in (most, most + 1)]
    assert outcomes == ["below", "above"]


def test_claims_hold_for_an_estimate_too() -> None:
    """A token costs 4 FLOP, of which one is recomputed; a thousand tokens, and the third of P is 10,000."""
    method = TuningMethod("full")
    chosen = MethodEstimate(
        method, "sdpa", 1, 1, 1, forward=1000, backward=2000, recomputed=1000, attention=0, scores_again=0,
        by_operator={}, not_counted=(), executed_a_token=Fraction(4), guidelines_basis_a_token=Fraction(3), steps=(),
        references=(),
    )  # fmt: skip
    ec = load_policy("ec-2025")

    def found(**inputs: Any) -> tuple[str, Fraction, int | None]:
        (answer,) = distances([chosen], [ec], PolicyInputs(Fraction(30_000), Fraction(30_000), **inputs))
        return answer.verdict.verdict, answer.flops_compared, answer.largest_tokens

    assert found() == ("below", 3000, 10_000 // 3)
    assert found(claims=Claims(deduct=())) == ("below", 4000, 10_000 // 4)
    assert found(claims=Claims(generated_flops=Fraction(6000))) == ("below", 9000, 4000 // 3)
    assert found(claims=Claims(generated_flops=Fraction(7001))) == ("above", 10_001, 2999 // 3)
    assert found(claims=Claims(generated_flops=Fraction(10_000))) == ("above", 13_000, 0)
    assert found(claims=Claims(generated_flops=Fraction(20_000))) == ("above", 23_000, None)
    assert found(gpai=False) == ("undetermined", 3000, None)


def test_a_number_that_reaches_the_threshold_exactly_is_still_below() -> None:
    assert largest_tokens_below(Fraction(3 * 10**22), Fraction(3 * 10**10)) == 10**12
    assert largest_tokens_below(Fraction(3 * 10**22) - Fraction(1, 10**9), Fraction(3 * 10**10)) == 10**12 - 1
    assert largest_tokens_below(Fraction(5), Fraction(6)) == 0
    assert largest_tokens_below(Fraction(5), Fraction(0)) is None


@given(st.fractions(min_value=1), st.fractions(min_value=Fraction(1, 1000)))
def test_the_boundary_holds_for_any_threshold(threshold: Fraction, a_token: Fraction) -> None:
    most = largest_tokens_below(threshold, a_token)
    assert most is not None
    assert most * a_token <= threshold < (most + 1) * a_token


@given(positive, st.integers(1, 8192), st.integers(1, 64))
def test_packed_tokens_are_all_there_and_no_more(tokens: int, length: int, batch: int) -> None:
    workload = plan_workload(WorkloadOptions(length, batch, tokens=tokens))
    assert workload.positions == workload.tokens == tokens
    assert workload.padding == 0
    assert all(shape.batch <= batch and shape.length <= length for shape in workload.shapes)


@given(positive, st.integers(1, 512), st.integers(1, 64), st.integers(1, 9))
def test_every_epoch_has_its_own_partial_batch(samples: int, length: int, batch: int, epochs: int) -> None:
    workload = plan_workload(WorkloadOptions(length, batch, samples=samples, epochs=epochs, packing=False))
    assert workload.positions == samples * length * epochs
    assert workload.steps == -(-samples // batch) * epochs
    assert workload.tokens is None


def test_the_remainders_are_shapes_of_their_own() -> None:
    packed = plan_workload(WorkloadOptions(100, 4, tokens=1130))
    assert packed.shapes == (StepShape(4, 100, 2), StepShape(3, 100, 1), StepShape(1, 30, 1))
    padded = plan_workload(WorkloadOptions(100, 4, samples=11, epochs=3, mean_length=Fraction(61, 2), packing=False))
    assert padded.shapes == (StepShape(4, 100, 6), StepShape(3, 100, 3))
    assert (padded.positions, padded.tokens, padded.padding) == (3300, 336 * 3, 3300 - 1008)
    assert "padding executes and is in the number" in padded.assumptions[0]
    by_tokens = plan_workload(WorkloadOptions(100, 4, tokens=1000, mean_length=Fraction(30), packing=False))
    assert by_tokens.positions == 34 * 100


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (WorkloadOptions(64, 1), "either --tokens, or --samples"),
        (WorkloadOptions(64, 1, tokens=5, samples=5), "either --tokens, or --samples"),
        (WorkloadOptions(64, 1, tokens=5, epochs=2), "--epochs goes with --samples"),
        (WorkloadOptions(64, 1, samples=5, mean_length=Fraction(65)), "--mean-length must lie between 1 and"),
        (WorkloadOptions(64, 1, tokens=5, packing=False), "needs --mean-length"),
        (WorkloadOptions(64, 1, tokens=5, mean_length=Fraction(6)), "packed sequences are full"),
    ],
)
def test_a_workload_that_is_open_or_contradicts_itself_is_refused(options: WorkloadOptions, says: str) -> None:
    with pytest.raises(UsageProblem, match=says):
        plan_workload(options)


def test_the_reference_formulas() -> None:
    # Annex A.3, model A: 3.8e9 parameters, 3.3e12 tokens.
    assert six_pd(38 * 10**8, 33 * 10**11).flops == 7524 * 10**19
    # Gemma-3-4B has 4,300,079,472 parameters; the meter takes those of its packed storage.
    assert aws_formula(4_300_079_472, 0, 2150).flops == 4 * 4_300_079_472 * 2150
    assert aws_formula(100, 100, 7).flops == six_pd(100, 7).flops


@pytest.mark.parametrize(
    "name", ["H20", "NVIDIA H20", "h2", "A1000", "NVIDIA RTX A1000", "A10G", "H100", "L4 0", "", "GH200 480GB"]
)
def test_a_part_of_a_name_or_a_longer_one_is_no_chip(name: str) -> None:
    with pytest.raises(UsageProblem, match="no name is guessed"):
        find_chip(name)


def test_a_chip_is_found_by_its_whole_name() -> None:
    assert find_chip("NVIDIA H200").peak == find_chip("h200").peak == Fraction("989.4") * 10**12
    assert find_chip("NVIDIA H200 NVL").power_w == 600
    assert find_chip("L40").peak < find_chip("L40S").peak
    assert find_chip("NVIDIA GH200 480GB").power_w is None


def test_a_compute_capability_needs_size_and_clock() -> None:
    assert find_chip("9.0", 132, 1830).peak == 4096 * 132 * 1830 * 10**6
    with pytest.raises(UsageProblem, match="add --multiprocessors and --clock-mhz, or name one of H100 SXM"):
        find_chip("9.0", 132)
    with pytest.raises(UsageProblem, match="a named chip has its own"):
        find_chip("H200", 132, 1830)
    with pytest.raises(UsageProblem, match="no bf16"):
        find_chip("7.5", 40, 1590)
    with pytest.raises(UsageProblem, match="no chip of that compute capability"):
        find_chip("9.9", 132, 1830)


def test_hours_and_energy_are_exact() -> None:
    use = MachineUse(find_chip("H200"), Fraction(1, 2), 9894 * 10**11 // 2 * 3600 * 10)
    assert use.gpu_hours == 10
    assert use.energy_kwh == 7
    assert MachineUse(find_chip("GH200"), Fraction(1), 1).energy_kwh is None


@pytest.mark.parametrize("row", DATA["chips"], ids=lambda row: row["names"][0])
def test_no_published_figure_is_above_the_peak_of_its_capability(row: dict[str, object]) -> None:
    peaks = chip_peaks(str(row["capability"]))
    assert peaks is not None
    bound = peaks.tensor["bf16"] * row["multiprocessors"] * row["clock_mhz"] * 10**6  # type: ignore[operator]
    published = Fraction(str(row["bf16_dense_tflops"])) * 10**12
    assert Fraction(45, 100) * bound <= published <= Fraction(101, 100) * bound


def test_names_of_chips_are_unique_and_every_source_is_used() -> None:
    names = [name.casefold() for row in DATA["chips"] for name in row["names"]]
    assert len(names) == len(set(names))
    assert {row["source"] for row in DATA["chips"]} == set(DATA["sources"])
    assert chip_names()[0] == "A100 SXM"


def test_methods_are_read_and_compared() -> None:
    assert split_list(("q_proj, v_proj", "o_proj")) == ("q_proj", "v_proj", "o_proj")
    chosen = read_method("qlora", None, ("q_proj",), ())
    assert chosen == TuningMethod("qlora", 16, ("q_proj",))
    assert [method.name for method in compared_methods(chosen)] == ["qlora", "full", "lora", "spectrum"]
    assert [method.name for method in compared_methods(TuningMethod("full", 4))] == ["full", "lora", "spectrum"]
    assert "every 4th layer (assumed)" in compared_methods(chosen)[3].describe()
    with pytest.raises(UsageProblem, match="needs --spectrum-layers"):
        read_method("spectrum", None, (), ())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "no JSON object"),
        ("{}", "model_type is nothing"),
        ('{"model_type": 5}', "model_type is"),
        ('{"schema": "ftprof.record/1"}', "is ftprof's own; estimate takes a model's config.json"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UntrustedInput, match=says):
        read_config(tmp_path)
    with pytest.raises(UntrustedInput, match="cannot be read"):
        read_config(tmp_path / "elsewhere.json")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tokens", "5", "--samples", "5"], "either --tokens, or --samples"),
        (["--tokens", "1.5"], "no whole number"),
        (["--tokens", "5", "--epochs", "4k"], "--epochs '4k' is no quantity"),
        (["--tokens", "5", "--epochs", "0.5"], "0.5 is no whole number from 1 on"),
        (["--tokens", "5", "--epochs"], "see 'ftprof estimate --help'"),
        (["--tokens", "5", "--utilization", "0.5"], "name the GPU with --chip"),
        (["--tokens", "5", "--chip", "H200", "--utilization", "1.5"], "above 0 and at most 1"),
        (["--tokens", "5", "--chip", "H20"], "no name is guessed"),
        (["--tokens", "5", "--policy", "nope"], "no policy"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(SystemExit) as ended:
        main(["estimate", str(tmp_path), "--sequence-length", "8", *options])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftprof.estimate.meta_model import quiet_libraries

    for name in ("peft", "torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FtprofError, match=r"pip install 'ftprof\[estimate\]'"), quiet_libraries():
        pass


def test_its_help_imports_no_torch() -> None:
    look = (
        "import sys; from ftprof.cli import main\n"
        "try: main(['estimate', '--help'])\n"
        "except SystemExit: print([n for n in ('torch', 'transformers', 'peft', 'cupy', 'pynvml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
