"""Findings: the claims of a run with their statements, verdicts and pairs, and which of them are read together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from contraflow.events import Assignment, Claim, Cluster, Comparison, Hypothesis, Origin, Verdict
from contraflow.grouping import group_claims

if TYPE_CHECKING:
    from contraflow.results import Results

__all__ = ["Finding", "SideBySide", "findings_of", "row_of"]


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
    discordant = _discordant(results, results.regions.claims)
    found = []
    for claim in results.regions.claims:
        cluster = clusters[claim.cluster_id]
        hypothesis = hypotheses.get((claim.cluster_id, claim.arm))
        verdict = verdicts.get(hypothesis.hypothesis_id) if hypothesis else None
        pairs = _side_by_side(results, claim, discordant[claim.cluster_id, claim.arm])
        found.append(Finding(claim, cluster, cluster.comparisons[claim.arm], hypothesis, verdict, pairs))
    order = {"accepted": 0, "open": 1, "undecided": 1, "rejected": 2}
    found.sort(key=lambda f: (order[str(f.verdict.status)] if f.verdict else 1, -f.claim.log_e, f.claim.cluster_id))
    return _numbered(results, found, discordant)


_ByClaim = dict[tuple[int, str], list[Assignment]]


def _discordant(results: Results, claims: Sequence[Claim]) -> _ByClaim:
    """The discordant pairs of each claim's cluster and arm, by ``seq``, also those after the claim."""
    pairs: _ByClaim = {(claim.cluster_id, claim.arm): [] for claim in claims}
    for assignment in results.assignments:
        if assignment.failed or assignment.origin is Origin.PROBE:
            continue
        base = assignment.arms[results.reference].cluster_id
        for arm, place in assignment.arms.items():
            if place.cluster_id != base:
                for key in ((place.cluster_id, arm), (base, arm)):
                    if key in pairs:
                        pairs[key].append(assignment)
    return pairs


def _leading(results: Results, claim: Claim, assignment: Assignment) -> bool:
    """Whether a discordant pair goes in the claimed direction."""
    arm = claim.arm if claim.direction > 0 else results.reference
    return assignment.arms[arm].cluster_id == claim.cluster_id


def _numbered(results: Results, found: Sequence[Finding], discordant: _ByClaim) -> list[Finding]:
    """The findings with their groups, which are numbered in the order of their first."""
    group: dict[int, tuple[str, int]] = {}
    for arm in results.arms:
        mine = [i for i, finding in enumerate(found) if finding.claim.arm == arm]
        claims = [found[i].claim for i in mine]
        pairs = [{a.seq for a in discordant[c.cluster_id, arm] if _leading(results, c, a)} for c in claims]
        group |= {i: (arm, there) for i, there in zip(mine, group_claims(pairs), strict=True)}
    number = {key: i for i, key in enumerate(dict.fromkeys(group[i] for i in range(len(found))), start=1)}
    return [msgspec.structs.replace(finding, group=number[group[i]]) for i, finding in enumerate(found)]


def _side_by_side(
    results: Results, claim: Claim, discordant: Sequence[Assignment], most: int = 12
) -> tuple[SideBySide, ...]:
    """Some of a claim's discordant pairs in the order asked, those in the claimed direction first."""
    found = []
    for assignment in sorted(discordant, key=lambda a: not _leading(results, claim, a))[:most]:
        inside = tuple(arm for arm, place in assignment.arms.items() if place.cluster_id == claim.cluster_id)
        answers = results.texts.get(assignment.request_id, {})
        texts = {arm: answers[arm].text for arm in results.arms if arm in answers}
        prompt = next(iter(answers.values())).prompt if answers else ""
        found.append(SideBySide(assignment.seq, assignment.request_id, prompt, texts, inside))
    return tuple(found)
