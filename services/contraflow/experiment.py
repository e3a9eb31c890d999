"""The experiment file as types: fields, defaults and bounds. ``configuration`` reads and checks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from contraflow.sampler.rules import RuleName

__all__ = [
    "Arm",
    "Budget",
    "Clusters",
    "Embedder",
    "Experiment",
    "Generator",
    "Kafka",
    "Prompts",
    "Replay",
    "Sampling",
    "Steering",
    "Stop",
    "Tier",
    "Validation",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Auto = Literal["auto"]
Words = Annotated[str, msgspec.Meta(min_length=1, description="text, not empty")]
Dollars = Annotated[float, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Blocks = Annotated[int, msgspec.Meta(ge=32, multiple_of=32)]
ExperimentName = Annotated[
    str,
    msgspec.Meta(pattern="^[a-z0-9-]{1,48}$", description="a name of 1 to 48 of the characters a-z, 0-9 and -"),
]
ArmName = Annotated[
    str,
    msgspec.Meta(pattern="^[a-z0-9_-]{1,32}$", description="a name of 1 to 32 of the characters a-z, 0-9, _ and -"),
]


Device = Annotated[
    str,
    msgspec.Meta(pattern="^[a-z]+(:[0-9]+)?$", description="a device as torch names it, such as cpu, cuda:0 or cuda:1"),
]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """A section of the experiment file."""

    def declared(self) -> dict[str, Any]:
        """What differs from the defaults, of a section that has a default for everything."""
        nothing = type(self)()
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value != getattr(nothing, name)}


class Steering(_Section, frozen=True):
    """A vector that is added, ``scale`` times, to what ``layer`` (from 0) puts out.

    It is the ``tensor`` (if there are several) of a safetensors file, ``vector``, or the mean difference between prompts
    ``toward`` and ``away``.
    """

    layer: Annotated[int, msgspec.Meta(ge=0)]
    scale: float = 1.0
    vector: str | None = None
    tensor: str | None = None
    toward: tuple[Words, ...] = ()
    away: tuple[Words, ...] = ()


class Arm(_Section, frozen=True):
    """A model, by what the intervention is.

    ``base_url`` (openai only) is the server that has it, the vendor's own by default; ``key`` (openai only) is env:NAME;
    ``price`` (openai only) is as a tier's, and needed nowhere: without one, what its answers cost is not known.
    ``devices`` has a decoder process each, which share the arm's requests.
    ``speed`` (scripted only) is simulated seconds a token; ``plants`` (scripted only) names its behaviours.
    """

    model: str | None = None
    base_url: str | None = None
    key: str | None = None
    price: tuple[Dollars, Dollars] | None = None
    revision: str | None = None
    lora: str | None = None
    system_prompt: str | None = None
    prefix: str | None = None
    quantization: str | None = None
    steering: Steering | None = None
    devices: tuple[Device, ...] = ()
    sampling: dict[str, float] = {}
    plants: tuple[str, ...] = ()
    speed: float = 0.0


class Generator(_Section, frozen=True):
    """What decodes. ``backend`` is ``transformers``, ``vllm``, ``openai``, ``scripted``, ``replay`` or ``my_module:function``.

    Prompts go through the model's ``chat`` template, or are plain text. An answer ends before the first of the ``stop``
    strings, and has at least ``min_tokens``. ``thinking``: the markers between which a model thinks; it counts as tokens,
    and is no part of the text. ``tries`` bounds how often a request is tried; ``timeout`` (openai only) is seconds for a
    call, ``patience`` for a try with its retries. ``options`` are the backend's own: fields of the request (openai),
    arguments of the engine (vllm). ``world`` (scripted only) names a world, or its YAML file.
    """

    backend: str = "transformers"
    batch: Positive = 64
    max_tokens: Positive = 40
    min_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    chat: bool = True
    stop: tuple[Words, ...] = ()
    thinking: tuple[Words, Words] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 1.0
    tries: Positive = 3
    top_p: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    device: str = "auto"
    dtype: str = "auto"
    world: str = "kitchen"
    timeout: Seconds = 300.0
    patience: Seconds = 600.0
    options: dict[str, Any] = {}


class Replay(_Section, frozen=True):
    """Existing texts: a JSONL, CSV, Parquet or Arrow file, a folder of them, or ``hf:org/name``; ``split`` is of such a set.

    It has a row a text (``arm`` and ``text`` name columns), or a row a prompt with a column for each arm
    (``columns``: arm -> column). ``holdout`` is the share of prompts, by hash, kept for confirmation. ``repeats``:
    whether pairs that occur more than once are a mistake in the file, or draws that came out alike.
    """

    path: str
    prompt: str = "prompt"
    arm: str = "arm"
    text: str = "text"
    columns: dict[str, str] = {}
    category: str | None = None
    split: str | None = None
    holdout: Share = 0.3
    repeats: Literal["refuse", "draws"] = "refuse"


class Prompts(_Section, frozen=True):
    """Where prompts come from: text (a prompt a line), JSONL, CSV or Parquet; ``category`` names a column.

    ``messages`` names a column of whole conversations, lists of {role, content}, instead of ``text``. ``draws`` is how
    often a prompt may be asked at most.
    """

    path: str
    text: str = "prompt"
    category: str | None = None
    messages: str | None = None
    draws: Positive | None = None


class Embedder(_Section, frozen=True):
    """Any sentence-transformers model by name, or ``hashed`` for a fast encoder that needs no torch."""

    model: str = "all-MiniLM-L6-v2"
    batch: Positive = 64
    cache: str | None = None
    dim: Positive = 384


class Clusters(_Section, frozen=True):
    """How many clusters the warm start makes (auto: a third of it), and how many there may be."""

    start: Positive | Auto = "auto"
    max: Positive = 400


class Sampling(_Section, frozen=True):
    """Which prompts are asked next. Epochs hold ``epoch`` requests, ``in_flight`` of them at once."""

    warm_start: Positive | Auto = "auto"
    epoch: Blocks | Auto = "auto"
    in_flight: Positive | Auto = "auto"
    uniform: Annotated[float, msgspec.Meta(ge=0.2, le=1.0)] = 0.2
    rule: RuleName = "leads"


def _spend(unit: str) -> str:
    return f"how many {unit} all arms together may spend before the run ends (a number above 0),"


class Budget(_Section, frozen=True):
    """What the run may spend, all arms together, before it ends; None is no bound."""

    texts: Annotated[int, msgspec.Meta(ge=1, description=_spend("texts"))] | None = 20_000
    tokens: Annotated[int, msgspec.Meta(ge=1, description=_spend("tokens"))] | None = None
    minutes: Annotated[float, msgspec.Meta(gt=0, description=_spend("minutes"))] | None = None
    dollars: Annotated[float, msgspec.Meta(ge=0)] = 50.0


class Stop(_Section, frozen=True):
    """Stopping criteria (statistics section 4). Those named must all hold; none is named by default."""

    unseen: Share | None = None
    completeness: Share | None = None
    stability: Share | None = None
    decided: Share | None = None


class Tier(_Section, frozen=True):
    """A language model that judges.

    ``price`` is dollars per million tokens, read and written; it may be left out where the table knows the model.
    ``budget`` is dollars that this tier may spend; ``timeout`` is for a call, ``patience`` for a judgment with its retries.
    ``key`` is env:NAME. ``structured`` (openai only) is how an answer is held to its form, ``options`` go into the request.
    """

    model: str
    name: str | None = None
    key: str | None = None
    base_url: str | None = None
    price: tuple[Dollars, Dollars] | None = None
    budget: Dollars | None = None
    max_tokens: Positive | None = None
    timeout: Seconds = 30.0
    patience: Seconds = 120.0
    tries: Positive = 6
    concurrency: Positive = 16
    structured: Literal["schema", "json", "none"] = "schema"
    options: dict[str, Any] = {}


class Validation(_Section, frozen=True):
    """The tiers that judge statements, cheap first. ``borderline`` scores go on to the next tier.

    ``author`` writes the statements: keywords, or the name of a tier whose language model does. ``pairs`` is how many fresh
    pairs all tiers together may judge for one statement (auto: 100, or 300 with a language model among the tiers).
    """

    tiers: tuple[str | dict[str, Any], ...] = ("keywords", "embedding")
    author: str = "keywords"
    min_accuracy: Annotated[float, msgspec.Meta(gt=0.5, lt=1.0)] = 0.7
    borderline: tuple[Share, Share] = (0.4, 0.6)
    pairs: Positive | Auto = "auto"


class Kafka(_Section, frozen=True):
    """An Apache Kafka cluster: ``kafka`` is host:port, several separated by commas.

    ``prefix`` goes before the names of topics, groups and transactional ids. ``password`` is env:NAME. ``replication``
    is of new topics (auto: three, or as many as there are brokers).
    """

    kafka: str
    prefix: Annotated[
        str,
        msgspec.Meta(
            pattern="^[A-Za-z0-9._-]{0,64}$", description="at most 64 of the characters A-Z, a-z, 0-9, ., _ and -"
        ),
    ] = ""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    replication: Positive | Auto = "auto"


class Experiment(_Section, frozen=True):
    """A whole experiment: two or more arms, one of which is the reference, and what they are asked."""

    experiment: ExperimentName
    arms: dict[ArmName, Arm]
    reference: str | None = None
    generator: Generator = Generator()
    prompts: Prompts | Literal["unconditional"] | None = None
    replay: Replay | None = None
    embedder: Embedder = Embedder()
    clusters: Clusters = Clusters()
    sampling: Sampling = Sampling()
    budget: Budget = Budget()
    alpha: Annotated[float, msgspec.Meta(gt=0.0, lt=0.5)] = 0.05
    stop: Stop = Stop()
    validation: Validation = Validation()
    log: Kafka | Literal["embedded"] = "embedded"
    partitions: Positive = 8
    seed: int = 0
