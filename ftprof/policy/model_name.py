"""When two spellings of a model's name are one model."""

from __future__ import annotations

import re

NAME = re.compile(r"(?:[\w.-]+/)?[\w.: -]+", re.ASCII)
"""What a name looks like, with the owner before a slash as model hubs have it."""

Key = tuple[str, ...]

_VARIANT_WORDS = frozenset({"hf", "instruct", "it", "pt", "base", "chat"})
# How the weights are stored, which is no other training: file formats, quantisers, precisions, and their makers.
_STORAGE = re.compile(
    r"[-_. :](?:gguf|ggml|safetensors|awq|gptq|exl[23]|mlx|marlin|hqq|bnb|unsloth|quantized|dynamic|spinquant|qlora|eo8"
    r"|[2-8][-_ ]?bits?|u?int[48]|fp[48]|nvfp4|mxfp[48]|bf16|fp16|f16|w[48]a(?:8|16)|[0-9]{2,3}g|g(?:32|64|128)"
    r"|i?q[1-8](?:[-_](?:[01]|nl|xxs|xs|s|m|l|k(?:[-_](?:xs|s|m|l|xl))?))?)$"
)


def name_key(name: str) -> Key:
    """What has to agree for two spellings to be one model: words and numbers, so that 3.1-7B is not 3-1.7B.

    Case, an ``owner/`` prefix, separators, the variant words hf, Instruct, it, pt, Base and chat, and endings that say
    how the weights are stored (-GGUF, -AWQ, -bnb-4bit, ...) are left out. Empty where the text is no name.
    """
    if not NAME.fullmatch(name):
        return ()
    words = name.rpartition("/")[2].lower()
    while (shorter := _STORAGE.sub("", words)) != words:
        words = shorter
    tokens = re.findall(r"[a-z]+|[0-9]+(?:\.[0-9]+)*", words)
    if tokens[:2] == ["meta", "llama"]:
        tokens = tokens[1:]
    return tuple(token for token in tokens if token not in _VARIANT_WORDS)


def without_points(key: Key) -> Key:
    """The key of one who writes a point as any other separator: Llama-3-1-8B."""
    return tuple(part for token in key for part in token.split("."))


def begins(key: Key, longer: Key) -> bool:
    """Whether a longer name begins with this one."""
    return longer[: len(key)] == key


def lies_within(key: Key, longer: Key) -> bool:
    """Whether a longer name has all the parts of this one, in their order."""
    rest = iter(longer)
    return all(token in rest for token in key)
