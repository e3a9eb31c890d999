"""Loads a model of transformers with an arm's intervention in its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from contraflow.decoder.adapter import read_adapter, refuse_another_base
from contraflow.decoder.arm_model import model_of, refuse_no_place
from contraflow.decoder.transformers.quantizing import quantize
from contraflow.decoder.transformers.steering import steer
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.experiment import Arm, Generator
from contraflow.precision import native
from contraflow.weights import ResolvedModel, fingerprint

__all__ = ["Loaded", "context", "load", "moved", "thaw"]


class Loaded(NamedTuple):
    """A model ready to decode, where it came from in words, and the fingerprint of it and its intervention."""

    model: Any
    tokenizer: Any
    source: str
    fingerprint: str


def load(name: str, arm: Arm, section: Generator, base_dir: Path) -> Loaded:
    """The model of the arm ``name``, with its adapter merged, its weights quantised and its steering vector in place.

    :raises GeneratorError: if it is missing, its adapter or vector does not fit, or answers of that length have no place
        in it.
    :raises ConfigurationError: if a package is missing.
    """
    _refuse_without_packages()
    # before the model, which may first have to be fetched or converted
    device = _device(name, arm, section)
    resolved = model_of(arm, f"arms.{name}.model", base_dir)
    dtype = native(device) if section.dtype == "auto" else section.dtype
    model, tokenizer = _pretrained(resolved, name, dtype)
    mark = resolved.fingerprint + (f"+{dtype}" if dtype != "bfloat16" else "")
    refuse_no_place(section, context(model), f"the model of arms.{name}")
    if arm.lora is not None:
        folder = base_dir / arm.lora
        model = _with_adapter(model, resolved.path, folder, name, arm)
        mark += f"+{fingerprint(folder.name, folder)}"
    thaw(model)
    model = moved(model, device, name).eval()
    if arm.quantization is not None:
        quantize(model, arm.quantization, f"arms.{name}.quantization")
        mark += f"+{arm.quantization}"
    if arm.steering is not None:
        mark += f"+{steer(model, tokenizer, arm.steering, f'arms.{name}.steering', base_dir)}"
    return Loaded(model, tokenizer, resolved.source, mark)


def context(model: Any) -> int:
    """How many tokens the model takes, prompt and answer together."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**31)


def _refuse_without_packages() -> None:
    try:
        import torch  # noqa: F401  (only whether it is there)
        import transformers  # noqa: F401  (the same)
    except ImportError as error:
        raise ConfigurationError(
            f"generator.backend: transformers is not installed ({error}). Run `pip install 'contraflow[models]'`."
        ) from error


def _pretrained(resolved: ResolvedModel, name: str, dtype: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(resolved.path, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise GeneratorError(
            f"arms.{name}.model: {resolved.path} is no model that transformers can load: {error}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _device(name: str, arm: Arm, section: Generator) -> str:
    import torch

    if section.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=section.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each of torch's back ends has its own
        field = f"arms.{name}.devices" if section.device in arm.devices else "generator.device"
        there = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise GeneratorError(
            f"{field}: torch cannot use {section.device!r} here ({str(error).splitlines()[0]}). This machine has "
            f"{', '.join(['cpu', *there])}"
        ) from error
    return section.device


def thaw(model: Any) -> None:
    """Let a model's weights ask for gradients, those that can; a checkpoint that is quantised already has others.

    peft freezes what it merges, and torch.matmul copies a frozen head once for each row of the prompts' last states (its
    should_fold asks for requires_grad): 6 s a batch of 64, which no gradient ever costs in inference mode.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)


def moved(model: Any, device: str, name: str) -> Any:
    """The model of the arm ``name`` on ``device``.

    :raises GeneratorError: if it does not fit there.
    """
    import torch

    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        said = str(error).partition(". ")[0]
    # apart from the error, whose frames would keep what was moved
    raise GeneratorError(
        f"arms.{name}.model: it does not fit on {device} beside what is there ({said}). Name another of its devices, or take a "
        "smaller or a quantised model"
    )


def _with_adapter(model: Any, base: Path, folder: Path, name: str, arm: Arm) -> Any:
    from peft import PeftModel

    field = f"arms.{name}.lora"
    refuse_another_base(read_adapter(folder, field), base, field)
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        said = str(error).splitlines()[0]
    else:
        if not (missing := _missing(adapted, folder)):
            return adapted.merge_and_unload()
        said = f"it has nothing for {missing}"
    raise GeneratorError(
        f"{field}: the adapter in {folder} does not fit {arm.model!r}: {said}. Give the model that it was trained on."
    )


def _missing(adapted: Any, folder: Path) -> str | None:
    """A weight that the adapter should have by its settings and has not: peft would leave it out, and at most warn."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        there = set(file.keys())
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return next((key for key in sorted(wanted) if key not in there), None)
