"""Judges what waits: many statements at once, each one pair at a time, counted in an order that no clock decides."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Iterable, Iterator, Sequence

import anyio

from contraflow.errors import JudgeAway
from contraflow.events import Judgment, VerdictStatus
from contraflow.validator.asking import Asked, ask
from contraflow.validator.case import Case
from contraflow.validator.docket import Docket, Key
from contraflow.validator.drafts import Writing
from contraflow.validator.store import PairStore
from contraflow.validator.types import Judge, Statement, Step, ValidatorConfig, Written

__all__ = ["Judging"]


Outcome = Asked | Written | None


class _Ahead:
    """An answer that was asked for and is not counted yet."""

    def __init__(self) -> None:
        self._came = anyio.Event()
        self._outcome: Outcome | JudgeAway = None

    async def ask(self, answer: Awaitable[Outcome]) -> None:
        try:
            self._outcome = await answer
        except JudgeAway as error:
            self._outcome = error
        self._came.set()

    async def get(self) -> Outcome:
        await self._came.wait()
        if isinstance(self._outcome, JudgeAway):
            raise self._outcome
        return self._outcome


class _Queue:
    """The cases that wait, by whose turn it is to be counted."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._heap: list[tuple[tuple[int, int], Case]] = []
        self._to_ask: list[Case] = []
        self._drafts: deque[Case] = deque()
        for case in sorted(cases, key=lambda waiting: waiting.turn):
            self.push(case)

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, case: Case) -> None:
        heapq.heappush(self._heap, (case.turn, case))
        if case.draft:
            self._drafts.append(case)
        elif not case.behind:
            self._to_ask.append(case)

    def pop(self) -> Case:
        return heapq.heappop(self._heap)[1]

    def to_ask(self) -> Iterator[Case]:
        """Those of which nothing was asked yet. Drafts one at a time: what is written later knows what was before."""
        asked, self._to_ask = self._to_ask, []
        yield from asked
        if self._drafts and self._drafts[0] is self._heap[0][1]:
            yield self._drafts.popleft()


