"""What must hold in an experiment beyond the types of its fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contraflow.configuration.servers import problems_of_servers
from contraflow.configuration.source import Keys
from contraflow.configuration.tiers import KEYWORDS, LLMTier, problems_of_tiers, read_tiers
from contraflow.configuration.typed import Problem, nearest
from contraflow.experiment import Arm, Experiment, Generator, Kafka, Prompts, Steering, Validation

__all__ = ["problems_of"]

_BACKENDS = ["transformers", "vllm", "openai", "scripted", "replay"]
_READ = {
    "transformers": (
        *("model", "revision", "lora", "quantization", "steering", "system_prompt", "prefix", "sampling"),
        "devices",
    ),
    "vllm": ("model", "revision", "lora", "system_prompt", "prefix", "quantization", "sampling", "devices"),
    "openai": ("model", "base_url", "key", "system_prompt", "prefix", "sampling"),
    "scripted": ("plants", "speed"),
    "replay": (),
}
"""What each backend reads of an arm. Anything else would compare a model with itself, and find nothing."""
_QUANTIZATIONS = ("int8", "int4")
_DECODING = ("min_tokens", "chat", "stop", "thinking")
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


def problems_of(experiment: Experiment) -> Iterator[Problem]:
    """Everything that is wrong with an experiment whose fields have the right types."""
    yield from _arms(experiment)
    yield from _generator(experiment)
    yield from _prompts(experiment)
    yield from _budget(experiment)
    if isinstance(experiment.log, Kafka):
        yield from _kafka(experiment.log)
    yield from _decoding(experiment)
    for name, arm in experiment.arms.items():
        if arm.steering is not None:
            yield from _steering(arm.steering, ("arms", name, "steering"))
    if experiment.clusters.start != "auto" and experiment.clusters.start > experiment.clusters.max:
        yield Problem(("clusters", "start"), f"more than the {experiment.clusters.max} of clusters.max")
    low, high = experiment.validation.borderline
    if low >= high:
        yield Problem(("validation", "borderline"), f"the first bound must be below the second; got {low} and {high}")
    yield from problems_of_tiers(experiment.validation.tiers)
    yield from _author(experiment.validation)


def _author(validation: Validation) -> Iterator[Problem]:
    if validation.author == KEYWORDS:
        return
    there = [tier.name for tier in read_tiers(validation.tiers)[0] if isinstance(tier, LLMTier)]
    if validation.author not in there:
        guess = nearest(validation.author, [KEYWORDS, *there]) or "."
        known = ", ".join([KEYWORDS, *there])
        yield Problem(("validation", "author"), f'no tier asks a model as "{validation.author}"{guess} Valid: {known}.')


def _arms(experiment: Experiment) -> Iterator[Problem]:
    arms = list(experiment.arms)
    if len(arms) < 2:
        there = f"there is only {arms[0]!r}" if arms else "there is none"
        yield Problem(("arms",), f"a comparison needs at least two arms, and {there}")
    reference = experiment.reference
    for name, arm in experiment.arms.items():
        yield from _devices(("arms", name, "devices"), arm.devices, experiment.partitions)
        if experiment.generator.backend == "vllm":
            yield from _gpus(("arms", name, "devices"), arm.devices)
    if reference is not None and reference not in arms:
        known = ", ".join(arms)
        guess = nearest(reference, arms) or "."
        yield Problem(("reference",), f'"{reference}" is not an arm{guess} Arms: {known}.')


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


def _gpus(keys: Keys, devices: Sequence[str]) -> Iterator[Problem]:
    for device in devices:
        kind, _, number = device.partition(":")
        if kind != "cuda" or not number:
            yield Problem(keys, f'"{device}" is no GPU by its number, such as cuda:0, which is what vLLM is started on')


def _generator(experiment: Experiment) -> Iterator[Problem]:
    backend = experiment.generator.backend
    if backend not in _BACKENDS and ":" not in backend:
        valid = ", ".join(_BACKENDS)
        guess = nearest(backend, _BACKENDS)
        yield Problem(
            ("generator", "backend"),
            f'there is no backend "{backend}"{guess} Valid: {valid}, or my_module:function.',
        )
    if backend in _READ:
        yield from _unread(experiment, backend)
    if backend in _SAMPLING:
        what = "name" if backend == "openai" else "name or folder"
        for name in (name for name, arm in experiment.arms.items() if arm.model is None):
            yield Problem(("arms", name, "model"), f"missing; the {backend} backend needs a model's {what}")
    if backend == "transformers":
        yield from _quantizations(experiment)
    if backend == "openai":
        yield from problems_of_servers(experiment)
    if backend == "replay":
        yield from _replay(experiment)
    elif experiment.replay is not None:
        yield Problem(("replay",), f'only read with generator.backend: replay, and the backend is "{backend}"')


def _decoding(experiment: Experiment) -> Iterator[Problem]:
    section, nothing = experiment.generator, Generator()
    for field in _DECODING if section.backend in ("scripted", "replay") else ():
        if getattr(section, field) != getattr(nothing, field):
            yield Problem(("generator", field), f"the {section.backend} backend does not read it")
    if section.min_tokens > section.max_tokens:
        yield Problem(("generator", "min_tokens"), f"more than the {section.max_tokens} of generator.max_tokens")
    if section.chat:
        return
    for name, arm in experiment.arms.items():
        if arm.system_prompt is not None:
            yield Problem(
                ("arms", name, "system_prompt"),
                "plain text (generator.chat: false) has no place for it; put its words into the prompts or a prefix",
            )
    if isinstance(experiment.prompts, Prompts) and experiment.prompts.messages is not None:
        yield Problem(("prompts", "messages"), "conversations need generator.chat: true; plain text has no turns")


def _quantizations(experiment: Experiment) -> Iterator[Problem]:
    for name, arm in experiment.arms.items():
        if arm.quantization is not None and arm.quantization not in _QUANTIZATIONS:
            guess = nearest(arm.quantization, list(_QUANTIZATIONS)) or "."
            yield Problem(
                ("arms", name, "quantization"),
                f'transformers cannot round weights to "{arm.quantization}"{guess} Valid: {", ".join(_QUANTIZATIONS)}; a '
                "checkpoint that is quantised already is named as model alone",
            )


def _steering(steering: Steering, keys: Keys) -> Iterator[Problem]:
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


def _unread(experiment: Experiment, backend: str) -> Iterator[Problem]:
    nothing = Arm()
    for name, arm in experiment.arms.items():
        for field in Arm.__struct_fields__:
            if getattr(arm, field) != getattr(nothing, field) and field not in _READ[backend]:
                said = ", ".join(_READ[backend]) or "nothing"
                yield Problem(("arms", name, field), f"the {backend} backend does not read it (it reads {said})")
        valid = _SAMPLING.get(backend, ())
        for key in (key for key in arm.sampling if valid and key not in valid):
            guess = nearest(key, list(valid))
            yield Problem(("arms", name, "sampling", key), f"unknown{guess} Valid: {', '.join(valid)}.")


def _replay(experiment: Experiment) -> Iterator[Problem]:
    if experiment.replay is None:
        yield Problem(
            ("replay",),
            "missing; the replay backend needs the file of texts, such as replay: {path: texts.jsonl}",
        )
        return
    columns = experiment.replay.columns
    if columns and set(columns) != set(experiment.arms):
        known = ", ".join(experiment.arms)
        yield Problem(("replay", "columns"), f"name the column of each arm ({known}); got {', '.join(columns)}")


def _prompts(experiment: Experiment) -> Iterator[Problem]:
    if experiment.prompts is None and experiment.generator.backend not in ("scripted", "replay"):
        yield Problem(
            ("prompts",),
            "missing; name a file, such as prompts: {path: prompts.jsonl}, or write prompts: unconditional",
        )


def _budget(experiment: Experiment) -> Iterator[Problem]:
    texts, arms = experiment.budget.texts, len(experiment.arms)
    if texts is not None and texts < arms:
        yield Problem(("budget", "texts"), f"{texts} is less than one text for each of {arms} arms")


def _kafka(log: Kafka) -> Iterator[Problem]:
    for server in log.kafka.split(","):
        host, colon, port = server.strip().rpartition(":")
        if colon and not (host and port.isdigit()):
            yield Problem(("log", "kafka"), f'"{server}" is no address; write host:port, several separated by commas')
    sasl, tls = log.security.startswith("SASL"), log.security.endswith("SSL")
    for field in ("username", "password"):
        if sasl and getattr(log, field) is None:
            value = (
                "env:NAME, the environment variable that holds it" if field == "password" else "the name of the account"
            )
            yield Problem(("log", field), f"missing; security {log.security} needs it: {value}")
        elif not sasl and getattr(log, field) is not None:
            yield Problem(
                ("log", field), f"only read with security SASL_PLAINTEXT or SASL_SSL, and it is {log.security}"
            )
    if log.ca_file is not None and not tls:
        yield Problem(("log", "ca_file"), f"only read with security SSL or SASL_SSL, and it is {log.security}")
