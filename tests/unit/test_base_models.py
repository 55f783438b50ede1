"""The base-model table and how names are found in it."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy import base_model_table
from ftprof.policy.base_model_table import BaseModel, load_base_models
from ftprof.policy.base_models import find_base_model
from ftprof.policy.derivation import GPU_HOURS, PUBLISHED, REGULATORS_EXAMPLE, SIX_PD, THIRD_PARTY, times_apart
from ftprof.policy.model_name import name_key

MODELS = load_base_models()


def test_the_table_is_whole() -> None:
    assert len(MODELS) == 93
    assert [model.name for model in MODELS if not model.derivations] == ["Mistral-7B", "Mistral-Nemo-12B"]
    for model in MODELS:
        assert bool(model.derivations) != bool(model.unpublished)
        assert (model.lowest is None) == (not model.derivations)
        for derivation in model.derivations:
            assert derivation.source
            assert derivation.source.isascii()
            assert derivation.confidence in {"high", "medium", "low"}
            assert derivation.kind in {PUBLISHED, THIRD_PARTY, REGULATORS_EXAMPLE, SIX_PD, GPU_HOURS}


def test_an_estimate_of_somebody_else_is_not_called_published() -> None:
    for model in MODELS:
        for derivation in model.derivations:
            if derivation.kind == PUBLISHED:
                assert re.search(r"reported|stated in paper", derivation.source, re.IGNORECASE), model.name
                assert not re.search(r"likely|unverified|benchmarks|mean of", derivation.source.split(";")[0]), (
                    model.name
                )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_what_the_table_derives_by_6pd_is_six_times_its_parameters_and_tokens(model: BaseModel) -> None:
    for derivation in model.derivations:
        if derivation.kind == SIX_PD:
            assert derivation.params is not None
            assert derivation.tokens is not None
            exact = 6 * derivation.params * derivation.tokens
            assert abs(derivation.flops / exact - 1) < Fraction(6, 1000)  # written with two or three figures


def test_what_the_table_derives_from_hours_is_their_product() -> None:
    """Of every line that gives its hours, peak and utilisation."""
    form = re.compile(r"([\d.]+)([kM]?) [AH]\d+-h [^x]*x (\d+) TFLOP/s [^=]*U=([\d.]+)")
    checked = 0
    for model in MODELS:
        for derivation in model.derivations:
            found = form.search(derivation.source.replace("512 H100 x 7 days", f"{512 * 7 * 24} H100-h"))
            if derivation.kind == GPU_HOURS and found:
                number, unit, peak, share = found.groups()
                hours = Fraction(number) * {"": 1, "k": 10**3, "M": 10**6}[unit]
                exact = hours * 3600 * Fraction(peak) * 10**12 * Fraction(share)
                assert abs(derivation.flops / exact - 1) < Fraction(6, 1000), model.name
                checked += 1
    assert checked == 12


def test_no_two_rows_share_a_spelling() -> None:
    keys = [name_key(spelling) for model in MODELS for spelling in (model.name, *model.aliases)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_row_is_found_by_its_name_as_people_write_it(model: BaseModel) -> None:
    for spelling in (model.name, *model.aliases):
        for written in (
            spelling,
            spelling.lower(),
            spelling.upper(),
            f"some-owner/{spelling}",
            spelling.replace("-", "_"),
            spelling.replace("-", " "),
            spelling.replace(".", "-"),
            f"{spelling}-hf",
            f"{spelling}-Instruct",
            f"{spelling}-it",
            f"{spelling}-Base",
            f"{spelling}-chat-hf",
            f"unsloth/{spelling}-Instruct-unsloth-bnb-4bit",
            f"{spelling}-GGUF",
            f"{spelling}-AWQ-INT4",
            f"{spelling}-Instruct-GPTQ-Int8",
            f"{spelling}-FP8-dynamic",
            f"{spelling}:instruct-q4_K_M",
        ):
            assert find_base_model(written) == model


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", "Llama-3.2-1B"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("meta-llama/Llama-2-7b-chat-hf", "Llama-2-7B"),
        ("google/gemma-3-4b-pt", "Gemma-3-4B"),
        ("llama3.2:1b", "Llama-3.2-1B"),
        ("Llama 3.2 1B", "Llama-3.2-1B"),
        ("llama3.2-1b", "Llama-3.2-1B"),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "Llama-3.1-8B"),
        ("TheBloke/Llama-2-7B-Chat-GPTQ", "Llama-2-7B"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Llama-3.1-8B"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "Llama-3.1-8B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B"),
        ("mlx-community/Qwen3-8B-4bit", "Qwen3-8B"),
        ("google/gemma-2-9b-it", "Gemma-2-9B"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5-7B"),
        ("microsoft/Phi-3-mini-4k-instruct", "Phi-3-mini"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "Mistral-7B"),
        ("EleutherAI/pythia-1.4b-deduped", "Pythia-1.4B"),
        ("bigscience/bloom", "BLOOM-176B"),
        ("allenai/OLMo-2-1124-7B", "OLMo-2-7B"),
    ],
)
def test_names_of_model_hubs_are_found(written: str, name: str) -> None:
    assert find_base_model(written).name == name


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("llama 3.2", "fits several models: Llama-3.2-1B, Llama-3.2-3B; name one"),
        ("Qwen3", "fits several models: Qwen3-0.6B, Qwen3-1.7B, .* and 2 more"),
        ("llama-8b", "fits several models: Llama-3-8B, Llama-3.1-8B; name one"),
        ("pythia-gguf", "fits several models: Pythia-70M"),
        ("DeepSeek-R1-Distill-Llama-8B", "not in the table"),
        ("Llama-3.2-1B-my-tune", "not in the table"),
        ("yi", "not in the table; near it: Yi-34B"),
        ("Llama-3.2-1", "not in the table; near it: Llama-3.2-1B"),
        ("Lama-3.2-1B", "near it: Llama-3.2-1B"),
        ("Llama-31-8B", "not in the table"),
        ("Llama-3-18B", "not in the table"),
        ("Qwen3.1-7B", "not in the table"),  # and no Qwen3-1.7B
        ("llama3.8b", "not in the table"),
        ("OLMo-2.7B", "not in the table"),
        ("my-own-model", "not in the table; --pretrain-flops"),
        ("", "not in the table; --pretrain-flops"),
        ("--", "not in the table"),
        ("/", "not in the table"),
        ("a/b/Llama-3.2-1B", "not in the table"),
        ("./Llama-3.2-1B/", "not in the table"),
        ("Llama-3.2-1B\N{SNOWMAN}", "not in the table"),
        ("L\N{LATIN SMALL LETTER L WITH STROKE}ama-3.2-1B", "not in the table"),
        ("Llama-3.2-1B\n", "not in the table"),
        ("instruct", "not in the table"),
    ],
)
def test_a_name_that_fits_no_row_is_never_guessed(written: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said) as raised:
        find_base_model(written)
    assert "\n" not in raised.value.message


@given(st.text())
def test_any_text_is_found_or_refused_in_one_line(written: str) -> None:
    try:
        found = find_base_model(written)
    except UsageProblem:
        return
    assert found in MODELS


def test_several_derivations_are_the_ends_of_a_range() -> None:
    found = {
        m.name: (*map(float, (m.lowest.flops, m.highest.flops)), times_apart(m.lowest.flops, m.highest.flops))
        for m in MODELS
        if m.lowest and m.highest and m.derivations[1:]
    }
    assert found == {
        "Llama-2-7B": (8.4e22, 1.04e23, None),
        "Llama-2-70B": (8.1e23, 9.66e23, None),
        "Llama-3-8B": (7.2e23, 2.31e24, "3.2 times apart"),
        "Llama-3-70B": (6.3e24, 1.14e25, "1.8 times apart"),
        "Llama-3.1-8B": (7.2e23, 2.6e24, "3.6 times apart"),
        "Llama-3.1-70B": (6.3e24, 1.25e25, "2.0 times apart"),
        "Llama-3.2-1B": (6.64e22, 6.5e23, "9.8 times apart"),
        "Llama-3.2-3B": (1.73e23, 8.2e23, "4.7 times apart"),
        "Llama-4-Scout": (4.08e24, 8.9e24, "2.2 times apart"),
        "Llama-4-Maverick": (2.24e24, 4.24e24, "1.9 times apart"),
        "Phi-3-mini": (7.5e22, 1.53e23, "2.0 times apart"),
        "phi-4": (8.23e23, 1.4e24, "1.7 times apart"),
        "DeepSeek-V3": (3.29e24, 4.96e24, "1.5 times apart"),
    }


def test_the_margin_is_30_percent_of_the_reported_figure() -> None:
    assert times_apart(Fraction(10), Fraction(13)) is None
    assert times_apart(Fraction(1000), Fraction(1301)) == "1.3 times apart"


def test_a_row_describes_its_figures_and_their_source() -> None:
    described = find_base_model("Llama-3.2-1B").describe()
    assert "6.6\u00d710^22 FLOP (derived by 6PD; confidence low; meta-llama/" in described
    assert "or 6.5\u00d710^23 FLOP (regulator's example; confidence low; EC Guidelines" in described
    assert "9.8 times apart, more than the Guidelines' 30 % margin of error; from ftprof's table" in described
    assert "apart" not in find_base_model("Llama-2-7B").describe()
    assert "a known model whose training compute is unpublished" in find_base_model("Mistral-7B").describe()


@pytest.mark.parametrize("content", [b"model,flops\nx,1e23\n", b"\xff", b"model,flops,source\nx,lots,s\n"])
def test_a_damaged_table_gives_one_line(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "base_models.csv"
    table.write_bytes(content)
    monkeypatch.setattr(base_model_table, "_SHIPPED", table)
    with pytest.raises(FtprofError, match="reinstall ftprof") as raised:
        load_base_models()
    assert raised.value.exit_code == 1
