"""The record made anew from its journals, and its verdicts from its policy inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftprof.errors import FtprofError
from ftprof.policy.inputs import PolicyInputs
from ftprof.policy.judged import judged
from ftprof.policy.policy import load_policy, policy_names
from ftprof.record.merge import merge_files
from ftprof.record.record import Record, record_bytes

NOT_OF_JOURNALS = ("policy_inputs", "guidelines_basis", "verdicts", "digest")
"""Fields of a record that its journals alone do not give: ``ftprof merge`` may state other inputs than ``wrap`` had."""


def remade_record(folder: Path, files: Mapping[str, bytes], until_us: int | None) -> Record:
    """A record from its run directory's files, not yet judged.

    ``until_us`` is the record's own, which only a record of a run that did not end has. Raises ``UntrustedInput`` where
    a journal does not verify.
    """
    return merge_files(folder, files, now_us=until_us or 0)


def judged_again(record: Record, inputs: Any = None, policies: Sequence[str] = ()) -> Record:
    """With its verdicts. ``inputs`` are the policies' as a record has them, by default its own; ``policies`` by default
    all that ship. Raises ``FtprofError`` for inputs that no ftprof wrote, and for a policy that does not ship.
    """
    stated = parsed_inputs(record.policy_inputs if inputs is None else inputs)
    return judged(record, stated, [load_policy(name) for name in policies or policy_names()])[0]


def parsed_inputs(stated: Any) -> PolicyInputs:
    """Those that a record or a run's journal has; nothing is known of the base model where it has none.

    Raises ``UntrustedInput``.
    """
    return PolicyInputs.from_json(stated, "policy_inputs") if stated else PolicyInputs()


def verdicts_of(record: Record, inputs: PolicyInputs, policies: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Of these policies on a record. Raises ``FtprofError`` for a policy that does not ship."""
    return judged(record, inputs, [load_policy(name) for name in policies])[0].verdicts


def original_of(
    data: Any, folder: Path, files: Mapping[str, bytes], is_original: Callable[[dict[str, Any], bytes], bool]
) -> tuple[dict[str, Any], bytes] | None:
    """The content and bytes that a changed record had before, if its journals give them.

    ``data`` is what can be read of it, or ``None``. ``is_original`` says of bytes and content whether they are right.
    """
    tries: list[tuple[Any, Any, Sequence[str]]] = [(None, None, ())]
    if isinstance(data, dict):
        rows = data.get("verdicts")
        rows = rows if isinstance(rows, list) else []
        names = [row["policy"] for row in rows if isinstance(row, dict) and isinstance(row.get("policy"), str)]
        until = data.get("until_us") if type(data.get("until_us")) is int else None
        tries += [
            (until, data.get("policy_inputs"), names),
            (until, None, names),
            (until, data.get("policy_inputs"), ()),
        ]
    for until, inputs, policies in tries:
        try:
            content = judged_again(remade_record(folder, files, until), inputs, policies).to_json()
        except FtprofError:
            continue
        original = record_bytes(content)
        if is_original(content, original):
            return content, original
    return None
