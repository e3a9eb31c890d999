"""Judges that answer late, out of order, or not at all: verdicts depend on what they answer and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest

from claimed import ARMS, pairs, regions
from contraflow.errors import JudgeAway
from contraflow.events import Verdict, VerdictStatus
from contraflow.validator.core import Step, Validator, ValidatorConfig
from contraflow.validator.judges import KeywordJudge
from contraflow.validator.types import Answer, Statement
from worlds.statements import Statements, StubJudge, judged

Answers = Callable[[], Awaitable[None]]


class Slow:
    """The keyword judge behind something that takes its time, or fails."""

    name, price, prompt_version, may_mind_the_order = "slow", 0.0, "1", False

    def __init__(self, before: Answers) -> None:
        self._before = before
        self._judge = KeywordJudge()
        self.most = self._now = 0

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self._before()
        finally:
            self._now -= 1
        return await self._judge.judge(statement, first, second)


async def at_once() -> None:
    return None


def randomly(seed: int) -> Answers:
    rng = random.Random(seed)
    return lambda: anyio.sleep(rng.random() * 0.002)


def validator(judge: Slow) -> Validator:
    return Validator(ValidatorConfig(ARMS, "base"), [judge])


async def verdicts(of: Validator) -> tuple[list[Step], Step]:
    made = pairs()
    return [await of.advance(made[:100], regions(100)), await of.advance(made[100:], regions(300))], await of.finish()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_in_whatever_order_answers_arrive_the_verdicts_are_the_same(seed: int) -> None:
    late = Slow(randomly(seed))
    assert await verdicts(validator(late)) == await verdicts(validator(Slow(at_once)))
    assert late.most >= 3, "three statements are judged at once"


class SlowCoin:
    """A judge of known accuracy that takes its time, for some statements much longer than for others."""

    may_mind_the_order = False

    def __init__(self, judge: StubJudge, seed: int | None) -> None:
        self.name, self.price, self.prompt_version = judge.name, judge.price, judge.prompt_version
        self._judge, self._seed = judge, seed

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        if self._seed is not None:
            await anyio.sleep(random.Random(f"{self._seed} {statement.property}").choice([0, 0.001, 0.004]))
        return await self._judge.judge(statement, first, second)


@pytest.mark.parametrize("seed", [1, 2])
async def test_verdicts_that_lower_the_threshold_of_others_are_the_same_in_whatever_order_answers_arrive(
    seed: int,
) -> None:
    async def settled(slow: int | None) -> dict[str, Verdict]:
        of = Statements(24, 0.25, seed)
        judges = [SlowCoin(of.judge("cheap", 1, 0.8), slow), SlowCoin(of.judge("dear", 16, 0.9), slow)]
        step = await judged(of, judges, ValidatorConfig(ARMS, "base", pairs=90, seed=seed))
        return {verdict.hypothesis_id: verdict for verdict in step.verdicts}

    prompt = await settled(None)
    assert {len(verdict.tiers) for verdict in prompt.values()} == {1, 2}
    assert VerdictStatus.ACCEPTED in {verdict.status for verdict in prompt.values()}
    assert await settled(seed) == prompt


def failing(times: int, *, again: bool = True) -> Answers:
    left = times

    async def fail() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            error = JudgeAway("the judge is out for lunch")
            error.again = again
            raise error

    return fail


async def test_what_a_judge_could_not_answer_is_asked_again_and_nothing_is_lost() -> None:
    of = validator(Slow(failing(3)))
    first = await of.advance(pairs()[:100], regions(100))
    assert first.waits == "3 statements wait for a judge: the judge is out for lunch"
    second = await of.advance(pairs()[100:], regions(300))
    (once, whole), last = await verdicts(validator(Slow(at_once)))
    judged = sorted((j.hypothesis_id, j.seq, j.placebo, str(j.x)) for j in first.judgments + second.judgments)
    assert judged == sorted((j.hypothesis_id, j.seq, j.placebo, str(j.x)) for j in once.judgments + whole.judgments)
    assert (await of.finish()).verdicts == last.verdicts


async def test_a_judge_that_stays_away_leaves_statements_open_and_says_so_also_after_a_restart() -> None:
    of = validator(Slow(failing(10**6)))
    await of.advance(pairs(), regions(300))
    last = await of.finish()
    assert last.verdicts == []
    assert "3 statements wait for a judge" in last.waits
    resumed = Validator.load(of.config, [Slow(at_once)], of.dump())
    settled = await resumed.finish()
    assert settled.waits == ""
    assert {v.status for v in settled.verdicts} <= {VerdictStatus.ACCEPTED, VerdictStatus.UNDECIDED}
    assert VerdictStatus.ACCEPTED in {v.status for v in settled.verdicts}


async def test_where_a_judge_will_never_answer_statements_stay_undecided_with_its_words() -> None:
    of = validator(Slow(failing(10**6, again=False)))
    await of.advance(pairs(), regions(300))
    last = await of.finish()
    assert last.waits == ""
    assert [(v.status, v.reason) for v in last.verdicts] == [
        (VerdictStatus.UNDECIDED, "the judge is out for lunch")
    ] * 3


async def test_no_more_pairs_wait_than_could_ever_be_judged() -> None:
    of = Validator(ValidatorConfig(ARMS, "base", pairs=10), [Slow(failing(10**6))])
    await of.advance(pairs(), regions(300))
    import msgspec

    from contraflow.validator.case import Case

    cases = [msgspec.msgpack.decode(part, type=Case) for name, part in of.dump().items() if name.startswith("case:")]
    assert [len(case.pending) for case in cases] == [10, 10, 10]


class FirstReader(Slow):
    """Prefers whatever it reads first."""

    may_mind_the_order = True

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        return Answer("first", price=0.5)


async def test_some_pairs_are_asked_in_both_orders_which_counts_for_position_bias_and_nothing_else() -> None:
    steps, last = await verdicts(validator(FirstReader(at_once)))
    judgments = [judgment for step in steps for judgment in step.judgments]
    again = [j for j in judgments if j.again]
    once = {(j.hypothesis_id, j.seq): j for j in judgments if not j.again and not j.placebo}
    assert 0.05 < len(again) / len(once) < 0.25
    assert all(j.order == once[j.hypothesis_id, j.seq].order[::-1] for j in again)
    settled = {v.hypothesis_id: v for step in [*steps, last] for v in step.verdicts}
    verdict = settled[again[0].hypothesis_id]
    mine = [j for j in judgments if j.hypothesis_id == verdict.hypothesis_id]
    assert verdict.n == sum(not j.again and not j.placebo for j in mine)
    assert verdict.cost == 0.5 * len(mine)
