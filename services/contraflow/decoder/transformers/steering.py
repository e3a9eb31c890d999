"""A steering vector: added to what one layer of a model of transformers puts out, at every token."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraflow.errors import GeneratorError
from contraflow.experiment import Steering

if TYPE_CHECKING:
    import torch

__all__ = ["steer"]


def steer(model: Any, tokenizer: Any, declared: Steering, field: str, base_dir: Path) -> str:
    """Add ``scale`` times the vector behind a layer from now on; returns a fingerprint of it.

    The vector comes from a file, or it is the mean difference of what the layer puts out at the last token of the prompts
    ``toward`` and ``away`` (contrastive activation addition, Rimsky et al., arXiv 2312.06681).

    :raises GeneratorError: if the model has no such layer, or the file no vector of its width; names ``field``.
    """
    layer = _layer(model, declared.layer, field)
    if declared.vector is None:
        vector = _mean(model, tokenizer, layer, declared.toward) - _mean(model, tokenizer, layer, declared.away)
    else:
        vector = _read(base_dir / declared.vector, declared.tensor, model.config.get_text_config().hidden_size, field)
    if not bool(vector.isfinite().all()):
        raise GeneratorError(f"{field}: the vector has values that are no numbers")
    change = (declared.scale * vector.float()).to(model.dtype)

    def add(module: Any, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + change.to(output[0].device), *output[1:])
        return output + change.to(output.device)

    layer.register_forward_hook(add)
    return f"steering-{blake2b(change.float().numpy().tobytes(), digest_size=4).hexdigest()}@{declared.layer}"


def _layer(model: Any, number: int, field: str) -> Any:
    import torch

    count = model.config.get_text_config().num_hidden_layers
    if number >= count:
        raise GeneratorError(f"{field}.layer: the model has no layer {number}; it has 0 to {count - 1}")
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count)
    return next(lists)[number]


def _mean(model: Any, tokenizer: Any, layer: Any, prompts: tuple[str, ...]) -> torch.Tensor:
    import torch

    seen: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0, -1].float())

    hook = layer.register_forward_hook(keep)
    try:
        with torch.inference_mode():
            for prompt in prompts:
                model(**tokenizer(prompt, return_tensors="pt").to(model.device))
    finally:
        hook.remove()
    return torch.stack(seen).mean(dim=0).cpu().clone()


def _read(path: Path, name: str | None, width: int, field: str) -> torch.Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise GeneratorError(f"{field}.vector: {path} cannot be read as safetensors: {error}") from error
    there = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items()) or "nothing"
    if name is None and len(tensors) != 1:
        raise GeneratorError(f"{field}.tensor: {path} holds {there}; name the one to add")
    tensor = tensors.get(name) if name is not None else next(iter(tensors.values()))
    if tensor is None:
        raise GeneratorError(f"{field}.tensor: there is no {name!r} in {path}; it holds {there}")
    if tensor.numel() != width:
        raise GeneratorError(
            f"{field}.vector: {path} holds {there}, and the model takes a vector of {width} numbers. Was it made with "
            "another model?"
        )
    return tensor.flatten()
