"""A user's own table of base models: what wins, what the answer says of it, and what is wrong in which line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from ftprof.errors import UsageProblem
from ftprof.policy.base_model_table import read_own_models
from ftprof.policy.base_models import find_base_model
from ftprof.policy.choice import PolicyOptions, read_policy_options
from ftprof.policy.derivation import SIX_PD, STATED
from ftprof.policy.inputs import PolicyInputs

HEADING = "model,aliases,params,tokens,flops,kind,confidence,source"


def table(folder: Path, *lines: str, heading: str = HEADING) -> str:
    path = folder / "own.csv"
    path.write_text("\n".join([heading, *lines, ""]), encoding="utf-8")
    return str(path)


def chosen(file: str, name: str) -> PolicyInputs:
    return read_policy_options(PolicyOptions(base_model=name, base_models=file), environment={}).inputs


def test_a_row_of_ones_own_is_found_and_the_answer_says_whose_it_is(tmp_path: Path) -> None:
    file = table(tmp_path, "Acme-7B,,,,2.5e23,published,high,our report 3")
    choice = read_policy_options(PolicyOptions(base_model="acme/acme_7b-instruct", base_models=file), environment={})
    assert choice.inputs.pretrain_flops_low == Fraction("2.5e23")
    assert choice.inputs.base_model == "Acme-7B"
    assert choice.inputs.pretrain_source is not None
    assert f"our report 3); the user's own, from {file}" in choice.inputs.pretrain_source
    assert choice.notes == (f"Base compute: {choice.inputs.pretrain_source}.",)


@pytest.mark.parametrize("own", ["Llama-3.2-1B", "meta-llama/llama-3.2-1b-instruct"])
def test_a_row_of_ones_own_goes_before_the_one_that_ships(tmp_path: Path, own: str) -> None:
    file = table(tmp_path, f"{own},,,,7e22,,,measured")
    inputs = chosen(file, "Llama 3.2 1B")
    assert (inputs.pretrain_flops_low, inputs.pretrain_flops_high) == (Fraction("7e22"), Fraction("7e22"))
    assert (inputs.base_model, inputs.pretrain_low_kind) == (own, STATED)
    assert chosen(table(tmp_path, f"{own},,,,7e22,,,measured"), "Llama-3.2-3B").pretrain_flops_low == Fraction(
        "1.73e23"
    )


def test_a_row_of_ones_own_takes_the_aliases_too(tmp_path: Path) -> None:
    file = table(tmp_path, "Phi-3-mini,,,,8e22,,,measured")
    assert chosen(file, "microsoft/Phi-3-mini-4k-instruct").pretrain_flops_low == Fraction("8e22")
    two = table(tmp_path, "Phi-3-mini-4k,,,,8e22,,,measured", "Phi-3-mini-128k,,,,9e22,,,measured")
    assert chosen(two, "Phi-3-mini-128k").pretrain_flops_low == Fraction("9e22")
    with pytest.raises(UsageProblem, match="fits several models: Phi-3-mini-4k, Phi-3-mini-128k"):
        chosen(two, "Phi-3-mini")


def test_two_lines_of_one_name_are_two_derivations(tmp_path: Path) -> None:
    file = table(tmp_path, "Acme,,,,2e23,derived by 6PD,,a", "Acme,acme-large,,,2e24,derived from hardware hours,,b")
    inputs = chosen(file, "acme-large")
    assert inputs.base_figures() == (Fraction("2e23"), Fraction("2e24"))
    assert "10 times apart" in str(inputs.pretrain_source)


@pytest.mark.parametrize("kind", ["", "derived by 6PD", "unpublished"])
def test_parameters_and_tokens_alone_are_an_estimate_and_no_unknown(tmp_path: Path, kind: str) -> None:
    inputs = chosen(table(tmp_path, f"Acme,,3.8e9,3.3e12,,{kind},,our card"), "acme")
    assert inputs.base_figures() == (Fraction("7.524e22"),)
    assert inputs.base_kinds() == (SIX_PD,)
    assert "6 x 3800000000 parameters x 3300000000000 tokens = 75240000000000000000000 FLOP" in str(
        inputs.pretrain_source
    )


def test_a_model_can_be_known_to_be_unpublished(tmp_path: Path) -> None:
    choice = read_policy_options(
        PolicyOptions(base_model="Qwen3-8B", base_models=table(tmp_path, "Qwen3-8B,,,,,unpublished,,not credible")),
        environment={},
    )
    assert choice.inputs.base_figures() == (None,)
    assert "unpublished (not credible); the user's own, from" in choice.notes[0]


def test_columns_may_be_left_out_or_stand_elsewhere_and_a_spreadsheet_may_mark_its_file(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes('\ufeffsource,flops,model\r\n"a, b", 2e23 ,Acme\r\n\r\n'.encode())
    (model,) = read_own_models(str(path), "--base-models")
    assert [(d.flops, d.source) for d in model.derivations] == [(Fraction("2e23"), "a, b")]


def test_the_variable_names_a_file_and_the_option_goes_before_it(tmp_path: Path) -> None:
    file = table(tmp_path, "Acme,,,,2e23,,,a")
    environment = {"FTPROF_BASE_MODELS": file}
    assert read_policy_options(PolicyOptions(base_model="acme"), environment=environment).inputs.pretrain_flops_low
    other = tmp_path / "other"
    other.mkdir()
    options = PolicyOptions(base_model="acme", base_models=table(other, "Acme,,,,3e23,,,a"))
    assert read_policy_options(options, environment=environment).inputs.pretrain_flops_low == Fraction("3e23")
    assert read_policy_options(PolicyOptions(), environment={"FTPROF_BASE_MODELS": "missing"}).notes == ()
    with pytest.raises(UsageProblem, match=r"^FTPROF_BASE_MODELS missing: cannot be read \(No such file"):
        read_policy_options(PolicyOptions(base_model="x"), environment={"FTPROF_BASE_MODELS": "missing"})


def test_a_table_without_a_name_to_look_up_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="--base-models adds models for --base-model to find"):
        read_policy_options(PolicyOptions(base_models=table(tmp_path)), environment={})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Acme,,,,2e23,,,a", "B,,,,lots,,,a"], "line 3, column flops: 'lots' is no quantity"),
        (["Acme,,,,0,,,a"], "line 2, column flops: '0' is zero"),
        (["Acme,,-1,,2e23,,,a"], "line 2, column params: '-1' has a minus sign"),
        (["Acme,,,nan,2e23,,,a"], "line 2, column tokens: 'nan' is not a finite number"),
        (["Acme,,,,2e23,guessed,,a"], "line 2, column kind: 'guessed' is none of stated by the user, published"),
        (["Acme,,,,2e23,,sure,a"], "line 2, column confidence: 'sure' is none of high, medium, low, unknown"),
        (["Acme,,,,2e23,unpublished,,a"], "line 2, column kind: says unpublished, and column flops has a figure"),
        (["Acme,,7e9,,,,,a"], "line 2, column flops: is empty; give a figure, or params and tokens"),
        (["Acme,,7e9,1e12,,published,,a"], "line 2, column flops: is empty"),
        (["Acme,,,,2e23,,,"], "line 2, column source: is empty"),
        ([",,,,2e23,,,a"], "line 2, column model: is empty"),
        (["instruct,,,,2e23,,,a"], "line 2, column model: 'instruct' is no name"),
        (["a/b/c,,,,2e23,,,a"], "line 2, column model: 'a/b/c' is no name"),
        (["Acme,x|?,,,2e23,,,a"], r"line 2, column aliases: '\?' is no name"),
        (["Acme,,,,2e23,,,a", "acme-it,,,,2e23,,,a"], "line 3, column model: 'acme-it' cannot be told from"),
        (["Acme,,,,2e23,,,a", "B,ACME,,,2e23,,,a"], "line 3, column aliases: 'ACME' cannot be told from"),
        (["Acme,,,,2e23,,,a, b"], "line 2: has 9 columns, and the heading 8; quote"),
        (["Acme"], "line 2: has 1 columns"),
        (["Acme,,,,2e23,,,\x1b[2J"], "line 2, column source: .* cannot be shown"),
        (['Acme,,,,2e23,,,"a'], "line 2: no CSV"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_column(tmp_path: Path, lines: list[str], said: str) -> None:
    file = table(tmp_path, *lines)
    with pytest.raises(UsageProblem, match=said) as raised:
        chosen(file, "Acme")
    assert raised.value.message.startswith(f"--base-models {file}, line ")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("model,flops", "line 1, column source: is missing; a table's columns are model,aliases"),
        ("model;flops;source", "line 1, column model: is missing"),
        ("", "line 1, column model: is missing"),
        ("model,source,flop", "line 1, column 'flop': is not known"),
        ("model,source,model", "line 1, column 'model': is twice"),
    ],
)
def test_a_heading_that_is_none_is_named(tmp_path: Path, heading: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        read_own_models(table(tmp_path, heading=heading), "--base-models")


def test_a_file_that_is_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(b"model,source\n\xff,a\n")
    with pytest.raises(UsageProblem, match=r"own\.csv: is not UTF-8"):
        read_own_models(str(path), "--base-models")
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_own_models(str(tmp_path), "--base-models")


def test_with_no_table_of_ones_own_nothing_changes() -> None:
    assert find_base_model("Qwen3-8B").file is None
