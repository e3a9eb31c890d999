"""Two runs side by side: what differs in what was asked for, in what was found, and in what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import log
from typing import NamedTuple

from contraflow.comparing.ground import common_ground
from contraflow.comparing.matching import THRESHOLD, Match, Profile, alike, match
from contraflow.comparing.profiles import Common, Look, Vectors, common_to, look_at
from contraflow.comparing.records import Absent, Cost, Found, Nearest, RunComparison, Setting, Stable
from contraflow.configuration import changes
from contraflow.events import Comparison
from contraflow.results import Finding, Results

__all__ = ["compare_results"]


def compare_results(first: Results, vectors: Vectors, second: Results, others: Vectors) -> RunComparison:
    """Compare two runs, with their vectors as ``results.read_vectors`` gives them. Either may be unfinished.

    :raises NotComparable: if they measure against different models, or have no arm or no prompt in common.
    """
    ground = common_ground(first, second)
    common = common_to(first, vectors, second, others)
    one = _Side(look_at(first), {arm: arm for arm in ground.arms}, common)
    other = _Side(look_at(second), {theirs: mine for mine, theirs in ground.arms.items()}, common)
    matches = match(one.profiles, other.profiles)
    gone = _absent(one, other, {m.first for m in matches})
    new = _absent(other, one, {m.second for m in matches})
    return RunComparison(
        first=_cost(first),
        second=_cost(second),
        settings=[Setting(*change) for change in changes(first.resolved, second.resolved)],
        arms=ground.arms,
        common_prompts=ground.prompts,
        encoder=common.encoder,
        stable=[_stable(one, other, m) for m in matches],
        gone=[absent for absent in gone if not _elsewhere(absent)],
        new=[absent for absent in new if not _elsewhere(absent)],
        parts=[absent for absent in (*gone, *new) if _elsewhere(absent)],
    )


class _Candidate(NamedTuple):
    """A cluster of the other run and an arm of it; ``direction`` is of its claim, 0 without one."""

    cluster_id: int
    arm: str
    comparison: Comparison
    direction: int
    profile: Profile


class _Side:
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


def _absent(side: _Side, other: _Side, matched: set[int]) -> list[Absent]:
    """The findings of one side that are matched to none of the other, with what is nearest there."""
    absent = []
    for i, finding in enumerate(side.findings):
        if i not in matched:
            prompts = side.look.prompts(finding.claim.cluster_id, finding.claim.arm)
            asked = sum(other.look.asked[prompt] for prompt in prompts)
            nearest = _nearest(side, finding, side.profiles[i], other)
            absent.append(Absent(side.run, _found(side, finding), nearest, asked))
    return absent


def _nearest(side: _Side, finding: Finding, profile: Profile, other: _Side) -> Nearest | None:
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


def _as_nearest(candidate: _Candidate, score: float, direction: int, other: _Side) -> Nearest:
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


def _elsewhere(absent: Absent) -> bool:
    return absent.nearest is not None and absent.nearest.claim == "same"


def _stable(first: _Side, second: _Side, matched: Match) -> Stable:
    one, other = first.findings[matched.first], second.findings[matched.second]
    prompts = first.look.prompts(one.claim.cluster_id, one.claim.arm)
    mine, theirs = _found(first, one), _found(second, other)
    return Stable(
        score=matched.score,
        prompts=len(prompts & second.look.prompts(other.claim.cluster_id, other.claim.arm)),
        verdict_changed=mine.verdict != theirs.verdict,
        first=mine,
        second=theirs,
    )


def _found(side: _Side, finding: Finding) -> Found:
    claim = finding.claim
    more = claim.direction > 0
    return Found(
        cluster_id=claim.cluster_id,
        arm=claim.arm,
        shows=claim.arm if more else side.look.results.reference,
        statement=finding.statement,
        s=claim.s if more else claim.n - claim.s,
        n=claim.n,
        log_e=claim.log_e,
        claimed_at=claim.claimed_at,
        generalises=claim.generalises,
        verdict=str(finding.verdict.status) if finding.verdict else "open",
        effect=finding.comparison.effect,
    )


def _cost(results: Results) -> Cost:
    claims = results.regions.claims if results.regions else ()
    seconds, whole = results.folder.seconds()
    return Cost(
        run=results.folder.run,
        why=results.why if results.folder.done else "",
        texts=sum(len(answers) for answers in results.texts.values()),
        pairs=results.regions.pairs if results.regions else 0,
        seconds=seconds,
        seconds_whole=whole,
        dollars=sum(verdict.cost for verdict in results.verdicts),
        claims=len(claims),
        first_claim=min((claim.claimed_at for claim in claims), default=None),
        failing={arm: total.failures for arm, total in results.failing.items()},
    )
