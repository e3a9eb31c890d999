"""What a run found, read from its log: the findings, and everything behind them as events and data frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from contraflow.events import (
    ArmTotals,
    Assignment,
    Cluster,
    Control,
    Embedding,
    EventError,
    Evidence,
    Hypothesis,
    Judgment,
    Regions,
    Request,
    Steering,
    Text,
    Verdict,
    decode,
    tag_of,
)
from contraflow.findings import Finding, SideBySide, findings_of, row_of
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Record
from contraflow.log.reading import read_until_now
from contraflow.runs import RunFolder
from contraflow.topics import TOPICS, dead_letters
from contraflow.wire import Wire

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "Results", "SideBySide", "read_results", "read_topic", "read_vectors"]

E = TypeVar("E", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Results:
    """A run, read whole. ``regions`` is the newest, final once the run is done."""

    folder: RunFolder
    resolved: dict[str, Any]
    regions: Regions | None
    control: Control | None
    why: str
    clusters: list[Cluster]
    evidence: list[Evidence]
    hypotheses: list[Hypothesis]
    judgments: list[Judgment]
    verdicts: list[Verdict]
    steering: list[Steering]
    requests: dict[str, Request]
    texts: dict[str, dict[str, Text]]
    assignments: list[Assignment]
    dead: dict[str, int]

    @property
    def arms(self) -> list[str]:
        """The arms in the experiment's order."""
        return list(self.resolved["arms"])

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        reference: str = self.resolved["reference"]
        return reference

    @property
    def findings(self) -> list[Finding]:
        """The claims, strongest verdict and evidence first."""
        return findings_of(self)

    @property
    def groups(self) -> list[list[Finding]]:
        """The findings that rest on the same pairs together, strongest first among the groups and in each.

        For reading alone: a group claims nothing, every statistic is of one claim.
        """
        groups: dict[int, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.group, []).append(finding)
        return list(groups.values())

    @property
    def heirs(self) -> dict[int, int]:
        """By the id of each cluster that was merged into another, the id under which its texts are now."""
        into = {c.cluster_id: c.merged_into for c in self.clusters if c.merged_into is not None}
        for _ in into:  # the longest chain
            into = {cluster: into.get(heir, heir) for cluster, heir in into.items()}
        return into

    @property
    def failing(self) -> dict[str, ArmTotals]:
        """The arms of which more than 1 % of the requests failed: their failures may explain the claims."""
        arms = self.regions.arms if self.regions else {}
        return {arm: total for arm, total in arms.items() if total.texts and total.failures / total.texts > 0.01}

    def frame(self, name: str) -> pd.DataFrame:
        """A table of ``findings``, ``clusters``, ``evidence``, ``judgments``, ``verdicts``, ``steering`` or ``texts``.

        :raises KeyError: if there is no such table.
        """
        import pandas as pd

        return pd.DataFrame(self.rows(name))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of ``frame`` as plain values, every row with every column; None where there is no value.

        :raises KeyError: if there is no such table.
        """
        tables: dict[str, Iterable[Any]] = {
            "clusters": self.clusters,
            "evidence": self.evidence,
            "hypotheses": self.hypotheses,
            "judgments": self.judgments,
            "verdicts": self.verdicts,
            "steering": self.steering,
            "texts": (text for answers in self.texts.values() for text in answers.values()),
        }
        if name == "findings":
            return [row_of(finding) for finding in self.findings]
        return [{"type": tag_of(type(e)), **msgspec.to_builtins(msgspec.structs.asdict(e))} for e in tables[name]]


async def read_topic(log: Log, wire: Wire, topic: str) -> list[Record]:
    """Every committed record of a topic; none if it does not exist yet."""
    return await read_until_now(log, dict.fromkeys(wire.all(topic)))


async def _events(log: Log, wire: Wire, topic: str, kind: type[E]) -> list[E]:
    records = await read_topic(log, wire, topic)
    if TOPICS[topic].cleanup == "compact":
        records = list({record.key: record for record in records}.values())
    events = (_event(record.value, topic, kind) for record in records if record.value is not None)
    return [event for event in events if event is not None]


def _event(value: bytes, topic: str, kind: type[E]) -> E | None:
    """The event; None of a record that nobody could read: the ring has buried it, and ``dead`` counts it."""
    try:
        return decode(value, kind)
    except EventError:
        if dead_letters(topic) in TOPICS:
            return None
        raise


async def read_results(path: Path) -> Results:
    """Read a run's folder; the run may still be going."""
    folder = RunFolder(path)
    resolved = folder.resolved
    wire = Wire(folder.run, resolved["experiment"]["partitions"])
    async with open_log(folder) as log:
        texts: dict[str, dict[str, Text]] = {}
        for text in await _events(log, wire, "texts", Text):
            texts.setdefault(text.request_id, {})[text.arm] = text
        regions = await _events(log, wire, "regions", Regions)
        hypotheses = sorted(await _events(log, wire, "hypotheses", Hypothesis), key=lambda h: h.order)
        order = {hypothesis.hypothesis_id: hypothesis.order for hypothesis in hypotheses}
        verdicts = await _events(log, wire, "verdicts", Verdict)  # in what order depends on when they were compacted
        control = [decode(r.value, Control) for r in await read_topic(log, wire, "control") if r.value]
        return Results(
            folder=folder,
            resolved=resolved,
            regions=regions[-1] if regions else None,
            control=control[-1] if control else None,
            why=next((c.why for c in control if c.last_seq is not None), ""),
            clusters=sorted(await _events(log, wire, "clusters", Cluster), key=lambda c: c.cluster_id),
            evidence=await _events(log, wire, "evidence", Evidence),
            hypotheses=hypotheses,
            judgments=await _events(log, wire, "judgments", Judgment),
            verdicts=sorted(verdicts, key=lambda v: order[v.hypothesis_id]),
            steering=await _events(log, wire, "steering", Steering),
            requests={r.request_id: r for r in await _events(log, wire, "requests", Request)},
            texts=texts,
            assignments=sorted(await _events(log, wire, "assignments", Assignment), key=lambda a: a.seq),
            dead=await _dead(log, wire),
        )


async def _dead(log: Log, wire: Wire) -> dict[str, int]:
    counts = {name: len(await read_topic(log, wire, name)) for name in TOPICS if name.endswith(".dead")}
    return {name: count for name, count in counts.items() if count}


async def read_vectors(results: Results) -> list[tuple[str, str, int, bytes]]:
    """(arm, text, cluster, float32 bytes) of every answer that was clustered, by ``seq``."""
    wire = Wire(results.folder.run, results.resolved["experiment"]["partitions"])
    places = {a.seq: a.arms for a in results.assignments if not a.failed}
    async with open_log(results.folder) as log:
        embeddings = await _events(log, wire, "embeddings", Embedding)
    return [
        (e.arm, e.text, places[e.seq][e.arm].cluster_id, e.vector)
        for e in sorted(embeddings, key=lambda e: (e.seq, e.arm))
        if e.seq in places
    ]
