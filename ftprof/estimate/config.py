"""A model's ``config.json``: read without torch, so that a bad one is refused at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftprof.errors import UntrustedInput
from ftprof.quantity import shown

_LARGEST = 16 << 20  # bytes; such files have a few thousand


def read_config(path: Path) -> dict[str, Any]:
    """The content of a ``config.json``, or of the one in a folder.

    Raises UntrustedInput, with path and reason, for a file that cannot be read, is no JSON object, or names no
    model type.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > _LARGEST:
            raise UntrustedInput(f"{file} is larger than 16 MiB: that is no config.json")
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        what = "give a Hugging Face config.json, or the folder that holds one"
        raise UntrustedInput(f"{file} cannot be read ({error.strerror}); {what}") from error
    except (ValueError, RecursionError) as error:
        raise UntrustedInput(f"{file} is no JSON ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise UntrustedInput(f"{file} holds no JSON object, so it is no model's config.json")
    if str(config.get("schema", "")).startswith("ftprof."):
        raise UntrustedInput(f"{file} is ftprof's own; estimate takes a model's config.json, and check a record")
    if not isinstance(config.get("model_type"), str):
        kind = shown(config["model_type"]) if "model_type" in config else "nothing"
        raise UntrustedInput(f"{file}: model_type is {kind}; a Hugging Face config.json names its architecture there")
    return config
