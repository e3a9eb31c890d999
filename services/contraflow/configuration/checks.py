"""What must hold in an experiment beyond the types of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contraflow.configuration.arms import problems_of_arms
from contraflow.configuration.servers import problems_of_servers
from contraflow.configuration.tiers import KEYWORDS, LLMTier, problems_of_tiers, read_tiers
from contraflow.configuration.typed import Problem, nearest
from contraflow.experiment import Experiment, Kafka, Prompts, Validation

__all__ = ["problems_of"]

_BACKENDS = ["transformers", "vllm", "openai", "scripted", "replay"]
_MODELS = ("transformers", "vllm", "openai")
_READ_BY = {
    **dict.fromkeys(("min_tokens", "chat", "stop", "thinking"), _MODELS),
    "device": ("transformers",),
    "dtype": ("transformers", "vllm"),
    "options": ("vllm", "openai"),
    "world": ("scripted",),
    "timeout": ("openai",),
    "patience": ("openai",),
}
"""Which backends read what stands under generator; one's own may read it all, and says itself what it would not know of."""


def problems_of(experiment: Experiment) -> Iterator[Problem]:
    """Everything that is wrong with an experiment whose fields have the right types."""
    yield from problems_of_arms(experiment)
    yield from _generator(experiment)
    yield from _prompts(experiment)
    yield from _budget(experiment)
    if isinstance(experiment.log, Kafka):
        yield from _kafka(experiment.log)
    yield from _decoding(experiment)
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


def _generator(experiment: Experiment) -> Iterator[Problem]:
    backend = experiment.generator.backend
    if backend not in _BACKENDS and ":" not in backend:
        valid = ", ".join(_BACKENDS)
        guess = nearest(backend, _BACKENDS)
        yield Problem(
            ("generator", "backend"),
            f'there is no backend "{backend}"{guess} Valid: {valid}, or my_module:function.',
        )
    if backend == "openai":
        yield from problems_of_servers(experiment)
    if backend == "replay":
        yield from _replay(experiment)
    elif experiment.replay is not None:
        yield Problem(("replay",), f'only read with generator.backend: replay, and the backend is "{backend}"')


def _decoding(experiment: Experiment) -> Iterator[Problem]:
    section = experiment.generator
    for field, backends in _READ_BY.items():
        if section.backend in _BACKENDS and section.backend not in backends and field in section.declared():
            yield Problem(("generator", field), _unread(section.backend, field, backends))
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


def _unread(backend: str, field: str, backends: Sequence[str]) -> str:
    if (backend, field) == ("vllm", "device"):
        return "the vllm backend does not read it; name the GPUs of each arm as its devices, such as arms.base.devices: [cuda:0]"
    return f"the {backend} backend does not read it, only {' and '.join(backends)}; take it out"


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
