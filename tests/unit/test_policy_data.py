"""The policies that ship, and what the loader refuses."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ftprof.errors import FtprofError, UsageProblem
from ftprof.policy import law
from ftprof.policy import policy as policy_module
from ftprof.policy.policy import load_policy, policy_names, read_policy

DATA = Path(policy_module.__file__).parent / "data"


def _data(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def test_two_policies_ship() -> None:
    assert policy_names() == ["aws-2026", "ec-2025"]


@pytest.mark.parametrize("name", policy_names())
def test_every_rule_has_its_source(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert policy.flops_compared == {"aws-2026": "executed", "ec-2025": "guidelines-basis"}[name]
    assert {rule.number: rule.scenario for rule in policy.rules} == {1: "relative", 2: "default", 3: "systemic-risk"}
    for rule in policy.rules:
        assert ("section 3.2, paragraph" if name == "ec-2025" else "AWS blog of 12 May 2026") in rule.source


def test_the_limit_of_the_act_is_that_of_the_data() -> None:
    assert law.SYSTEMIC_RISK_PRESUMPTION == 10**25
    thresholds = {rule.number: rule.threshold.amount for rule in load_policy("ec-2025").rules}
    assert thresholds[2] == Fraction(10**23, 3)
    assert thresholds[3] == Fraction(law.SYSTEMIC_RISK_PRESUMPTION, 3)


@pytest.mark.parametrize("name", ["", "AWS-2026", "ec-2025.json", "../data/ec-2025", "/etc/passwd", "aws", "--"])
def test_an_unknown_policy_is_refused_with_the_names_that_exist(name: str) -> None:
    with pytest.raises(UsageProblem, match="choose from aws-2026, ec-2025"):
        load_policy(name)


def _changed(name: str, change: str) -> dict[str, Any]:
    data = copy.deepcopy(_data(name))
    rules = data["rules"]
    changes: dict[str, Any] = {
        "rule missing": lambda: rules.pop(0),
        "rule twice": lambda: rules.append(rules[0]),
        "gap at an end": lambda: rules[0].update(base_compute={"less_than": "1e23"}),
        "both bounds": lambda: rules[0].update(base_compute={"at_most": "1e23", "less_than": "1e23"}),
        "no bound": lambda: rules[0].update(base_compute={}),
        "strange bound": lambda: rules[0].update(base_compute={"below": "1e23"}),
        "share of unknown": lambda: rules[2].update(threshold={"share_of_base": "1/3"}),
        "strange threshold": lambda: rules[0].update(threshold={"tokens": "1"}),
        "zero threshold": lambda: rules[0].update(threshold={"flops": "0"}),
        "two thresholds": lambda: rules[0].update(threshold={"flops": "1", "share_of_base": "1"}),
        "garbage threshold": lambda: rules[0].update(threshold={"flops": "lots"}),
        "no source": lambda: rules[0].pop("source"),
        "empty why": lambda: rules[0].update(why=""),
        "number as text": lambda: rules[0].update(number="1"),
        "flag as text": lambda: rules[2].update(systemic_risk="no"),
        "strange open point": lambda: data["open_points"].append({"text": "t", "when": "often"}),
        "basis missing": lambda: data["basis"].pop("published"),
        "no title": lambda: data.pop("title"),
    }
    changes[change]()
    return data


CHANGES = [
    "rule missing",
    "rule twice",
    "gap at an end",
    "both bounds",
    "no bound",
    "strange bound",
    "share of unknown",
    "strange threshold",
    "zero threshold",
    "two thresholds",
    "garbage threshold",
    "no source",
    "empty why",
    "number as text",
    "flag as text",
    "strange open point",
    "basis missing",
    "no title",
]


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_does_not_hold_together_is_refused(change: str) -> None:
    read_policy(_data("ec-2025"))
    with pytest.raises((ValueError, TypeError, KeyError, UsageProblem)):
        read_policy(_changed("ec-2025", change))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": 1}', "\udcff"])
def test_a_damaged_policy_file_gives_one_line(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr(policy_module, "_DATA", tmp_path)
    with pytest.raises(FtprofError, match="reinstall ftprof") as raised:
        load_policy("bad")
    assert raised.value.exit_code == 1
    assert "\n" not in raised.value.message


def test_a_policy_file_under_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.json").write_text(json.dumps(_data("ec-2025")), encoding="utf-8")
    monkeypatch.setattr(policy_module, "_DATA", tmp_path)
    with pytest.raises(FtprofError, match="calls itself 'ec-2025'"):
        load_policy("other")
