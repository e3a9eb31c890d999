"""Two runs side by side: what differs in what was asked for, in what was found, and in what it cost."""

from __future__ import annotations

from contraflow.comparing.ground import common_ground
from contraflow.comparing.matching import Match, match
from contraflow.comparing.profiles import Vectors, common_to, look_at
from contraflow.comparing.records import Absent, Cost, RunComparison, Setting, Stable
from contraflow.comparing.sides import Side, absent
from contraflow.configuration import changes
from contraflow.decoder.openai.charges import Charge, Charges
from contraflow.results import Results

__all__ = ["compare_results"]


def compare_results(first: Results, vectors: Vectors, second: Results, others: Vectors) -> RunComparison:
    """Compare two runs, with their vectors as ``results.read_vectors`` gives them. Either may be unfinished.

    :raises NotComparable: if they measure against different models, or have no arm or no prompt in common.
    """
    ground = common_ground(first, second)
    common = common_to(first, vectors, second, others)
    one = Side(look_at(first), {arm: arm for arm in ground.arms}, common)
    other = Side(look_at(second), {theirs: mine for mine, theirs in ground.arms.items()}, common)
    matches = match(one.profiles, other.profiles)
    gone = absent(one, other, {m.first for m in matches})
    new = absent(other, one, {m.second for m in matches})
    return RunComparison(
        first=_cost(first),
        second=_cost(second),
        settings=_settings(first, second),
        arms=ground.arms,
        common_prompts=ground.prompts,
        encoder=common.encoder,
        stable=[_stable(one, other, m) for m in matches],
        gone=[left for left in gone if not _elsewhere(left)],
        new=[left for left in new if not _elsewhere(left)],
        parts=[left for left in (*gone, *new) if _elsewhere(left)],
    )


def _elsewhere(left: Absent) -> bool:
    return left.nearest is not None and left.nearest.claim == "same"


def _stable(first: Side, second: Side, matched: Match) -> Stable:
    one, other = first.findings[matched.first], second.findings[matched.second]
    mine, theirs = first.found(one), second.found(other)
    return Stable(
        score=matched.score,
        prompts=len(first.prompts(one) & second.prompts(other)),
        verdict_changed=mine.verdict != theirs.verdict,
        first=mine,
        second=theirs,
    )


def _settings(first: Results, second: Results) -> list[Setting]:
    """Another version of a library can explain a difference as well as another value can."""
    asked = [Setting(*change) for change in changes(first.resolved, second.resolved)]
    before, after = first.folder.versions, second.folder.versions
    ran = [
        Setting(f"version of {name}", before[name] or "(none)", after[name] or "(none)")
        for name in before
        if name in after and before[name] != after[name]
    ]
    return asked + ran


def _cost(results: Results) -> Cost:
    claims = results.regions.claims if results.regions else ()
    seconds, whole = results.folder.seconds()
    charged = _charged(results)
    return Cost(
        run=results.folder.run,
        arms=[arm for arm in results.arms if arm != results.reference],
        why=results.why if results.folder.done else "",
        texts=sum(len(answers) for answers in results.texts.values()),
        pairs=results.regions.pairs if results.regions else 0,
        seconds=seconds,
        seconds_whole=whole,
        dollars=sum(verdict.cost for verdict in results.verdicts),
        answers=sum(charge.dollars or 0.0 for charge in charged) if charged else None,
        answers_whole=not any(charge.dollars is None or charge.untold for charge in charged),
        claims=len(claims),
        first_claim=min((claim.claimed_at for claim in claims), default=None),
        failing={arm: total.failures for arm, total in results.failing.items()},
    )


def _charged(results: Results) -> list[Charge]:
    charges = Charges(results.resolved["experiment"])
    for answers in results.texts.values():
        for text in answers.values():
            charges.add(text)
    return list(charges.by_arm().values())
