"""Statements for claimed clusters, judged one fresh pair at a time until they are accepted, rejected or out of pairs.

Everything follows from the order of ``seq``: pairs up to a claim are the author's, later ones the judges'. How the
stream is cut into calls changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from contraflow.errors import FormatTooNew
from contraflow.events import Claim, Hypothesis, Judgment, Origin, Regions, Verdict, VerdictStatus, hypothesis_id
from contraflow.statistics.ebh import statement_weight, weighted_ebh
from contraflow.validator import author
from contraflow.validator.bagofwords import words_alone
from contraflow.validator.case import REJECT, Case, Tally
from contraflow.validator.store import PairStore
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["Judge", "Step", "TextPair", "Validator", "ValidatorConfig"]

_FORMAT = 1
KEPT = 64
"""Discordant pairs kept for each cluster and arm, for the author."""
CLUSTERS = 1000
"""Clusters and arms of which pairs are kept: those touched last. What is about to be claimed was touched just now."""
PLACEBOS = 6
"""Clusters that are looked at for a placebo."""


@dataclass(frozen=True, slots=True)
class ValidatorConfig:
    """``pairs`` is how many pairs a tier may judge for one statement; ``borderline`` scores go on to the next tier.

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
    """What an advance gives to publish."""

    hypotheses: list[Hypothesis]
    judgments: list[Judgment]
    verdicts: list[Verdict]


