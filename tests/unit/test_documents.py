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


def test_the_codes_explained_are_those_of_ftprof() -> None:
    subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "messages_page.py"), "--check"], check=True)


def test_every_message_that_is_explained_is_one_that_ftprof_says() -> None:
    """What stands between backticks in the first column, but for the parts that differ (...), is in the source."""
    page = (REPOSITORY / "docs" / "messages.md").read_text().partition("<!-- codes -->")[0]
    sources = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text())  # a text over two lines
        for path in [*(REPOSITORY / "ftprof").rglob("*.py"), *(REPOSITORY / "csrc" / "inject").glob("*.cpp")]
    )
    messages = [text for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for text in re.findall("`(.+?)`", row)]
    assert len(messages) > 30
    unsaid = [m for m in messages if any(part.strip(" :,;") not in sources for part in m.split("..."))]
    assert unsaid == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document: object) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):  # type: ignore[attr-defined]
        if "://" not in link:
            assert (document.parent / link.partition("#")[0]).exists(), link  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command", ["wrap", "check", "report", "merge", "sign", "verify", "plan", "doctor", "estimate", "selftest"]
)
def test_every_option_is_documented(command: str) -> None:
    documented = (REPOSITORY / "docs" / "cli.md").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", ftprof(command, "--help").stdout)) - {"--help", "--debug", "--version"}
    assert options
    assert not [option for option in options if option not in documented]
