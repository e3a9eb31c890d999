"""Findings: the claims of a run with their statements, verdicts and pairs, and which of them are read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from contraflow.events import Claim, Cluster, Comparison, Hypothesis, Verdict
from contraflow.grouping import group_claims
from contraflow.places import Places

if TYPE_CHECKING:
    from contraflow.results import Results

__all__ = ["Finding", "SideBySide", "findings_of", "row_of", "shown_pairs"]

SHOWN = 12
"""Pairs that are shown of a claim, at most."""


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


def row_of(finding: Finding) -> dict[str, Any]:
    """A row of plain values: ``n``, ``s`` and ``log_e`` are of the claim, ``n_now`` and ``s_now`` of the newest pair."""
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


def findings_of(results: Results) -> list[Finding]:
    """The claims of a run, strongest verdict and evidence first."""
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
        pairs = tuple(_side_by_side(results, claim))
        found.append(Finding(claim, cluster, cluster.comparisons[claim.arm], hypothesis, verdict, pairs))
    order = {"accepted": 0, "open": 1, "undecided": 1, "rejected": 2}
    found.sort(key=lambda f: (order[str(f.verdict.status)] if f.verdict else 1, -f.claim.log_e, f.claim.cluster_id))
    return _numbered(results, found)


def _numbered(results: Results, found: Sequence[Finding]) -> list[Finding]:
    """The findings with their groups, which are numbered in the order of their first."""
    group: dict[int, tuple[str, int]] = {}
    for arm in results.arms:
        mine = [i for i, finding in enumerate(found) if finding.claim.arm == arm]
        pairs = [set(results.places.discordant(found[i].claim, results.reference)[0].tolist()) for i in mine]
        group |= {i: (arm, there) for i, there in zip(mine, group_claims(pairs), strict=True)}
    number = {key: i for i, key in enumerate(dict.fromkeys(group[i] for i in range(len(found))), start=1)}
    return [msgspec.structs.replace(finding, group=number[group[i]]) for i, finding in enumerate(found)]


def shown_pairs(places: Places, claim: Claim, reference: str) -> list[int]:
    """The rows of the discordant pairs that are shown of a claim: in the order asked, those in its direction first."""
    leading, others = places.discordant(claim, reference)
    return [*leading[:SHOWN].tolist(), *others[:SHOWN].tolist()][:SHOWN]


def _side_by_side(results: Results, claim: Claim) -> Iterator[SideBySide]:
    places = results.places
    for row in shown_pairs(places, claim, results.reference):
        request = places.request(row)
        answers = results.shown.get(request, {})
        texts = {arm: answers[arm].text for arm in results.arms if arm in answers}
        prompt = next(iter(answers.values())).prompt if answers else ""
        inside = tuple(arm for arm in results.arms if places.clusters[arm][row] == claim.cluster_id)
        yield SideBySide(int(places.seqs[row]), request, prompt, texts, inside)
