"""Who judges the statements, and what that costs: the validator's own tiers, with simulated judges behind the free ones.

A simulated judge picks the text that is from what the statement is about, rightly with its ``accuracy``; where both are
from it, or neither, it flips a coin, as statistics section 3 assumes of false statements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anyio
import msgspec
import numpy as np
from numpy.typing import NDArray

from contraflow.configuration.tiers import judged_pairs
from contraflow.embedder.encoder import Encoder
from contraflow.events import VerdictStatus
from contraflow.experiment import Validation
from contraflow.results import Results
from contraflow.validator.core import Validator, ValidatorConfig
from contraflow.validator.judges import EmbeddingJudge, KeywordJudge
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["CHEAPER", "Bill", "SimulatedJudge", "judged"]

CHEAPER = 16.7
"""How many cheap calls cost what one dear call costs."""


class SimulatedJudge:
    """A tier whose ``sources`` tell what each text is from."""

    prompt_version = "simulated-1"
    may_mind_the_order = False

    def __init__(self, name: str, accuracy: float, price: float, sources: Mapping[str, str], seed: int) -> None:
        self.name = name
        self.price = price
        self._accuracy = accuracy
        self._sources = sources
        self._rng = np.random.default_rng([seed, len(name)])

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """The text that shows it, or now and then the other."""
        about = Counter(self._sources[text] for text in statement.exemplars).most_common(1)
        shows = [bool(about) and self._sources[text] == about[0][0] for text in (first, second)]
        right = self._rng.random() < (self._accuracy if shows[0] != shows[1] else 0.5)
        return Answer("first" if shows[0] == right else "second", self.price)


class Bill(NamedTuple):
    """Calls by tier, dollars, and how many statements were accepted, rejected and left undecided."""

    calls: Mapping[str, int]
    dollars: float
    accepted: int
    rejected: int
    undecided: int


def judged(
    results: Results, encoder: Encoder, sources: Mapping[str, str], dear: float, seed: int, *, free: bool = True
) -> Bill:
    """The run's statements, written and judged again by its validator: the free tiers first, then cheap, then dear."""

    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return encoder.encode(texts)[0]

    tiers: list[Judge] = [KeywordJudge(), EmbeddingJudge(embed)] if free else []
    tiers += [
        SimulatedJudge("cheap", 0.8, dear / CHEAPER, sources, seed),
        SimulatedJudge("dear", 0.9, dear, sources, seed),
    ]
    settings = results.resolved["experiment"]["validation"]
    config = ValidatorConfig(
        arms=tuple(results.arms),
        reference=results.reference,
        alpha=results.resolved["experiment"]["alpha"],
        min_accuracy=settings["min_accuracy"],
        borderline=tuple(settings["borderline"]),
        pairs=judged_pairs(msgspec.convert(settings, Validation)),
        seed=seed,
        held_out=True,
    )
    return anyio.run(_judge, Validator(config, tiers), results)


async def _judge(validator: Validator, results: Results) -> Bill:
    assert results.regions is not None, "a run that is done has told its regions"
    # how the stream is cut into calls changes nothing, and claims carry when they were made
    steps = [await validator.advance(_pairs(results), results.regions), await validator.finish()]
    judgments = [judgment for step in steps for judgment in step.judgments]
    last = {verdict.hypothesis_id: verdict.status for step in steps for verdict in step.verdicts}
    statuses = Counter(last.values())
    return Bill(
        Counter(judgment.tier for judgment in judgments),
        sum(judgment.price for judgment in judgments),
        *(statuses[s] for s in (VerdictStatus.ACCEPTED, VerdictStatus.REJECTED, VerdictStatus.UNDECIDED)),
    )


def _pairs(results: Results) -> list[TextPair]:
    return [
        TextPair(
            seq=a.seq,
            request_id=a.request_id,
            prompt_id=a.prompt_id,
            origin=a.origin,
            texts={arm: results.texts[a.request_id][arm].text for arm in results.arms},
            clusters={arm: place.cluster_id for arm, place in a.arms.items()},
        )
        for a in results.assignments
        if not a.failed
    ]
