"""What a run found, read from its log: the findings, and everything behind them as events and data frames."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from contraflow.events import (
    ArmTotals,
    Assignment,
    Cluster,
    Control,
    Embedding,
    Evidence,
    Hypothesis,
    Judgment,
    Regions,
    Request,
    Steering,
    Text,
    Verdict,
    tag_of,
)
from contraflow.findings import Finding, SideBySide, findings_of, row_of, shown_pairs
from contraflow.log.protocol import Log, Record
from contraflow.log.reading import read_until_now
from contraflow.places import Places, read_places
from contraflow.run_log import RunLog, open_run_log
from contraflow.runs import RunFolder
from contraflow.runtime.portal import blocking
from contraflow.topics import TOPICS
from contraflow.wire import Wire

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "Results", "SideBySide", "read_results", "read_texts", "read_topic", "read_vectors"]

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """What a run found. ``regions`` is the newest, final once the run is done.

    What grows with the texts stays on the log: ``requests``, ``texts``, ``assignments`` and ``judged`` are read when they
    are asked for, and held from then on. ``places`` has the clusters of all answers, ``shown`` the texts of the findings.
    """

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
    dead: dict[str, int]
    places: Places
    shown: dict[str, dict[str, Text]]

    @cached_property
    def requests(self) -> dict[str, Request]:
        """Every request, by its id."""
        return {request.request_id: request for request in self.read(lambda log: log.every("requests", Request))}

    @cached_property
    def texts(self) -> dict[str, dict[str, Text]]:
        """Every text, by its request's id and by arm."""
        return self.read(read_texts)

    @cached_property
    def judged(self) -> dict[str, dict[str, Text]]:
        """The texts of the pairs that were judged."""
        return self.read(partial(read_texts, only={judgment.request_id for judgment in self.judgments}))

    @cached_property
    def assignments(self) -> list[Assignment]:
        """Where every pair fell, by ``seq``."""

        async def read(log: RunLog) -> list[Assignment]:
            return [assignment async for assignment in log.assignments()]

        return self.read(read)

    def read(self, work: Callable[[RunLog], Awaitable[T]]) -> T:
        """What ``work`` makes of what the run's log holds now, be it more than when the results were read."""

        async def read() -> T:
            async with open_run_log(self.folder) as log:
                return await work(log)

        return blocking(read)

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
        while (further := {cluster: into.get(heir, heir) for cluster, heir in into.items()}) != into:
            into = further
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


async def read_results(path: Path) -> Results:
    """Read a run's folder; the run may still be going."""
    folder = RunFolder(path)
    resolved = folder.resolved
    async with open_run_log(folder) as log:
        control = [control async for control in log.events("control", Control)]
        regions = await log.last("regions", Regions)  # before the clusters: every claim's is there then
        verdicts = await log.every("verdicts", Verdict)  # in what order depends on when they were compacted
        hypotheses = sorted(await log.every("hypotheses", Hypothesis), key=lambda h: h.order)
        order = {hypothesis.hypothesis_id: hypothesis.order for hypothesis in hypotheses}
        places = await read_places(log, resolved["arms"])
        claims = regions.claims if regions else ()
        rows = {row for claim in claims for row in shown_pairs(places, claim, resolved["reference"])}
        return Results(
            folder=folder,
            resolved=resolved,
            regions=regions,
            control=control[-1] if control else None,
            why=next((c.why for c in control if c.last_seq is not None), ""),
            clusters=sorted(await log.every("clusters", Cluster), key=lambda c: c.cluster_id),
            evidence=await log.every("evidence", Evidence),
            hypotheses=hypotheses,
            judgments=await log.every("judgments", Judgment),
            verdicts=sorted(verdicts, key=lambda v: order[v.hypothesis_id]),
            steering=await log.every("steering", Steering),
            dead=await _dead(log),
            places=places,
            shown=await read_texts(log, {places.request(row) for row in rows}),
        )


async def read_texts(log: RunLog, only: Container[str] | None = None) -> dict[str, dict[str, Text]]:
    """The texts of all requests, or of those whose ids are among ``only``, by request and by arm."""
    texts: dict[str, dict[str, Text]] = {}
    async for text in log.events("texts", Text, only):
        texts.setdefault(text.request_id, {})[text.arm] = text
    return texts


async def _dead(log: RunLog) -> dict[str, int]:
    counts = {name: await log.count(name) for name in TOPICS if name.endswith(".dead")}
    return {name: count for name, count in counts.items() if count}


async def read_vectors(results: Results) -> list[tuple[str, str, int, bytes]]:
    """(arm, text, cluster, float32 bytes) of every answer that was clustered, by ``seq``."""
    places = results.places
    rows = {seq: row for row, seq in enumerate(places.seqs.tolist())}
    async with open_run_log(results.folder) as log:
        embeddings = [e async for e in log.events("embeddings", Embedding) if e.seq in rows]
    return [
        (e.arm, e.text, int(places.clusters[e.arm][rows[e.seq]]), e.vector)
        for e in sorted(embeddings, key=lambda e: (e.seq, e.arm))
    ]
