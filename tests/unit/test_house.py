"""The house: arrows between folders run one way, and the picture in the docs is that of the code."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from conftest import REPOSITORY


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_picture", REPOSITORY / "scripts" / "house_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house_picture"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_every_arrow_runs_downwards(house: ModuleType) -> None:
    found = house.arrows()
    assert {("cli", "policy"), ("measure", "record"), ("measure", "python"), ("counters", "cupti")} <= found
    assert house.against_the_house(found) == []


def test_policy_and_report_know_no_cupti_and_native_code_no_policy(house: ModuleType) -> None:
    found = house.arrows()
    beyond = {user for user, used in found if used in house.NATIVE and user not in house.NATIVE}
    assert not beyond & {"policy", "report", "record", "proof"}
    assert not [arrow for arrow in found if arrow[0] in house.NATIVE and arrow[1] not in house.NATIVE]


@pytest.mark.parametrize(
    "arrow", [("policy", "report"), ("record", "measure"), ("policy", "measure"), ("cli", "attic")]
)
def test_an_arrow_against_the_house_is_named(house: ModuleType, arrow: tuple[str, str]) -> None:
    assert house.against_the_house({*house.arrows(), arrow}) == [arrow]


def test_arrows_that_others_imply_are_left_out(house: ModuleType) -> None:
    found = {("cli", "report"), ("report", "policy"), ("cli", "policy")}
    assert house.without_shortcuts(found) == {("cli", "report"), ("report", "policy")}


def test_the_picture_is_that_of_the_code(house: ModuleType) -> None:
    assert house.PICTURE.read_text() == house.picture(house.arrows()), "run scripts/house_picture.py"
