"""The topics of a run: their events, keys, partitions and what is kept. ``schemas/topics.yaml`` is made from this."""

from __future__ import annotations

from typing import Literal

import msgspec

from contraflow import events

__all__ = ["SERVICES", "TOPICS", "TopicSpec", "dead_letters", "qualified", "specs"]

Cleanup = Literal["delete", "compact"]
PARTITIONS = 8
SERVICES = ("sampler", "decoder", "embedder", "clusterer", "validator")
"""The services of the ring. Each reads as the group ``<run>.<service>``, a decoder as ``<run>.decoder.<arm>``."""


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One topic: its name without the run, the event it carries, and how it is kept.

    ``partitioned`` topics have P partitions, the others one. ``event`` is None for state changelogs and dead letters.
    """

    name: str
    event: type[msgspec.Struct] | None
    key: str
    partitioned: bool = False
    cleanup: Cleanup = "delete"
    description: str = ""

    def partitions(self, p: int = PARTITIONS) -> int:
        """How many partitions the topic has when P is ``p``."""
        return p if self.partitioned else 1


def _topic(
    event: type[msgspec.Struct] | None,
    name: str,
    key: str,
    description: str,
    *,
    wide: bool = False,
    compact: bool = False,
) -> TopicSpec:
    return TopicSpec(
        name=name,
        event=event,
        key=key,
        partitioned=wide,
        cleanup="compact" if compact else "delete",
        description=description,
    )


TOPICS: dict[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        _topic(events.Request, "requests", "request_id", "what every arm is asked, by seq in turn", wide=True),
        _topic(events.Text, "texts", "request_id", "what the arms answered", wide=True),
        _topic(events.Embedding, "embeddings", "request_id", "the answers and their vectors", wide=True),
        _topic(events.Assignment, "assignments", "request_id", "the clusters that each pair fell into", wide=True),
        _topic(events.Regions, "regions", "epoch", "what deserves more texts: the feedback to the sampler"),
        _topic(events.Cluster, "clusters", "cluster_id", "the clusters and their evidence", compact=True),
        _topic(events.Evidence, "evidence", "cluster_id", "the evidence over time"),
        _topic(events.Hypothesis, "hypotheses", "hypothesis_id", "statements about claimed clusters", compact=True),
        _topic(events.Judgment, "judgments", "hypothesis_id", "one judge's answer on one fresh pair"),
        _topic(events.Verdict, "verdicts", "hypothesis_id", "what the judges settled", compact=True),
        _topic(events.Steering, "steering", "epoch", "what the sampler planned, and why"),
        _topic(events.Control, "control", "run", "the state of the run", compact=True),
        _topic(None, "state-sampler", "part", "the sampler's changelog", compact=True),
        _topic(None, "state-clusterer", "part", "the clusterer's changelog", compact=True),
        _topic(None, "state-validator", "part", "the validator's changelog", compact=True),
        _topic(None, "requests.dead", "as its origin", "requests that no arm could take"),
        _topic(None, "texts.dead", "as its origin", "texts that could not be embedded"),
        _topic(None, "embeddings.dead", "as its origin", "embeddings that could not be clustered"),
    )
}


def dead_letters(topic: str) -> str:
    """The topic that takes the records of ``topic`` that could not be processed."""
    return f"{topic}.dead"


def qualified(run: str, topic: str) -> str:
    """The topic's name on the log: ``<run>.<topic>``."""
    return f"{run}.{topic}"


def specs(run: str, partitions: int = PARTITIONS) -> list[tuple[str, int, Cleanup]]:
    """Name on the log, partitions and clean-up of every topic of a run."""
    return [(qualified(run, spec.name), spec.partitions(partitions), spec.cleanup) for spec in TOPICS.values()]
