"""Makes a checkpoint of a model with an arm's adapter in its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec.structs import replace

from contraflow.configuration import Loaded
from contraflow.decoder.transformers.loading import load
from contraflow.errors import ConfigurationError

__all__ = ["merge_arm"]


def merge_arm(loaded: Loaded, arm: str, folder: Path) -> int:
    """Write the merged weights of an experiment's ``arm`` and its tokenizer into ``folder``; how many bytes they take.

    The folder is there whole or not at all. Weights are safetensors, in bfloat16 unless generator.dtype says otherwise.

    :raises ConfigurationError: if there is no such arm, it has no adapter, or the folder is there already.
    :raises GeneratorError: if the model is missing or the adapter does not fit it.
    """
    experiment = loaded.experiment
    if arm not in experiment.arms:
        raise ConfigurationError(f"{arm!r} is no arm of the experiment; name one of {', '.join(experiment.arms)}")
    declared = experiment.arms[arm]
    if declared.lora is None:
        raise ConfigurationError(f"arms.{arm}.lora: not given; there is nothing to merge")
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already; name a new folder, or remove it")
    bare = replace(declared, quantization=None)
    dtype = "bfloat16" if experiment.generator.dtype == "auto" else experiment.generator.dtype
    merged = load(arm, bare, replace(experiment.generator, device="cpu", dtype=dtype), loaded.base_dir)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    merged.model.save_pretrained(temporary)
    merged.tokenizer.save_pretrained(temporary)
    temporary.rename(folder)
    return sum(file.stat().st_size for file in folder.iterdir())
