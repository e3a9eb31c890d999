"""A run before it runs: texts, tokens, hours, dollars, disk and memory, and what of that does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from contraflow.asked import Asked
from contraflow.configuration import Resolved, redacted
from contraflow.decoder.openai.charges import prices
from contraflow.errors import ConfigurationError
from contraflow.llm.estimate import STATEMENTS, estimates
from contraflow.llm.prices import PICO, Price
from contraflow.planning.calibrating import Pace

__all__ = ["ArmPlan", "Measured", "Planned", "ServerPlan", "TierPlan", "reckon"]

_RING = 1 / 2800
"""Seconds that the ring itself takes a text (docs/evidence.md)."""
_RECORD = 250
"""Bytes of a record beside its texts and its vector."""
_PAGES = 1.15
"""SQLite's pages, as a share of what is in them."""
_CACHED = 1.86
"""LMDB's pages, as a share of the embeddings in them."""
_STATE = 2.5
"""What the clusterer publishes and keeps, in vectors a text (measured at 4,000 and 20,000 texts)."""
_FOLDER = 20.0
"""MB of the report, and of what a log holds however short its run."""
_BASE = 180.0
"""MB that the ring holds while it runs, beside its models."""
_RESULTS = 4.8
"""How much of what was said and embedded is in memory when the results are written, as a share of its bytes."""


class Measured(NamedTuple):
    """What a machine does and has: None, or no ``paces``, where it was not measured or is not known.

    ``embedding`` is seconds a text, ``texts`` are examples of answers; MB are free on the disk of the runs, free in memory,
    and what this process held at most with all models loaded.
    """

    paces: Mapping[str, Pace]
    embedding: float | None
    texts: Sequence[str]
    disk_free: float
    memory_free: float | None
    peak: float | None
    gpus: Mapping[str, float]


class ArmPlan(msgspec.Struct, frozen=True):
    """What an arm does a second on this machine beside the others, and the tokens of an answer on average."""

    texts_per_second: float
    tokens_per_second: float
    prompt_tokens: float
    completion_tokens: float
    failed: int


class ServerPlan(msgspec.Struct, frozen=True):
    """Dollars for the answers of an arm's server: None if it has no price, was not measured, or did not tell its tokens."""

    priced: bool
    dollars: float | None


class TierPlan(msgspec.Struct, frozen=True):
    """Dollars of a language model that judges, for ``statements``: as a rule, and at worst; and whether texts leave."""

    tier: str
    statements: int
    usual: float
    most: float
    leaves: bool


class Planned(msgspec.Struct, frozen=True):
    """What a run will take. ``tokens`` are completion tokens of all arms; ``ends`` names the bound that ends it.

    ``servers`` are the arms that a server answers for; ``dollars`` are what the judges, the ``tiers``, may spend.

    ``seconds`` adds decoding, embedding and the ring's own work, as if none ran beside another; without a measurement they
    are None, and ``tokens`` is the most there can be.
    """

    experiment: str
    prompts: int
    texts: int
    tokens: int
    ends: str
    seconds: float | None
    decoding: float | None
    embedding: float | None
    arms: dict[str, ArmPlan]
    servers: dict[str, ServerPlan]
    tiers: tuple[TierPlan, ...]
    dollars: float
    disk_mb: float
    disk_free_mb: float
    memory_mb: float | None
    memory_free_mb: float | None
    gpu_mb: dict[str, float]
    warnings: tuple[str, ...] = ()


def reckon(resolved: Resolved, asked: Asked, measured: Measured) -> Planned:
    """What the run takes on the machine that was measured.

    :raises ConfigurationError: if nothing bounds the run.
    """
    arms, (decoding, tokens) = len(resolved.arms), _of_a_pair(resolved, asked, measured)
    embedding = None if measured.embedding is None else arms * measured.embedding
    each = None if decoding is None or embedding is None else decoding + embedding + arms * _RING
    pairs, ends = _bound(resolved, tokens, each)
    said, asks, vector = _bytes(resolved, asked, measured.texts)
    disk = 2 * _RECORD + asks + arms * (2 * _RECORD + asks + 2 * said + (1 + _STATE) * vector)
    cached = arms * _CACHED * vector
    held = _RESULTS * arms * (_RECORD + asks + said + vector)
    plan = Planned(
        experiment=resolved.experiment.experiment,
        prompts=len(asked.prompts),
        texts=pairs * arms,
        tokens=round(pairs * tokens),
        ends=ends,
        seconds=None if each is None else pairs * each,
        decoding=None if decoding is None else pairs * decoding,
        embedding=None if embedding is None else pairs * embedding,
        arms={name: _arm(pace) for name, pace in measured.paces.items()},
        servers={
            name: _server(pairs, price, measured.paces.get(name))
            for name, price in prices(redacted(resolved.experiment)).items()
        },
        tiers=tuple(
            TierPlan(e.tier, STATEMENTS, STATEMENTS * e.usual, STATEMENTS * e.most, e.leaves)
            for e in estimates(resolved.experiment)
        ),
        dollars=resolved.experiment.budget.dollars,
        disk_mb=_FOLDER + pairs * (_PAGES * disk + cached) / 2**20,
        disk_free_mb=measured.disk_free,
        memory_mb=None if measured.peak is None else measured.peak + _BASE + pairs * held / 2**20,
        memory_free_mb=measured.memory_free,
        gpu_mb=dict(measured.gpus),
    )
    return msgspec.structs.replace(plan, warnings=tuple(_warnings(plan, resolved, measured)))


