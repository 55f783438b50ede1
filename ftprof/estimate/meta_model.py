"""A model of a config on the meta device: every shape, no weights. And the fine-tuning method applied to it."""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ftprof.errors import FtprofError, UntrustedInput, UsageProblem
from ftprof.estimate.method import ALL_LINEAR, EVERY, TuningMethod

INSTALL = "pip install 'ftprof[estimate]'"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers' and torch's advice about a training that does not take place.

    Raises FtprofError where torch, transformers or peft is missing.
    """
    try:
        import peft  # noqa: F401
        import torch  # noqa: F401
        from transformers.utils import logging
    except ImportError as error:
        name = error.name or " ".join(str(error).split())
        raise FtprofError(f"estimate needs torch, transformers and peft, and {name} is missing: {INSTALL}") from error
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def build_model(config: Mapping[str, Any], attention: str) -> tuple[Any, str]:
    """The causal language model of a ``config.json``'s content, on the meta device, in training mode.

    ``attention`` is ``sdpa`` or ``eager``; the second result is the one that the model has, which is ``eager`` where
    the architecture has no other. Raises UntrustedInput for an unknown architecture and for a config that this
    transformers cannot make a causal language model of.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        hint = "it may be newer, or need code of its own, which estimate does not run"
        raise UntrustedInput(f"model type {kind!r} is unknown to transformers {transformers.__version__}; {hint}")
    known = {name: value for name, value in copy.deepcopy(dict(config)).items() if name not in _NOT_OF_THE_SHAPE}
    try:
        made = CONFIG_MAPPING[kind].from_dict(known)
        for part in (made, *_text_parts(made)):
            part.use_cache = False
        model = _on_meta(made, attention)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UntrustedInput(f"transformers makes no causal language model of this config: {reason:.300}") from error
    return model, model.config._attn_implementation


def _on_meta(config: Any, attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # The precision changes no count, and grouped products have shapes on the meta device in this one only.
    make: Any = functools.partial(AutoModelForCausalLM.from_config, config, dtype=torch.bfloat16)
    with torch.device("meta"):
        try:
            return make(attn_implementation=attention).train()
        except ValueError as error:
            if attention == "eager" or "does not support" not in str(error):
                raise
            return make(attn_implementation="eager").train()


_NOT_OF_THE_SHAPE = ("model_type", "quantization_config", "auto_map", "transformers_version")


def _text_parts(config: Any) -> list[Any]:
    text = config.get_text_config()
    return [] if text is config else [text]


def apply_method(model: Any, method: TuningMethod) -> Any:
    """The model with the method's weights trainable and no others; adapters are put on.

    Raises UsageProblem for a target or pattern that matches nothing.
    """
    if method.name == "full":
        return model
    if method.name == "spectrum":
        _train_only(model, method.spectrum or tuple(str(n) for n in range(0, _layers(model), EVERY)))
        return model
    return _with_adapters(model, method)


def _with_adapters(model: Any, method: TuningMethod) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    targets: Any = list(method.lora_targets)
    if targets == [ALL_LINEAR]:
        targets = ALL_LINEAR
    else:
        _refuse_unmatched(model, method.lora_targets)
    lora = LoraConfig(
        task_type="CAUSAL_LM", r=method.lora_rank, lora_alpha=2 * method.lora_rank, target_modules=targets
    )
    try:
        with torch.device("meta"):
            return get_peft_model(model, lora)
    except ValueError as error:
        raise UsageProblem(f"--lora-targets: peft refuses them: {' '.join(str(error).split()):.300}") from error


def _refuse_unmatched(model: Any, targets: tuple[str, ...]) -> None:
    import torch

    modules = dict(model.named_modules())
    for target in targets:
        if not any(name == target or name.endswith("." + target) for name in modules):
            linear = {name.rpartition(".")[2] for name, m in modules.items() if isinstance(m, torch.nn.Linear)}
            raise UsageProblem(
                f"--lora-targets {target!r} matches no module; this model's linear ones: {_list(linear)}"
            )


def _train_only(model: Any, wanted: tuple[str, ...]) -> None:
    named = list(model.named_parameters(remove_duplicate=False))
    for _, parameter in named:
        parameter.requires_grad_(False)
    for item in wanted:
        found = [parameter for name, parameter in named if _matches(item, name)]
        if not found:
            example = named[len(named) // 2][0]
            raise UsageProblem(f"--spectrum-layers {item!r} matches no parameter of this model; one is named {example}")
        for parameter in found:
            parameter.requires_grad_(True)


def _matches(item: str, name: str) -> bool:
    if item.isdecimal():
        return int(item) == _layer_of(name)
    try:
        return re.match(item, name) is not None
    except re.error as error:
        raise UsageProblem(f"--spectrum-layers {item!r} is no regular expression ({error})") from error


def _layer_of(name: str) -> int | None:
    """The number of the layer that a parameter belongs to: the first part of its name that is a number."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


def _layers(model: Any) -> int:
    layers = model.config.get_text_config().num_hidden_layers
    return int(layers)


def enable_checkpointing(model: Any) -> None:
    """Recompute activations as transformers' Trainer makes a model do it.

    Raises UsageProblem where the architecture does not support that.
    """
    try:
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable()
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise UsageProblem(f"--gradient-checkpointing: {' '.join(str(error).split())}") from error


def parameters(model: Any) -> tuple[int, int]:
    """All parameters and those trained, each once, adapters among them. Real sizes: nothing is packed here."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def _list(names: set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:12]) + (" ..." if len(ordered) > 12 else "")
