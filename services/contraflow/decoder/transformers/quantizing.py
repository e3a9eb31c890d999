"""Weights of fewer bits in a model of transformers, by torchao: rounded when they are loaded, activations left alone."""

from __future__ import annotations

from typing import Any

from contraflow.errors import ConfigurationError

__all__ = ["quantize"]

_GROUP = 32
"""Weights that share a scale at four bits."""


def quantize(model: Any, kind: str, field: str) -> None:
    """Round the weights of every linear layer but the last: ``int8`` with a scale a row, ``int4`` with one for 32 weights.

    :raises ConfigurationError: if torchao is missing; names ``field``.
    """
    import torch

    try:
        from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_
    except ImportError as error:
        raise ConfigurationError(
            f"{field}: needs a package ({error}): pip install 'contraflow[quantization]'"
        ) from error
    four = torch.int4  # type: ignore[attr-defined]  # torch's types lack it
    config = {
        "int8": IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0)),
        "int4": IntxWeightOnlyConfig(weight_dtype=four, granularity=PerGroup(_GROUP)),
    }[kind]
    head = model.get_output_embeddings()

    def is_inner(module: Any, name: str) -> bool:
        # the head often is the embedding, and rounding it costs most
        return isinstance(module, torch.nn.Linear) and module is not head

    quantize_(model, config, filter_fn=is_inner)