class Validator:
    """``processed`` is the last ``seq`` taken in."""

    def __init__(self, config: ValidatorConfig, judges: Sequence[Judge]) -> None:
        self.config = config
        self.processed = 0
        self._judges = judges
        self._store = PairStore()
        self._recent: dict[tuple[int, str], deque[int]] = {}
        self._cases: dict[tuple[int, str], Case] = {}
        self._case_parts: dict[tuple[int, str], bytes] = {}

    async def advance(self, pairs: Sequence[TextPair], regions: Regions) -> Step:
        """Take in every pair that did not fail with ``seq`` up to ``regions.after_seq``, in the order of ``seq``."""
        step = Step([], [], [])
        new = [claim for claim in regions.claims if (claim.cluster_id, claim.arm) not in self._cases]
        waiting = deque(sorted(new, key=lambda claim: (claim.claimed_at, claim.cluster_id, claim.arm)))
        for pair in pairs:
            while waiting and waiting[0].claimed_at < pair.seq:
                await self._open(waiting.popleft(), step)
            await self._take(pair, step)
        while waiting:
            await self._open(waiting.popleft(), step)
        self.processed = regions.after_seq
        return step

    async def finish(self) -> Step:
        """The last verdict of every statement; what is still open is undecided, and says why."""
        step = Step([], [], [])
        for case in self._cases.values():
            if case.status is VerdictStatus.OPEN:
                judged = sum(tally.calls for tally in case.tallies)
                self._settle(
                    case,
                    VerdictStatus.UNDECIDED,
                    f"the run ended after {judged} judged pairs, before the evidence settled it",
                    step,
                )
        return step

    # a claim becomes a case

    async def _open(self, claim: Claim, step: Step) -> None:
        key = claim.cluster_id, claim.arm
        seqs = list(self._recent.get(key, ()))
        statement = self._statement(key)
        shows = claim.arm if claim.direction > 0 else self.config.reference
        other = self.config.reference if claim.direction > 0 else claim.arm
        hypothesis = Hypothesis(
            hypothesis_id=hypothesis_id(claim.cluster_id, claim.arm, 0),
            cluster_id=claim.cluster_id,
            arm=claim.arm,
            shows=shows,
            statement=author.sentence(statement, shows, other),
            author="keywords and exemplars",
            order=len(self._cases),
            claimed_at=claim.claimed_at,
            written_from=tuple(self._store[seq].request_id for seq in seqs),
            keywords=tuple(statement.terms),
        )
        for seq in seqs:
            self._store.rehold(seq)
        tallies = [Tally(self._judges[0].name)] if self._judges else []
        case = Case(hypothesis, statement, self._placebo(key, statement), seqs, tallies, len(self._cases))
        self._cases[key] = case
        self._touch(case)
        step.hypotheses.append(hypothesis)
        step.verdicts.append(self._verdict(case))

    def _statement(self, key: tuple[int, str]) -> Statement:
        cluster, arm = key
        inside, outside = [], []
        for seq in self._recent.get(key, ()):
            pair = self._store[seq]
            mine, theirs = pair.texts[arm], pair.texts[self.config.reference]
            arm_inside = pair.clusters[arm] == cluster
            inside.append(mine if arm_inside else theirs)
            outside.append(theirs if arm_inside else mine)
        return author.write(inside, outside)

    def _placebo(self, key: tuple[int, str], statement: Statement) -> Statement | None:
        """The statement of another cluster, one that says something else, from the clusters with the most pairs."""
        others = [k for k in self._recent if k[0] != key[0] and k[1] == key[1] and len(self._recent[k]) > 1]
        others.sort(key=lambda k: (-len(self._recent[k]), k))
        written = [self._statement(other) for other in others[:PLACEBOS]]
        shared = [len(statement.terms.keys() & other.terms.keys()) for other in written]
        return written[int(np.argmin(shared))] if written else None

    # a pair comes in

    async def _take(self, pair: TextPair, step: Step) -> None:
        reference = self.config.reference
        for arm in self.config.arms:
            if arm == reference or pair.clusters[arm] == pair.clusters[reference]:
                continue
            for cluster in (pair.clusters[arm], pair.clusters[reference]):
                case = self._cases.get((cluster, arm))
                if case is None:
                    if self._for_authors(pair):
                        self._remember((cluster, arm), pair)
                elif case.status is VerdictStatus.OPEN and self._for_judges(pair):
                    await self._judge(case, pair, step)

    def _for_authors(self, pair: TextPair) -> bool:
        return not self.config.held_out or pair.origin is not Origin.CONFIRM

    def _for_judges(self, pair: TextPair) -> bool:
        return not self.config.held_out or pair.origin is Origin.CONFIRM

    def _remember(self, key: tuple[int, str], pair: TextPair) -> None:
        recent = self._recent[key] = self._recent.pop(key, deque())  # the last touched comes last
        recent.append(self._store.hold(pair))
        if len(recent) > KEPT:
            self._store.release(recent.popleft())
        if len(self._recent) > CLUSTERS:
            for seq in self._recent.pop(next(iter(self._recent))):
                self._store.release(seq)

    async def _judge(self, case: Case, pair: TextPair, step: Step) -> None:
        if not case.tallies:
            return
        self._touch(case)
        judge, tally = self._judges[case.tier], case.tallies[-1]
        x = await self._ask(judge, case, pair, case.statement, step, placebo=False)
        tally.count(x)
        case.judged.append((self._store.hold(pair), case.tier, x))
        own = self._passes(case, case.log_e)
        if own or case.placebo_due:
            case.placebo_due = True
            await self._judge_placebo(case, step)
        self._decide(case, step)

    async def _judge_placebo(self, case: Case, step: Step) -> None:
        """The placebo on every pair that the statement was judged on."""
        if case.placebo is None:
            return
        for seq, tier, _ in case.judged[len(case.placebo_x) :]:
            pair = self._store[seq]
            case.placebo_x.append(await self._ask(self._judges[tier], case, pair, case.placebo, step, placebo=True))

    async def _ask(
        self, judge: Judge, case: Case, pair: TextPair, statement: Statement, step: Step, *, placebo: bool
    ) -> int | None:
        """1 if the judge picked the arm that the statement names, 0 if the other, None for a tie."""
        other = self.config.reference if case.hypothesis.shows == case.hypothesis.arm else case.hypothesis.arm
        order = (case.hypothesis.shows, other)
        if self._coin(case, pair):
            order = order[::-1]
        answer = await judge.judge(statement, pair.texts[order[0]], pair.texts[order[1]])
        x = self._x(answer, order, case.hypothesis.shows)
        case.tallies[-1].unparsable += answer.choice == "unparsable"
        case.tallies[-1].cost += answer.price
        step.judgments.append(
            Judgment(
                hypothesis_id=case.hypothesis.hypothesis_id,
                tier=judge.name,
                request_id=pair.request_id,
                seq=pair.seq,
                order=order,
                answer=answer.choice,
                x=x,
                placebo=placebo,
                price=answer.price,
                latency=answer.latency,
                cached=answer.cached,
                prompt_version=judge.prompt_version,
            )
        )
        return x

    def _x(self, answer: Answer, order: tuple[str, str], shows: str) -> int | None:
        if answer.choice not in ("first", "second"):
            return None
        return int(order[answer.choice == "second"] == shows)

    def _coin(self, case: Case, pair: TextPair) -> bool:
        name = f"{self.config.seed}:{case.hypothesis.hypothesis_id}:{pair.request_id}"
        return bool(blake2b(name.encode(), digest_size=1).digest()[0] & 1)

    # what follows from the evidence

    def _passes(self, case: Case, log_e: float) -> bool:
        """Whether the case would be accepted with this evidence beside those that are.

        What is not accepted helps no other to be: the bound is on what is accepted, and no part of a larger set has it.
        """
        others = [
            other for other in self._cases.values() if other.status is VerdictStatus.ACCEPTED and other is not case
        ]
        strength = [log_e, *(self._effective(other) for other in others)]
        weights = [statement_weight(other.order) for other in (case, *others)]
        return bool(weighted_ebh(strength, weights, self.config.alpha)[0])

    def _effective(self, case: Case) -> float:
        """The smaller of both e-processes: under either null it is one. Frozen once a case is settled."""
        return min(case.log_e, case.placebo_log_e) if case.placebo_due else min(case.log_e, 0.0)

    def _decide(self, case: Case, step: Step) -> None:
        config, tally = self.config, case.tallies[-1]
        last = case.tier == len(self._judges) - 1
        low, high = config.borderline
        borderline = low <= case.score(config.min_accuracy) <= high and not last
        if self._passes(case, self._effective(case)):
            if not borderline:
                self._settle(case, VerdictStatus.ACCEPTED, "statement and placebo control passed", step)
                return
        elif case.log_e_reject(config.min_accuracy) >= REJECT:
            if not borderline:
                self._settle(case, VerdictStatus.REJECTED, f"judges agree less than {config.min_accuracy:.0%}", step)
                return
        elif tally.calls < config.pairs:
            return
        if not last:
            case.tallies.append(Tally(self._judges[case.tier + 1].name))
        elif tally.calls >= config.pairs:
            self._settle(case, VerdictStatus.UNDECIDED, self._why_undecided(case), step)

    def _why_undecided(self, case: Case) -> str:
        if case.placebo_due and case.placebo is not None:
            return "not specific: a statement about another cluster is preferred about as often"
        return f"every tier judged its {self.config.pairs} pairs, and the evidence settled nothing"

    def _settle(self, case: Case, status: VerdictStatus, reason: str, step: Step) -> None:
        case.status, case.reason = status, reason
        case.words_alone = self._words_alone(case)
        for seq in _held(case):
            self._store.release(seq)
        self._touch(case)
        step.verdicts.append(self._verdict(case))

    def _words_alone(self, case: Case) -> float | None:
        arm, reference = case.hypothesis.arm, self.config.reference

        def texts(seqs: Sequence[int]) -> list[tuple[str, str]]:
            return [(self._store[seq].texts[arm], self._store[seq].texts[reference]) for seq in seqs]

        return words_alone(texts(case.author_pairs), texts([seq for seq, _, _ in case.judged]))

    def _verdict(self, case: Case) -> Verdict:
        case.version += 1
        m = self.config.min_accuracy
        n, s = case.placebo_counts
        return Verdict(
            hypothesis_id=case.hypothesis.hypothesis_id,
            status=case.status,
            tiers=case.results(m),
            n=case.n,
            s=case.s,
            ties=sum(tally.ties for tally in case.tallies),
            log_e=case.log_e,
            log_e_reject=case.log_e_reject(m),
            score=case.score(m) if case.tallies else 0.5,
            version=case.version,
            cost=sum(tally.cost for tally in case.tallies),
            specific=self._passes(case, case.placebo_log_e) if case.placebo_due else None,
            placebo_statement=case.placebo.property if case.placebo else None,
            placebo_n=n,
            placebo_s=s,
            placebo_log_e=case.placebo_log_e,
            bag_of_words=case.words_alone,
            reason=case.reason,
        )

    # the state

    def _touch(self, case: Case) -> None:
        self._case_parts.pop((case.hypothesis.cluster_id, case.hypothesis.arm), None)

    def dump(self) -> dict[str, bytes]:
        """The whole state as named parts; those that did not change are the same bytes."""
        recent = [(cluster, arm, list(seqs)) for (cluster, arm), seqs in self._recent.items()]
        for key, case in self._cases.items():
            if key not in self._case_parts:
                self._case_parts[key] = msgspec.msgpack.encode(case)
        cases = {f"case:{case.order}": self._case_parts[key] for key, case in self._cases.items()}
        core = msgspec.msgpack.encode([_FORMAT, self.processed, recent])
        return {"core": core, **cases, **self._store.dump()}

    @classmethod
    def load(cls, config: ValidatorConfig, judges: Sequence[Judge], parts: Mapping[str, bytes]) -> Validator:
        """A validator that goes on exactly as the one that gave ``parts``.

        :raises FormatTooNew: if a newer version of contraflow wrote them.
        """
        validator = cls(config, judges)
        kept, validator.processed, recent = msgspec.msgpack.decode(parts["core"])
        if kept > _FORMAT:
            raise FormatTooNew("the validator's state was written by a newer contraflow; resume with that version")
        validator._store.load(parts)
        for cluster, arm, seqs in recent:
            validator._recent[cluster, arm] = deque(seqs)
            for seq in seqs:
                validator._store.rehold(seq)
        names = sorted((name for name in parts if name.startswith("case:")), key=lambda name: int(name[5:]))
        for name in names:
            validator._restore(msgspec.msgpack.decode(parts[name], type=Case), parts[name])
        return validator

    def _restore(self, case: Case, part: bytes) -> None:
        key = case.hypothesis.cluster_id, case.hypothesis.arm
        self._cases[key], self._case_parts[key] = case, part
        if case.status is VerdictStatus.OPEN:
            for seq in _held(case):
                self._store.rehold(seq)


def _held(case: Case) -> list[int]:
    """The pairs that an open case keeps, each as often as it holds it."""
    return [*case.author_pairs, *(seq for seq, _, _ in case.judged)]