class Judging:
    """Asks run ahead, one for each open statement; answers are counted by the pair's ``seq``, whenever they arrive.

    So a verdict depends on the answers and not on their order, and a slow judge of one statement does not keep the
    others from being asked.
    """

    def __init__(
        self,
        config: ValidatorConfig,
        judges: Sequence[Judge],
        docket: Docket,
        store: PairStore,
        writing: Writing | None = None,
    ) -> None:
        self._config = config
        self._judges = judges
        self._docket = docket
        self._store = store
        self._writing = writing
        self.unable: dict[Key, JudgeAway] = {}
        """The cases whose judge could not answer in the last call of ``run``."""

    @property
    def waits(self) -> str:
        """What open statements wait for, where a judge may answer later; else nothing."""
        later = [error for error in self.unable.values() if error.again]
        return f"{len(later)} statements wait for a judge: {later[0]}" if later else ""

    async def run(self, step: Step) -> list[Case]:
        """Judge until nothing waits that a judge can answer, into ``step``; returns the settled cases, in order."""
        self.unable = {}
        settled: list[Case] = []
        async with anyio.create_task_group() as tasks:
            queue = _Queue(case for case in self._docket if case.waits)
            ahead: dict[Key, _Ahead] = {}
            while queue:
                for case in queue.to_ask():
                    ahead[case.key] = _Ahead()
                    tasks.start_soon(ahead[case.key].ask, self._next(case))
                case = queue.pop()
                self._docket.touch(case)
                try:
                    await self._count(case, ahead, step)
                except JudgeAway as error:
                    self.unable[case.key] = error
                    continue
                if case.status is VerdictStatus.ACCEPTED:
                    await self._count_elsewhere(case, step.judgments)
                if case.status is not VerdictStatus.OPEN:
                    settled.append(case)
                elif case.waits:
                    queue.push(case)
        return settled

    def _next(self, case: Case) -> Awaitable[Outcome]:
        if case.draft:
            assert self._writing is not None, "only an author's statements are drafts"
            return self._writing.write(case)
        return self._ask(case, case.statement, case.pending[0], case.tier)

    async def _ask(
        self, case: Case, statement: Statement, seq: int, tier: int, *, placebo: bool = False, elsewhere: bool = False
    ) -> Asked:
        config = self._config
        return await ask(
            self._judges[tier],
            case,
            statement,
            self._store[seq],
            reference=config.reference,
            seed=config.seed,
            placebo=placebo,
            elsewhere=elsewhere,
        )

    async def _count(self, case: Case, ahead: dict[Key, _Ahead], step: Step) -> None:
        if case.draft:
            return await self._count_written(case, ahead.pop(case.key), step)
        judgments = step.judgments
        if not case.behind:
            asked = await ahead.pop(case.key).get()
            assert isinstance(asked, Asked)
            case.judged.append((case.pending.pop(0), case.tier, asked.x))
            case.tallies[-1].count(asked.x)
            self._note(case, case.tier, asked, judgments)
            case.placebo_due = case.placebo_due or self._docket.passes(case, case.log_e)
        if case.behind:
            await self._count_placebo(case, judgments)
        self._docket.decide(case)
        return None

    async def _count_written(self, case: Case, ahead: _Ahead, step: Step) -> None:
        """The statement as it was written; that of its keywords, where the author could not be read or has no budget."""
        assert self._writing is not None
        try:
            written = await ahead.get()
        except JudgeAway as error:
            if error.again:
                raise
            written = None
        assert written is None or isinstance(written, Written)
        self._writing.take(case, written)
        step.hypotheses.append(case.hypothesis)
        step.verdicts.append(self._docket.verdict(case))

    async def _count_placebo(self, case: Case, judgments: list[Judgment]) -> None:
        """The placebo on every pair that the statement was judged on; what is answered before a failure counts."""
        placebo = case.placebo
        assert placebo is not None
        due = case.judged[len(case.placebo_x) :]
        asks = [self._ask(case, placebo, seq, tier, placebo=True) for seq, tier, _ in due]
        for (_, tier, _), asked in zip(due, await _all(asks), strict=False):
            case.placebo_x.append(asked.x)
            self._note(case, tier, asked, judgments)

    async def _count_elsewhere(self, case: Case, judgments: list[Judgment]) -> None:
        """The accepted statement on pairs of other clusters, by the tier that judged most; nothing where that is away."""
        tier = case.main_tier
        asks = [self._ask(case, case.statement, seq, tier, elsewhere=True) for seq in case.elsewhere]
        with contextlib.suppress(JudgeAway):
            for asked in await _all(asks):
                case.elsewhere_x.append(asked.x)
                self._note(case, tier, asked, judgments)

    def _note(self, case: Case, tier: int, asked: Asked, judgments: list[Judgment]) -> None:
        case.tallies[tier].unparsable += asked.unparsable
        case.tallies[tier].cost += sum(judgment.price for judgment in asked.judgments)
        judgments.extend(asked.judgments)


async def _all(asks: Sequence[Awaitable[Asked]]) -> list[Asked]:
    """All answers at once, in the order of the asks, up to the first that a judge could not give.

    :raises JudgeAway: if that is the very first.
    """
    answers: list[Asked | JudgeAway | None] = [None] * len(asks)

    async def one(i: int, ask: Awaitable[Asked]) -> None:
        try:
            answers[i] = await ask
        except JudgeAway as error:
            answers[i] = error

    async with anyio.create_task_group() as tasks:
        for i, ask in enumerate(asks):
            tasks.start_soon(one, i, ask)
    if answers and isinstance(answers[0], JudgeAway):
        raise answers[0]
    return list(itertools.takewhile(lambda answer: isinstance(answer, Asked), answers))  # type: ignore[arg-type]  # mypy does not see what takewhile leaves
