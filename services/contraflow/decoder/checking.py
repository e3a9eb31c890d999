"""What can be told of an experiment's arms before its run starts: nothing is loaded, and nobody is called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contraflow.decoder.adapter import read_adapter
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.experiment import Experiment
from contraflow.llm.keys import OPENAI, key_of
from contraflow.packages import is_installed

__all__ = ["check_arms"]


def check_arms(experiment: Experiment, base_dir: Path, *, processes: bool) -> None:
    """Look for the packages, keys and files that the arms need, and for the ``processes`` that their devices need.

    :raises ConfigurationError: if some are missing; a line for each.
    """
    lines = list(dict.fromkeys(_missing(experiment, base_dir)))
    if not processes:
        lines += _crowded(experiment)
    if lines:
        raise ConfigurationError("\n".join(lines))


def _crowded(experiment: Experiment) -> Iterator[str]:
    """The arms with more devices than one process can decode on: vLLM chooses its GPU for the whole process."""
    most = 0 if experiment.generator.backend == "vllm" else 1
    for name, arm in experiment.arms.items():
        if len(arm.devices) > most:
            each = f"{', '.join(arm.devices)} take a process each"
            yield f"arms.{name}.devices: {each}; run the experiment with --processes"


def _missing(experiment: Experiment, base_dir: Path) -> Iterator[str]:
    backend = experiment.generator.backend
    if backend == "openai" and not is_installed("openai"):
        yield "generator.backend: openai needs a package: pip install 'contraflow[openai]'"
    for name, arm in experiment.arms.items():
        if arm.lora is not None:
            try:
                read_adapter(base_dir / arm.lora, f"arms.{name}.lora")
            except GeneratorError as error:
                yield str(error)
        if backend == "transformers" and arm.quantization is not None and not is_installed("torchao"):
            yield f"arms.{name}.quantization: needs a package: pip install 'contraflow[quantization]'"
        if arm.steering is not None and arm.steering.vector and not (base_dir / arm.steering.vector).is_file():
            yield f"arms.{name}.steering.vector: there is no file {base_dir / arm.steering.vector}"
        if backend == "openai":
            try:
                key_of(f"arms.{name}", arm.key, arm.base_url, OPENAI)
            except ConfigurationError as error:
                yield str(error)
