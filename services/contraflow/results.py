"""What a run found, read from its log: the findings, and everything behind them as events and data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from contraflow.events import (
    ArmTotals,
    Assignment,
    Claim,
    Cluster,
    Comparison,
    Control,
    Embedding,
    EventError,
    Evidence,
    Hypothesis,
    Judgment,
    Origin,
    Regions,
    Request,
    Steering,
    Text,
    Verdict,
    decode,
    tag_of,
)
from contraflow.grouping import group_claims
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


class SideBySide(msgspec.Struct, frozen=True):
    """One request and every arm's answer to it; ``arm_in`` names the arms whose text is in the cluster."""

    seq: int
    request_id: str
    prompt: str
    texts: dict[str, str]
    arm_in: tuple[str, ...]


class Finding(msgspec.Struct, frozen=True):
    """A claim with all that is known of it: the cluster, its evidence, the statement, the verdict, and pairs to read.

    ``group`` is for reading alone: claims with the same number rest on the same discordant pairs (``group_claims``).
    """

    claim: Claim
    cluster: Cluster
    comparison: Comparison
    hypothesis: Hypothesis | None
    verdict: Verdict | None
    pairs: tuple[SideBySide, ...]
    group: int = 1

    @property
    def statement(self) -> str:
        """The finding in words."""
        if self.hypothesis is not None:
            return self.hypothesis.statement
        return "Answers that sound like: " + ", ".join(self.cluster.keywords[:6])


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
        return _findings(self)

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
            return [_row(finding) for finding in self.findings]
        return [{"type": tag_of(type(e)), **msgspec.to_builtins(msgspec.structs.asdict(e))} for e in tables[name]]


def _row(finding: Finding) -> dict[str, Any]:
    """``n``, ``s`` and ``log_e`` are of the claim, ``n_now`` and ``s_now`` of the newest pair."""
    effect = finding.comparison.effect
    return {
        "cluster_id": finding.claim.cluster_id,
        "arm": finding.claim.arm,
        "group": finding.group,
        "statement": finding.statement,
        "verdict": str(finding.verdict.status) if finding.verdict else None,
        "direction": finding.claim.direction,
        "n": finding.claim.n,
        "s": finding.claim.s,
        "log_e": finding.claim.log_e,
        "claimed_at": finding.claim.claimed_at,
        "generalises": finding.claim.generalises,
        "n_now": finding.comparison.n,
        "s_now": finding.comparison.s,
        "difference": effect.difference if effect else None,
        "difference_low": effect.difference_low if effect else None,
        "difference_high": effect.difference_high if effect else None,
    }


def _findings(results: Results) -> list[Finding]:
    if results.regions is None:
        return []
    clusters = {cluster.cluster_id: cluster for cluster in results.clusters}
    hypotheses = {(h.cluster_id, h.arm): h for h in results.hypotheses if h.placebo_of is None}
    verdicts = {verdict.hypothesis_id: verdict for verdict in results.verdicts}
    found = []
    for claim in results.regions.claims:
        cluster = clusters[claim.cluster_id]
        hypothesis = hypotheses.get((claim.cluster_id, claim.arm))
        verdict = verdicts.get(hypothesis.hypothesis_id) if hypothesis else None
        pairs = _side_by_side(results, claim)
        found.append(Finding(claim, cluster, cluster.comparisons[claim.arm], hypothesis, verdict, pairs))
    order = {"accepted": 0, "open": 1, "undecided": 1, "rejected": 2}
    found.sort(key=lambda f: (order[str(f.verdict.status)] if f.verdict else 1, -f.claim.log_e, f.claim.cluster_id))
    return _numbered(results, found)


def _numbered(results: Results, found: Sequence[Finding]) -> list[Finding]:
    """The findings with their groups, which are numbered in the order of their first."""
    pairs = _discordant_pairs(results, [finding.claim for finding in found])
    group: dict[int, tuple[str, int]] = {}
    for arm in results.arms:
        mine = [i for i, finding in enumerate(found) if finding.claim.arm == arm]
        together = group_claims([pairs[i] for i in mine])
        group |= {i: (arm, there) for i, there in zip(mine, together, strict=True)}
    number = {key: i for i, key in enumerate(dict.fromkeys(group[i] for i in range(len(found))), start=1)}
    return [msgspec.structs.replace(finding, group=number[group[i]]) for i, finding in enumerate(found)]


def _discordant_pairs(results: Results, claims: Sequence[Claim]) -> list[set[int]]:
    """By claim, the ``seq`` of its cluster's discordant pairs in the claimed direction, also of those after the claim."""
    pairs: dict[tuple[int, str, int], set[int]] = {(c.cluster_id, c.arm, c.direction): set() for c in claims}
    for assignment in results.assignments:
        if assignment.failed or assignment.origin is Origin.PROBE:
            continue
        base = assignment.arms[results.reference].cluster_id
        for arm, place in assignment.arms.items():
            if place.cluster_id != base:
                for key in ((place.cluster_id, arm, 1), (base, arm, -1)):
                    if key in pairs:
                        pairs[key].add(assignment.seq)
    return list(pairs.values())


def _side_by_side(results: Results, claim: Claim, most: int = 12) -> tuple[SideBySide, ...]:
    """Discordant pairs of the claim's cluster and arm, in the order asked, the claim's direction first."""
    leading = claim.arm if claim.direction > 0 else results.reference
    found = []
    for assignment in results.assignments:
        inside = tuple(arm for arm, place in assignment.arms.items() if place.cluster_id == claim.cluster_id)
        if assignment.failed or (claim.arm in inside) == (results.reference in inside):
            continue
        answers = results.texts.get(assignment.request_id, {})
        texts = {arm: answers[arm].text for arm in results.arms if arm in answers}
        prompt = next(iter(answers.values())).prompt if answers else ""
        found.append(SideBySide(assignment.seq, assignment.request_id, prompt, texts, inside))
    found.sort(key=lambda pair: (leading not in pair.arm_in, pair.seq))
    return tuple(found[:most])


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
