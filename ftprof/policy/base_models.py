"""How a base model is found by its name, in the table that ships with ftprof and in a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ftprof.errors import UsageProblem
from ftprof.policy.base_model_table import BaseModel, load_base_models
from ftprof.policy.model_name import Key, begins, lies_within, name_key, without_points
from ftprof.quantity import shown

_MOST_SUGGESTIONS = 6

_Spellings = Mapping[Key, BaseModel]


def find_base_model(name: str, own: Sequence[BaseModel] = ()) -> BaseModel:
    """The model of a name as people write it; ``own`` are the user's models, which go before those that ship.

    Case, an ``owner/`` prefix, separators, the variant words hf, Instruct, it, pt, Base and chat, and endings that say
    how the weights are stored are ignored. A name that fits no model, or several, is never guessed: UsageProblem lists
    what is near.
    """
    spellings = _spellings(own)
    key = name_key(name)
    if key in spellings:
        return spellings[key]
    if key and not any("." in token for token in key):
        # No number in it has a point: one may have been written in another way, if that leaves one model.
        fitting = {model.name: model for known, model in spellings.items() if without_points(known) == key}
        if len(fitting) == 1:
            return next(iter(fitting.values()))
    raise UsageProblem(_not_found(name, key, spellings))


def _spellings(own: Sequence[BaseModel]) -> _Spellings:
    """Every spelling of every model. One of the user's takes all spellings of the model that it has a name of."""
    users = {key: model for model in own for key in _keys(model)}
    found: dict[Key, BaseModel] = {}
    for shipped in load_base_models():
        keys = _keys(shipped)
        instead = {users[key].name: users[key] for key in keys if key in users}
        if len(instead) < 2:  # of two that share its names, neither is the one for the rest of them
            found |= dict.fromkeys(keys, next(iter(instead.values()), shipped))
    return found | users


def _keys(model: BaseModel) -> list[Key]:
    return [name_key(spelling) for spelling in (model.name, *model.aliases)]


def _not_found(name: str, key: Key, spellings: _Spellings) -> str:
    unknown = "--pretrain-flops gives a model's compute without the table"
    longer = _fitting(key, spellings, begins) or _fitting(key, spellings, lies_within)
    if len(longer) > 1:
        return f"--base-model {shown(name)} fits several models: {_listed(longer)}; name one of them"
    near = longer or _near(key, spellings)
    if near:
        return f"--base-model {shown(name)} is not in the table; near it: {_listed(near)}; {unknown}"
    return f"--base-model {shown(name)} is not in the table; {unknown}"


def _fitting(key: Key, spellings: _Spellings, fits: Callable[[Key, Key], bool]) -> list[str]:
    return _names(model for known, model in spellings.items() if key and fits(key, known))


def _near(key: Key, spellings: _Spellings) -> list[str]:
    import difflib

    written = {"-".join(known): model for known, model in spellings.items()}
    close = difflib.get_close_matches("-".join(key), written, n=3, cutoff=0.75)
    return _names(written[spelling] for spelling in close)


def _names(models: Iterable[BaseModel]) -> list[str]:
    return list(dict.fromkeys(model.name for model in models))


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_SUGGESTIONS
    return ", ".join(names[:_MOST_SUGGESTIONS]) + (f" and {more} more" if more > 0 else "")
