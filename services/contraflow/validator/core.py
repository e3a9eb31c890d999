"""Statements for claimed clusters, judged one fresh pair at a time until they are accepted, rejected or out of pairs.

Everything follows from the order of ``seq``: pairs up to a claim are the author's, later ones the judges'. How the
stream is cut into calls changes nothing, nor in which order judges answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np

from contraflow.errors import FormatTooNew
from contraflow.events import Claim, Hypothesis, Origin, Regions, VerdictStatus, hypothesis_id
from contraflow.validator import author
from contraflow.validator.bagofwords import words_alone
from contraflow.validator.case import Case, Tally
from contraflow.validator.docket import Docket
from contraflow.validator.drafts import Writing
from contraflow.validator.judging import Judging
from contraflow.validator.store import PairStore
from contraflow.validator.types import Author, Judge, Material, Statement, Step, TextPair, ValidatorConfig
from contraflow.words import content_words

__all__ = ["Author", "Judge", "Step", "TextPair", "Validator", "ValidatorConfig"]

_FORMAT = 1
KEPT = 64
"""Discordant pairs kept for each cluster and arm, for the author."""
CLUSTERS = 1000
"""Clusters and arms of which pairs are kept: those touched last. What is about to be claimed was touched just now."""
ELSEWHERE = 20
"""Pairs of other clusters on which an accepted statement is judged."""
PLACEBOS = 6
"""Clusters that are looked at for a placebo."""


class Validator:
    """``processed`` is the last ``seq`` taken in."""

    docket: type[Docket] = Docket

    def __init__(self, config: ValidatorConfig, judges: Sequence[Judge], author: Author | None = None) -> None:
        self.config = config
        self.processed = 0
        self._tiers = [judge.name for judge in judges]
        self._store = PairStore()
        self._recent: dict[tuple[int, str], deque[int]] = {}
        self._docket = self.docket(config, self._tiers)
        writing = Writing(author, self._material, config.reference) if author else None
        self._judging = Judging(config, judges, self._docket, self._store, writing)
        self._drafts = author is not None

    async def advance(self, pairs: Sequence[TextPair], regions: Regions) -> Step:
        """Take in every pair that did not fail with ``seq`` up to ``regions.after_seq``, in the order of ``seq``.

        What a judge cannot answer now stays, and is asked again with the next call.
        """
        step = Step([], [], [])
        new = [claim for claim in regions.claims if (claim.cluster_id, claim.arm) not in self._docket]
        waiting = deque(sorted(new, key=lambda claim: (claim.claimed_at, claim.cluster_id, claim.arm)))
        for pair in pairs:
            while waiting and waiting[0].claimed_at < pair.seq:
                self._open(waiting.popleft(), step)
            self._take(pair)
        while waiting:
            self._open(waiting.popleft(), step)
        self.processed = regions.after_seq
        return await self._judge(step)

    async def finish(self) -> Step:
        """The last verdict of every statement; what is still open is undecided, and says why.

        Statements whose judge may answer later stay open: ``waits`` then says so, and ``finish`` may be called again.
        """
        step = await self._judge(Step([], [], []))
        for case in self._docket:
            unable = self._judging.unable.get(case.key)
            if case.status is VerdictStatus.OPEN and not (unable and unable.again):
                self._docket.settle(case, VerdictStatus.UNDECIDED, str(unable) if unable else _ran_out(case))
                self._close(case, step)
        return step

    async def _judge(self, step: Step) -> Step:
        for case in await self._judging.run(step):
            self._close(case, step)
        return step._replace(waits=self._judging.waits)

    def _close(self, case: Case, step: Step) -> None:
        case.words_alone = self._words_alone(case)
        for seq in case.held:
            self._store.release(seq)
        case.pending.clear()
        self._docket.touch(case)
        step.verdicts.append(self._docket.verdict(case))

    # a claim becomes a case

    def _open(self, claim: Claim, step: Step) -> None:
        key = claim.cluster_id, claim.arm
        seqs = list(self._recent.get(key, ()))
        statement = author.write(*self._sides(key, seqs))
        shows = claim.arm if claim.direction > 0 else self.config.reference
        other = self.config.reference if claim.direction > 0 else claim.arm
        hypothesis = Hypothesis(
            hypothesis_id=hypothesis_id(claim.cluster_id, claim.arm, 0),
            cluster_id=claim.cluster_id,
            arm=claim.arm,
            shows=shows,
            statement=author.sentence(statement, shows, other),
            author="keywords and exemplars",
            order=len(self._docket),
            claimed_at=claim.claimed_at,
            written_from=tuple(self._store[seq].request_id for seq in seqs),
            keywords=tuple(statement.terms),
        )
        for seq in seqs:
            self._store.rehold(seq)
        tallies = [Tally(self._tiers[0])] if self._tiers else []
        case = Case(hypothesis, statement, self._placebo(key, statement), seqs, [], tallies, len(self._docket))
        case.draft = self._drafts
        case.elsewhere = self._elsewhere(key)
        self._docket.add(case)
        if case.draft:
            return
        step.hypotheses.append(hypothesis)
        step.verdicts.append(self._docket.verdict(case))

    def _sides(self, key: tuple[int, str], seqs: Iterable[int]) -> tuple[list[str], list[str]]:
        """Texts inside a cluster, and their partners outside of it."""
        cluster, arm = key
        inside, outside = [], []
        for seq in seqs:
            pair = self._store[seq]
            mine, theirs = pair.texts[arm], pair.texts[self.config.reference]
            arm_inside = pair.clusters[arm] == cluster
            inside.append(mine if arm_inside else theirs)
            outside.append(theirs if arm_inside else mine)
        return inside, outside

    def _elsewhere(self, key: tuple[int, str]) -> list[int]:
        """The newest pairs of the same arm of which no text is in the cluster, held for the case."""
        cluster, arm = key
        every = sorted({seq for (_, other), seqs in self._recent.items() if other == arm for seq in seqs}, reverse=True)
        outside = (pair for pair in map(self._store.__getitem__, every) if cluster not in pair.clusters.values())
        return [self._store.hold(pair) for pair in islice(outside, ELSEWHERE)]

    def _material(self, case: Case) -> Material:
        """What an author writes from: pairs up to the claim, and texts of other clusters that share most of their words."""
        terms = case.statement.terms.keys()
        texts = [text for key in self._recent if key != case.key for text in self._sides(key, self._recent[key])[0]]
        near = sorted(texts, key=lambda text: (-len(terms & content_words(text)), text))
        known = [other.statement.property for other in self._docket if other.order < case.order and not other.draft]
        return Material(*self._sides(case.key, case.author_pairs), near, known)

    def _placebo(self, key: tuple[int, str], statement: Statement) -> Statement | None:
        """The statement of another cluster, one that says something else, from the clusters with the most pairs."""
        others = [k for k in self._recent if k[0] != key[0] and k[1] == key[1] and len(self._recent[k]) > 1]
        others.sort(key=lambda k: (-len(self._recent[k]), k))
        written = [author.write(*self._sides(other, self._recent[other])) for other in others[:PLACEBOS]]
        shared = [len(statement.terms.keys() & other.terms.keys()) for other in written]
        return written[int(np.argmin(shared))] if written else None

    # a pair comes in

    def _take(self, pair: TextPair) -> None:
        """Keep a discordant pair: for the author before a claim, for the judges after it."""
        reference = self.config.reference
        for arm in self.config.arms:
            if arm == reference or pair.clusters[arm] == pair.clusters[reference]:
                continue
            for cluster in (pair.clusters[arm], pair.clusters[reference]):
                case = self._docket.get((cluster, arm))
                if case is None:
                    if self._for_authors(pair):
                        self._remember((cluster, arm), pair)
                elif case.status is VerdictStatus.OPEN and self._for_judges(pair):
                    self._put_before_judges(case, pair)

    def _for_authors(self, pair: TextPair) -> bool:
        return not self.config.held_out or pair.origin is not Origin.CONFIRM

    def _for_judges(self, pair: TextPair) -> bool:
        return not self.config.held_out or pair.origin is Origin.CONFIRM

    def _put_before_judges(self, case: Case, pair: TextPair) -> None:
        if len(case.pending) < self._docket.room(case):
            case.pending.append(self._store.hold(pair))
            self._docket.touch(case)

    def _remember(self, key: tuple[int, str], pair: TextPair) -> None:
        recent = self._recent[key] = self._recent.pop(key, deque())  # the last touched comes last
        recent.append(self._store.hold(pair))
        if len(recent) > KEPT:
            self._store.release(recent.popleft())
        if len(self._recent) > CLUSTERS:
            for seq in self._recent.pop(next(iter(self._recent))):
                self._store.release(seq)

    def _words_alone(self, case: Case) -> float | None:
        arm, reference = case.hypothesis.arm, self.config.reference

        def texts(seqs: Sequence[int]) -> list[tuple[str, str]]:
            return [(self._store[seq].texts[arm], self._store[seq].texts[reference]) for seq in seqs]

        return words_alone(texts(case.author_pairs), texts([seq for seq, _, _ in case.judged]))

    # the state

    def dump(self) -> dict[str, bytes]:
        """The whole state as named parts; those that did not change are the same bytes."""
        recent = [(cluster, arm, list(seqs)) for (cluster, arm), seqs in self._recent.items()]
        core = msgspec.msgpack.encode([_FORMAT, self.processed, recent])
        return {"core": core, **self._docket.dump(), **self._store.dump()}

    @classmethod
    def load(
        cls,
        config: ValidatorConfig,
        judges: Sequence[Judge],
        parts: Mapping[str, bytes],
        author: Author | None = None,
    ) -> Validator:
        """A validator that goes on exactly as the one that gave ``parts``.

        :raises FormatTooNew: if a newer version of contraflow wrote them.
        """
        validator = cls(config, judges, author)
        kept, validator.processed, recent = msgspec.msgpack.decode(parts["core"])
        if kept > _FORMAT:
            raise FormatTooNew("the validator's state was written by a newer contraflow; resume with that version")
        validator._store.load(parts)
        for cluster, arm, seqs in recent:
            validator._recent[cluster, arm] = deque(seqs)
            for seq in seqs:
                validator._store.rehold(seq)
        validator._docket.load(parts)
        for case in validator._docket:
            if case.status is VerdictStatus.OPEN:
                for seq in case.held:
                    validator._store.rehold(seq)
        return validator


def _ran_out(case: Case) -> str:
    judged = sum(tally.calls for tally in case.tallies)
    return f"the run ended after {judged} judged pairs, before the evidence settled it"
