"""What must hold for the arms of an experiment: that there are enough, and that each is what its backend can decode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from contraflow.configuration.source import Keys
from contraflow.configuration.typed import Problem, nearest
from contraflow.experiment import Arm, Experiment, Steering

__all__ = ["problems_of_arms"]

_READ = {
    "transformers": (
        *("model", "revision", "lora", "quantization", "steering", "system_prompt", "prefix", "sampling"),
        "devices",
    ),
    "vllm": ("model", "revision", "lora", "system_prompt", "prefix", "quantization", "sampling", "devices"),
    "openai": ("model", "base_url", "key", "price", "system_prompt", "prefix", "sampling"),
    "scripted": ("plants", "speed"),
    "replay": (),
}
"""What each backend reads of an arm. Anything else would compare a model with itself, and find nothing."""
_QUANTIZATIONS = ("int8", "int4")
_SAMPLING = {
    "transformers": ("temperature", "top_p", "top_k"),
    **dict.fromkeys(
        ("vllm", "openai"),
        (
            *("temperature", "top_p", "top_k", "min_p"),
            *("presence_penalty", "frequency_penalty", "repetition_penalty"),
        ),
    ),
}


def problems_of_arms(experiment: Experiment) -> Iterator[Problem]:
    """Everything that is wrong with the arms, and with what each declares."""
    arms = list(experiment.arms)
    if len(arms) < 2:
        there = f"there is only {arms[0]!r}" if arms else "there is none"
        yield Problem(("arms",), f"a comparison needs at least two arms, and {there}")
    reference = experiment.reference
    if reference is not None and reference not in arms:
        known = ", ".join(arms)
        guess = nearest(reference, arms) or "."
        yield Problem(("reference",), f'"{reference}" is not an arm{guess} Arms: {known}.')
    for name, arm in experiment.arms.items():
        yield from _arm(("arms", name), arm, experiment)


def _arm(keys: Keys, arm: Arm, experiment: Experiment) -> Iterator[Problem]:
    backend = experiment.generator.backend
    if backend in _READ:
        yield from _unread(keys, arm, backend)
    if backend in _SAMPLING and arm.model is None:
        what = "name" if backend == "openai" else "name or folder"
        yield Problem((*keys, "model"), f"missing; the {backend} backend needs a model's {what}")
    if backend == "transformers" and arm.quantization is not None:
        yield from _quantization((*keys, "quantization"), arm.quantization)
    if arm.steering is not None:
        yield from _steering((*keys, "steering"), arm.steering)
    yield from _devices((*keys, "devices"), arm.devices, experiment.partitions)
    if backend == "vllm":
        yield from _gpus((*keys, "devices"), arm.devices, experiment.generator.options)


def _unread(keys: Keys, arm: Arm, backend: str) -> Iterator[Problem]:
    for field in (field for field in arm.declared() if field not in _READ[backend]):
        said = ", ".join(_READ[backend]) or "nothing"
        yield Problem((*keys, field), f"the {backend} backend does not read it (it reads {said}); take it out")
    valid = _SAMPLING.get(backend, ())
    for key in (key for key in arm.sampling if valid and key not in valid):
        guess = nearest(key, list(valid))
        yield Problem((*keys, "sampling", key), f"unknown{guess} Valid: {', '.join(valid)}.")


def _quantization(keys: Keys, kind: str) -> Iterator[Problem]:
    if kind not in _QUANTIZATIONS:
        guess = nearest(kind, list(_QUANTIZATIONS)) or "."
        yield Problem(
            keys,
            f'transformers cannot round weights to "{kind}"{guess} Valid: {", ".join(_QUANTIZATIONS)}; a checkpoint that is '
            "quantised already is named as model alone",
        )


def _steering(keys: Keys, steering: Steering) -> Iterator[Problem]:
    contrast = bool(steering.toward or steering.away)
    if contrast == (steering.vector is not None):
        what = "give either vector, a safetensors file, or prompts toward and away, whose difference it is"
        yield Problem(keys, what)
    elif contrast and not (steering.toward and steering.away):
        yield Problem(
            (*keys, "toward" if steering.away else "away"), "missing; a difference needs prompts on both sides"
        )
    if steering.tensor is not None and steering.vector is None:
        yield Problem((*keys, "tensor"), "only read with vector, the file that holds it")


def _devices(keys: Keys, devices: Sequence[str], partitions: int) -> Iterator[Problem]:
    for device, times in Counter(devices).items():
        if times > 1:
            yield Problem(keys, f'"{device}" is named {times} times; a device has one decoder process, so name it once')
    if len(devices) > partitions:
        yield Problem(
            keys,
            f"{len(devices)} devices share {partitions} partitions of requests, so {len(devices) - partitions} would have "
            f"nothing to do; set partitions: {len(devices)} or more, or name fewer",
        )


def _gpus(keys: Keys, devices: Sequence[str], options: Mapping[str, object]) -> Iterator[Problem]:
    if devices and options.get("tensor_parallel_size", 1) != 1:
        yield Problem(
            keys,
            "each is an engine of one GPU, and generator.options.tensor_parallel_size spreads one over several; take one of "
            "the two out",
        )
    for device in devices:
        kind, _, number = device.partition(":")
        if kind != "cuda" or not number:
            yield Problem(keys, f'"{device}" is no GPU by its number, such as cuda:0, which is what vLLM is started on')
