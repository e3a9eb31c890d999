"""One run ready to be compared with another: its findings, and the clusters where the other's might be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import log
from typing import NamedTuple

from contraflow.comparing.matching import THRESHOLD, Profile, alike
from contraflow.comparing.profiles import Common, Look
from contraflow.comparing.records import Absent, Found, Nearest
from contraflow.events import Comparison
from contraflow.results import Finding

__all__ = ["Side", "absent"]


class _Candidate(NamedTuple):
    """A cluster of the other run and an arm of it; ``direction`` is of its claim, 0 without one."""

    cluster_id: int
    arm: str
    comparison: Comparison
    direction: int
    profile: Profile


class Side:
    """One of the runs, ready to be matched. ``names`` are its arms, as the first run calls them; others are left out."""

    def __init__(self, look: Look, names: Mapping[str, str], common: Common) -> None:
        self.look = look
        self.run = look.results.folder.run
        self.findings = [f for f in look.results.findings if f.claim.arm in names]
        self._names = names
        self._common = common
        self.profiles = [self._profile(finding) for finding in self.findings]

    def name(self, arm: str) -> str:
        """What the first run calls an arm."""
        return self._names[arm]

    def found(self, finding: Finding) -> Found:
        """A finding with the figures of its claim."""
        claim = finding.claim
        more = claim.direction > 0
        return Found(
            cluster_id=claim.cluster_id,
            arm=claim.arm,
            shows=claim.arm if more else self.look.results.reference,
            statement=finding.statement,
            s=claim.s if more else claim.n - claim.s,
            n=claim.n,
            log_e=claim.log_e,
            claimed_at=claim.claimed_at,
            generalises=claim.generalises,
            verdict=str(finding.verdict.status) if finding.verdict else "open",
            effect=finding.comparison.effect,
        )

    def prompts(self, finding: Finding) -> set[str]:
        """The prompts of a finding's discordant pairs."""
        return self.look.prompts(finding.claim.cluster_id, finding.claim.arm)

    def _profile(self, finding: Finding) -> Profile:
        claim = finding.claim
        kind = self._names[claim.arm], claim.direction
        return self._common.profile(self.look, kind, claim.cluster_id, claim.arm, self.look.showing(claim))

    @cached_property
    def candidates(self) -> list[_Candidate]:
        """Every cluster that holds texts, claimed or not, with each arm."""
        claimed = {(f.claim.cluster_id, f.claim.arm): i for i, f in enumerate(self.findings)}
        found = []
        for cluster in self.look.results.clusters:
            for arm, comparison in cluster.comparisons.items():
                if arm not in self._names or not self.look.texts.get(cluster.cluster_id):
                    continue
                i = claimed.get((cluster.cluster_id, arm))
                direction = self.findings[i].claim.direction if i is not None else 0
                profile = self.profiles[i] if i is not None else self._of_cluster(cluster.cluster_id, arm)
                found.append(_Candidate(cluster.cluster_id, arm, comparison, direction, profile))
        return found

    def _of_cluster(self, cluster: int, arm: str) -> Profile:
        return self._common.profile(self.look, None, cluster, arm, self.look.texts[cluster])

    @property
    def needed(self) -> float:
        """What log E one more claim takes, for a hypothesis of weight 1 (weighted e-BH)."""
        regions = self.look.results.regions
        alpha = self.look.results.resolved["experiment"]["alpha"]
        return -log(alpha * ((len(regions.claims) if regions else 0) + 1))


def absent(side: Side, other: Side, matched: set[int]) -> list[Absent]:
    """The findings of one side that are matched to none of the other, with what is nearest there."""
    left = []
    for i, finding in enumerate(side.findings):
        if i not in matched:
            asked = sum(other.look.asked[prompt] for prompt in side.prompts(finding))
            nearest = _nearest(side, finding, side.profiles[i], other)
            left.append(Absent(side.run, side.found(finding), nearest, asked))
    return left


def _nearest(side: Side, finding: Finding, profile: Profile, other: Side) -> Nearest | None:
    """Claimed before not claimed, the same direction before the other, and then by evidence."""
    direction = finding.claim.direction
    best: tuple[tuple[bool, bool, float], _Candidate, float] | None = None
    for candidate in other.candidates:
        if other.name(candidate.arm) != side.name(finding.claim.arm):
            continue
        score = alike(profile, candidate.profile)
        leans = _leans(candidate) * direction > 0
        order = candidate.direction != 0, leans, candidate.comparison.log_e
        if score > THRESHOLD and (best is None or order > best[0]):
            best = order, candidate, score
    return None if best is None else _as_nearest(best[1], best[2], direction, other)


def _leans(candidate: _Candidate) -> int:
    return candidate.direction or 2 * candidate.comparison.s - candidate.comparison.n


def _as_nearest(candidate: _Candidate, score: float, direction: int, other: Side) -> Nearest:
    seen = candidate.comparison
    n, s = (seen.claimed_n, seen.claimed_s) if candidate.direction else (seen.n, seen.s)
    n, s = n or 0, s or 0
    return Nearest(
        cluster_id=candidate.cluster_id,
        claim="none" if not candidate.direction else "same" if candidate.direction == direction else "reversed",
        score=score,
        s=s if direction > 0 else n - s,
        n=n,
        log_e=seen.log_e,
        needed=other.needed - log(seen.weight),
    )
