"""The one serialisation of every line and record that is hashed.

``ftprof/measure/analytic/hook.py`` writes by the same rule, and has its own copy since it runs without ftprof.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

FIRST_HASH = "0" * 64


def canonical(content: Any) -> bytes:
    """Sorted keys, no spaces, ASCII only."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def chained_hash(line: dict[str, Any]) -> str:
    """The hash of a journal's line: over all of it but the hash itself, so over the line before it too."""
    return hashlib.sha256(canonical({key: value for key, value in line.items() if key != "hash"})).hexdigest()


def digest(content: dict[str, Any]) -> str:
    """The hash of a record: over all of it but the digest itself."""
    return hashlib.sha256(canonical({key: value for key, value in content.items() if key != "digest"})).hexdigest()
