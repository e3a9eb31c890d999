"""What the validator works with: pairs of texts, statements, and judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from contraflow.events import Hypothesis, Judgment, Origin, Verdict

__all__ = [
    "Answer",
    "Author",
    "Choice",
    "Judge",
    "Material",
    "Statement",
    "Step",
    "TextPair",
    "ValidatorConfig",
    "Written",
]

Choice = Literal["first", "second", "both", "neither", "unparsable"]


@dataclass(frozen=True, slots=True)
class ValidatorConfig:
    """``pairs`` is how many pairs all tiers together may judge for one statement; ``borderline`` scores go on to the next.

    With ``held_out`` (replayed texts) the pairs asked to confirm come from prompts that are asked for nothing else:
    statements are judged on those alone, and written from the others.
    """

    arms: tuple[str, ...]
    reference: str
    alpha: float = 0.05
    min_accuracy: float = 0.7
    borderline: tuple[float, float] = (0.4, 0.6)
    pairs: int = 100
    seed: int = 0
    held_out: bool = False


class Step(NamedTuple):
    """What the validator has to publish. ``waits`` says what open statements wait for, where a judge could not answer."""

    hypotheses: list[Hypothesis]
    judgments: list[Judgment]
    verdicts: list[Verdict]
    waits: str = ""


class TextPair(msgspec.Struct, frozen=True):
    """A request answered by every arm, with the cluster that each answer fell into."""

    seq: int
    request_id: str
    prompt_id: str
    origin: Origin
    texts: dict[str, str]
    clusters: dict[str, int]

    def discordant(self, cluster_id: int, arm: str, reference: str) -> bool:
        """Whether exactly one of the two texts is in the cluster: a choice that is symmetric in the arms."""
        return (self.clusters[arm] == cluster_id) != (self.clusters[reference] == cluster_id)


class Statement(msgspec.Struct, frozen=True):
    """A property that one text can show or not. Judges never learn that there are two models.

    ``terms`` are characteristic words and their weights, ``exemplars`` a few texts that show it.
    """

    property: str
    terms: dict[str, float]
    exemplars: tuple[str, ...]


class Answer(NamedTuple):
    """Which of two texts shows the property more, and what the answer cost."""

    choice: Choice
    price: float = 0.0
    latency: float = 0.0
    cached: bool = False


class Material(NamedTuple):
    """What a statement is written from.

    Texts of a cluster, the other arm's answers to the same prompts (as many), texts that are nearly like it and are in
    other clusters, and what other statements say already.
    """

    inside: Sequence[str]
    outside: Sequence[str]
    near: Sequence[str]
    known: Sequence[str]


class Written(NamedTuple):
    """A statement, and what writing it cost."""

    statement: Statement
    price: float = 0.0


class Author(Protocol):
    """Writes statements. ``name`` is kept with each."""

    name: str

    async def write(self, material: Material) -> Written | None:
        """A property that the inside texts show and the others do not; None where nothing that can be read was written.

        :raises JudgeAway: if it cannot write now.
        """
        ...


class Judge(Protocol):
    """A tier. ``price`` is dollars a call; one that ``may_mind_the_order`` of two texts is asked some pairs twice."""

    name: str
    price: float
    prompt_version: str
    may_mind_the_order: bool

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """Which of the two texts shows the statement's property more.

        :raises JudgeAway: if it cannot say now; nothing is known then, and the same pair is asked again later.
        """
        ...
