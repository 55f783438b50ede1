"""The one serialisation of every line and record that is hashed.

``ftprof/measure/analytic/hook.py`` writes by the same rule, and has its own copy since it runs without ftprof.
"""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring_ascii
from typing import Any

FIRST_HASH = "0" * 64
_PLAIN = json.JSONEncoder(ensure_ascii=True)
# What is written was read, or is made of new values: nothing that holds itself.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, check_circular=False)


def canonical(content: Any) -> bytes:
    """Sorted keys, no spaces, ASCII only."""
    return _ENCODER.encode(content).encode("ascii")


def indented(content: Any, level: int = 0) -> str:
    """What ``json.dumps(content, indent=1)`` gives, in half its time: Python 3.11 does that without its C code."""
    if isinstance(content, dict) and content:
        parts = [f"{encode_basestring_ascii(key)}: {_part(value, level)}" for key, value in content.items()]
    elif isinstance(content, list) and content:
        parts = [_part(value, level) for value in content]
    else:
        return _PLAIN.encode(content)
    begin, end = "[]" if isinstance(content, list) else "{}"
    inner = "\n" + " " * (level + 1)
    return f"{begin}{inner}{(',' + inner).join(parts)}\n{' ' * level}{end}"


def _part(value: Any, level: int) -> str:
    return encode_basestring_ascii(value) if type(value) is str else indented(value, level + 1)


def chained_hash(line: dict[str, Any]) -> str:
    """The hash of a journal's line: over all of it but the hash itself, so over the line before it too."""
    return hashlib.sha256(canonical({key: value for key, value in line.items() if key != "hash"})).hexdigest()


def is_hash_of_line(text: bytes, line: dict[str, Any]) -> bool:
    """Whether a line's ``hash`` is its ``chained_hash``. ``text`` is the line's canonical form, which is not checked.

    The canonical form without a key is the one with it, less the key's own bytes: the order and the form of the other
    members do not hang on it. So these bytes are cut out, where they are there once; else the line is written anew.
    """
    claimed = line.get("hash")
    if not isinstance(claimed, str):
        return False
    if len(claimed) == len(FIRST_HASH) and claimed.isalnum() and claimed.isascii():
        member = b'"hash":"%b",' % claimed.encode("ascii")
        before, found, after = text.partition(member)
        if found and member not in after:
            return hashlib.sha256(before + after).hexdigest() == claimed
    return chained_hash(line) == claimed


def digest(content: dict[str, Any]) -> str:
    """The hash of a record: over all of it but the digest itself."""
    return hashlib.sha256(canonical({key: value for key, value in content.items() if key != "digest"})).hexdigest()
