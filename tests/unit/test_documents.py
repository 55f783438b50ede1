"""The README and the docs: their figures, links and commands are true."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY, ftprof

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def test_the_readmes_figures_are_those_of_the_evidence() -> None:
    subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "readme_figures.py"), "--check"], check=True)
    assert "| figure |" in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document: object) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):  # type: ignore[attr-defined]
        if "://" not in link:
            assert (document.parent / link.partition("#")[0]).exists(), link  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command", ["wrap", "check", "report", "merge", "sign", "verify", "plan", "doctor", "estimate"]
)
def test_every_option_is_documented(command: str) -> None:
    documented = (REPOSITORY / "docs" / "cli.md").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", ftprof(command, "--help").stdout)) - {"--help", "--debug", "--version"}
    assert options
    assert not [option for option in options if option not in documented]