def _of_a_pair(resolved: Resolved, asked: Asked, measured: Measured) -> tuple[float | None, float]:
    """Seconds to decode a pair, and its completion tokens: it is there when its slowest arm has answered."""
    paces = measured.paces.values()
    if asked.texts is not None:
        return 0.0, 0.0
    if not paces:
        return None, float(len(resolved.arms) * resolved.experiment.generator.max_tokens)
    return 1 / min(pace.per_second for pace in paces), sum(pace.completion_tokens for pace in paces)


def _bound(resolved: Resolved, tokens: float, each: float | None) -> tuple[int, str]:
    """How many pairs there will be, and what ends the run."""
    budget = resolved.experiment.budget
    bounds: list[tuple[float, str]] = []
    if resolved.pairs is not None:
        texts = budget.texts is not None and resolved.pairs == budget.texts // len(resolved.arms)
        bounds.append((resolved.pairs, "budget.texts" if texts else "every prompt and stored draw is asked once"))
    if budget.tokens is not None and tokens:
        bounds.append((budget.tokens / tokens, "budget.tokens"))
    if budget.minutes is not None and each:
        bounds.append((60 * budget.minutes / each, "budget.minutes"))
    if not bounds:
        unknown = "" if budget.minutes is None else " (how many texts fit into budget.minutes was not measured)"
        raise ConfigurationError(
            f"budget: nothing bounds the number of texts{unknown}; set budget.texts, such as 20000"
        )
    pairs, ends = min(bounds)
    return max(1, int(pairs)), ends


def _bytes(resolved: Resolved, asked: Asked, texts: Sequence[str]) -> tuple[float, float, float]:
    """Of a text, of a prompt and of a vector; four bytes a token where no text was seen."""
    said = 4.0 * resolved.experiment.generator.max_tokens
    if texts:
        said = sum(len(text.encode("utf-8", "replace")) for text in texts) / len(texts)
    turns = (turn.content for prompt in asked.prompts for turn in prompt.messages)
    asks = sum(len(turn.encode("utf-8", "replace")) for turn in turns) / len(asked.prompts)
    return said, asks, 4.0 * resolved.experiment.embedder.dim


def _arm(pace: Pace) -> ArmPlan:
    return ArmPlan(
        texts_per_second=pace.per_second,
        tokens_per_second=pace.per_second * pace.completion_tokens,
        prompt_tokens=pace.prompt_tokens,
        completion_tokens=pace.completion_tokens,
        failed=pace.failed,
    )


def _server(pairs: int, price: Price | None, pace: Pace | None) -> ServerPlan:
    if price is None or pace is None or not pace.prompt_tokens:
        return ServerPlan(price is not None, None)
    of_a_text = pace.prompt_tokens * price.read + pace.completion_tokens * price.written
    return ServerPlan(True, pairs * of_a_text / PICO)


def _warnings(plan: Planned, resolved: Resolved, measured: Measured) -> Iterator[str]:
    budget, wanted = resolved.experiment.budget, None if resolved.pairs is None else resolved.pairs * len(resolved.arms)
    for arm, pace in measured.paces.items():
        if pace.failed:
            asked = pace.failed + pace.answers
            yield f"arm {arm}: {pace.failed:,} of {asked:,} requests failed, most often with: {pace.error[:200]}"
    if plan.ends in ("budget.tokens", "budget.minutes") and wanted is not None:
        said = budget.tokens if plan.ends == "budget.tokens" else budget.minutes
        yield f"{plan.ends}: {said:,} end the run after about {plan.texts:,} of {wanted:,} texts"
    if plan.disk_mb > plan.disk_free_mb:
        yield (
            f"the disk has {plan.disk_free_mb:,.0f} MB free and the run writes about {plan.disk_mb:,.0f} MB: free some, or "
            "choose other folders with --runs and embedder.cache"
        )
    if plan.memory_mb and plan.memory_free_mb and plan.memory_mb > plan.memory_free_mb:
        yield (
            f"{plan.memory_free_mb:,.0f} MB of memory are free and the run needs about {plan.memory_mb:,.0f} MB: a smaller "
            "budget.texts or generator.batch takes less"
        )
    usual = sum(tier.usual for tier in plan.tiers)
    if usual > plan.dollars:
        yield (
            f"budget.dollars: judging {STATEMENTS} statements to the end costs about ${usual:,.2f}, and all models together "
            f"may spend ${plan.dollars:,.2f}: statements beyond it stay undecided"
        )
