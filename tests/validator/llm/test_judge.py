"""A language model as a judge: each answer paid for once, no budget passed, and nothing guessed."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import contraflow.validator.question
from contraflow.errors import BudgetSpent, ConfigurationError, LogError, ProviderDown
from contraflow.llm.ledger import Ledger
from contraflow.llm.provider import Prompt, Refused, Reply, Transient
from contraflow.llm.store import Store
from contraflow.runtime.beside import beside
from contraflow.validator.judges import open_judges
from contraflow.validator.llm import LLMJudge
from contraflow.validator.types import Answer, Judge, Statement

PIRATE = Statement("sounds like a pirate", {}, ())
FIRST, SECOND = '{"answer": "first"}', '{"answer": "second"}'
PRICE = (100 * 1.0 + 10 * 10.0) / 1e6
"""What a reply of 100 tokens read and 10 written costs at $1 and $10 a million."""

Script = Callable[[Prompt], str | Reply | Exception]


class Scripted:
    """A user's provider; ``asked`` are the prompts that it was called with."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Prompt] = []

    async def __call__(self, system: str, user: str, schema: dict[str, Any], model: str) -> Reply:
        prompt = Prompt("", system, user, schema)
        self.asked.append(prompt)
        await anyio.lowlevel.checkpoint()
        said = self.script(prompt)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, 100, 10)


Opens = Callable[..., Any]


@pytest.fixture
def opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opens:
    """Opens a judge that is a user's own provider."""

    @asynccontextmanager
    async def opened(
        ask: Any, *, run: str = "run-1", dollars: float = 50.0, **settings: Any
    ) -> AsyncIterator[tuple[Judge, Ledger]]:
        monkeypatch.setitem(sys.modules, "judging", SimpleNamespace(ask=ask))
        tier = {"judging:ask": {"model": "judge-1", "name": "mine", "price": [1.0, 10.0], "tries": 1, **settings}}
        async with open_judges([tier], _no_vectors, run, dollars, tmp_path, tmp_path / "answers") as ((judge,), _):
            assert isinstance(judge, LLMJudge)
            yield judge, judge._client._ledger

    return opened


async def _no_vectors(texts: object) -> Any:
    raise AssertionError("a language model needs no vectors")


# what is asked and what comes back


async def test_an_answer_comes_back_with_its_price(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider) as (judge, ledger):
        answer = await judge.judge(PIRATE, "arr", "hello")
        assert answer._replace(latency=0) == Answer("first", PRICE, 0, False)
        assert answer.latency > 0
        (entry,) = ledger.entries()
        assert (entry.tier, entry.model, entry.outcome) == ("mine", "judge-1", "answered")
        assert (entry.prompt_tokens, entry.completion_tokens, entry.price) == (100, 10, PRICE * 1e12)
        assert ledger.spent() == ledger.spent("mine") == PRICE


async def test_a_reply_that_cannot_be_read_is_asked_for_once_more(opens: Opens) -> None:
    replies = iter(["I think the first!", SECOND])
    provider = Scripted(lambda prompt: next(replies))
    async with opens(provider) as (judge, _):
        answer = await judge.judge(PIRATE, "arr", "hello")
    assert (answer.choice, answer.price) == ("second", 2 * PRICE)
    assert "could not be read" in provider.asked[1].user
    assert provider.asked[1].user.startswith(provider.asked[0].user)


async def test_a_second_reply_that_cannot_be_read_is_unparsable_and_paid_for_once(opens: Opens) -> None:
    provider = Scripted(lambda prompt: "der erste Text")
    async with opens(provider) as (judge, _):
        assert (await judge.judge(PIRATE, "arr", "hello")).choice == "unparsable"
        again = await judge.judge(PIRATE, "arr", "hello")
    assert (again.choice, again.price, again.cached, len(provider.asked)) == ("unparsable", 0, True, 2)


async def test_a_refusal_is_unparsable_is_not_asked_again_and_is_kept(opens: Opens) -> None:
    provider = Scripted(lambda prompt: Refused("not that", 100, 0))
    async with opens(provider) as (judge, ledger):
        for _ in range(2):
            assert (await judge.judge(PIRATE, "arr", "hello")).choice == "unparsable"
        assert [entry.outcome for entry in ledger.entries()] == ["refused"]
        assert ledger.spent() == 100 / 1e6
    assert len(provider.asked) == 1


async def test_a_plain_function_judges_in_a_thread_and_a_text_of_unknown_length_costs_the_most(opens: Opens) -> None:
    def ask(system: str, user: str, schema: dict[str, Any], model: str) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return SECOND if model == "judge-1" and "answer" in schema["properties"] else FIRST

    async with opens(ask) as (judge, ledger):
        answer = await judge.judge(PIRATE, "arr", "hello")
        (entry,) = ledger.entries()
        assert (answer.choice, entry.price, entry.prompt_tokens) == ("second", entry.most, None)
        assert answer.price * 1e12 == pytest.approx(entry.most)


async def test_an_async_function_that_blocks_all_the_same_takes_no_time_from_the_run(opens: Opens) -> None:
    ticks = 0

    async def ask(system: str, user: str, schema: dict[str, Any], model: str) -> str:
        time.sleep(0.5)  # noqa: ASYNC251 - the usual mistake
        return SECOND

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.02)
            ticks += 1

    async with opens(ask) as (judge, _), beside(tick):
        assert (await judge.judge(PIRATE, "arr", "hello")).choice == "second"
    assert ticks > 10


async def test_a_function_that_returns_something_else_is_told_so(opens: Opens) -> None:
    async with opens(lambda *asked: {"answer": "first"}) as (judge, _):
        with pytest.raises(ConfigurationError, match="judging:ask returned dict instead of a text or a Reply"):
            await judge.judge(PIRATE, "arr", "hello")


# the cache


async def test_an_answer_is_paid_for_once_also_by_another_run(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    for run in ("run-1", "run-2"):
        async with opens(provider, run=run) as (judge, ledger):
            answers = [await judge.judge(PIRATE, "arr", "hello") for _ in range(3)]
            assert [answer.choice for answer in answers] == ["first"] * 3
            assert ledger.spent() == (PRICE if run == "run-1" else 0)
        async with opens(provider, run=run) as (_, ledger):
            assert [entry.cached for entry in ledger.entries()].count(True) == (2 if run == "run-1" else 3)
    assert len(provider.asked) == 1


async def test_a_run_that_was_killed_before_it_used_an_answer_reports_what_the_call_cost(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider) as (judge, _):
        before = await judge.judge(PIRATE, "arr", "hello")
    async with opens(provider) as (judge, ledger):  # the same run again; the state that held the answer is lost
        assert await judge.judge(PIRATE, "arr", "hello") == before
        assert ledger.spent() == PRICE
    async with opens(provider, run="run-2") as (judge, _):
        assert await judge.judge(PIRATE, "arr", "hello") == Answer("first", 0, 0, True)


async def test_two_who_ask_the_same_at_once_make_one_call(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    answers: list[Answer] = []
    async with opens(provider) as (judge, _):

        async def ask() -> None:
            answers.append(await judge.judge(PIRATE, "arr", "hello"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
    assert len(provider.asked) == 1
    assert sorted(answer.price for answer in answers) == [0, 0, 0, 0, PRICE]


async def test_who_waits_for_a_call_that_fails_makes_its_own(opens: Opens) -> None:
    replies: Iterator[str | Exception] = iter([Transient("500"), FIRST])
    provider = Scripted(lambda prompt: next(replies))
    said: list[object] = []
    async with opens(provider) as (judge, _):

        async def ask() -> None:
            try:
                said.append((await judge.judge(PIRATE, "arr", "hello")).choice)
            except ProviderDown:
                said.append("down")

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
    assert said == ["down", "first"]


@pytest.mark.parametrize("change", ["version", "statement", "order", "model", "options", "max_tokens"])
async def test_what_could_change_the_answer_is_another_question(
    opens: Opens, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider) as (judge, _):
        await judge.judge(PIRATE, "arr", "hello")
    changed: dict[str, dict[str, Any]] = {
        "model": {"model": "judge-2"},
        "options": {"options": {"seed": 1}},
        "max_tokens": {"max_tokens": 9},
    }
    if change == "version":
        monkeypatch.setattr(contraflow.validator.question, "VERSION", "which-2")
    statement = Statement("is loud", {}, ()) if change == "statement" else PIRATE
    texts = ("hello", "arr") if change == "order" else ("arr", "hello")
    async with opens(provider, **changed.get(change, {})) as (judge, _):
        assert not (await judge.judge(statement, *texts)).cached
    assert len(provider.asked) == 2


# money


async def test_a_budget_below_one_call_makes_none(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider, budget=0.0001) as (judge, ledger):
        with pytest.raises(
            BudgetSpent, match=r"next call of mine could cost \$0\.00\d+, and \$0\.000000 of the tier's"
        ):
            await judge.judge(PIRATE, "arr", "hello")
        assert ledger.entries() == []
    async with opens(provider, dollars=0.0001) as (judge, _):
        with pytest.raises(BudgetSpent, match=r"of the run's \$0\.00 are spent.*with more in budget\.dollars"):
            await judge.judge(PIRATE, "arr", "hello")
    assert provider.asked == []


async def test_a_free_judge_needs_no_budget(opens: Opens) -> None:
    async with opens(Scripted(lambda prompt: FIRST), dollars=0, price=[0, 0]) as (judge, _):
        assert (await judge.judge(PIRATE, "arr", "hello")).price == 0
        assert judge.price == 0


async def turned_away_of(judge: Judge, calls: int) -> int:
    """How many of so many calls at once were not made for want of money."""
    turned_away = 0

    async def ask(i: int) -> None:
        nonlocal turned_away
        try:
            await judge.judge(PIRATE, f"arr {i}", "hello")
        except BudgetSpent:
            turned_away += 1

    async with anyio.create_task_group() as group:
        for i in range(calls):
            group.start_soon(ask, i)
    return turned_away


async def test_the_budget_is_spent_as_far_as_it_goes_whoever_asks_at_once_and_never_passed(opens: Opens) -> None:
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider, budget=0.01) as (judge, ledger):
        most = judge.price
        turned_away = await turned_away_of(judge, 100)
        assert 0.01 - most < ledger.spent() <= 0.01
    assert turned_away == 100 - len(provider.asked) > 0
    async with opens(provider, budget=0.01) as (judge, _):
        with pytest.raises(BudgetSpent):
            await judge.judge(PIRATE, "arr of another day", "hello")
    async with opens(provider, budget=0.02) as (judge, _):
        assert (await judge.judge(PIRATE, "arr of another day", "hello")).choice == "first"


async def test_a_call_is_in_the_file_at_the_most_it_can_cost_before_it_is_made(opens: Opens) -> None:
    seen: list[tuple[str, bool]] = []
    ledgers: list[Ledger] = []

    def looks(prompt: Prompt) -> str:
        (entry,) = ledgers[0].entries()
        seen.append((entry.outcome, entry.most > 10 * PRICE * 1e12))
        return FIRST

    async with opens(Scripted(looks)) as (judge, ledger):
        ledgers.append(ledger)
        await judge.judge(PIRATE, "arr", "hello")
    assert seen == [("in flight", True)]


async def test_calls_in_flight_together_cannot_pass_the_budget(opens: Opens) -> None:
    provider = Scripted(lambda prompt: Reply(FIRST))  # of unknown length: each costs the most that it can
    async with opens(provider) as (judge, _):
        most = (await judge.judge(PIRATE, "arr -", "hello")).price
    async with opens(provider, run="run-2", budget=3.5 * most) as (judge, ledger):
        turned_away = await turned_away_of(judge, 9)
        assert ledger.spent() == pytest.approx(3 * most)
    assert (len(provider.asked) - 1, turned_away) == (3, 6)


async def test_the_budget_of_a_run_is_for_all_of_its_tiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Scripted(lambda prompt: FIRST)
    monkeypatch.setitem(sys.modules, "judging", SimpleNamespace(ask=provider))
    tiers = [{"judging:ask": {"model": model, "price": [1, 10]}} for model in ("x", "y")]
    async with open_judges(tiers, _no_vectors, "r", 0.01, tmp_path, tmp_path / "answers") as (found, _):
        for judge in found:
            with pytest.raises(BudgetSpent, match="run's"):
                for i in range(100):
                    await judge.judge(PIRATE, f"arr {i}", "hello")
            first_tier = len(provider.asked)
        assert len(provider.asked) == first_tier < 60


@pytest.mark.parametrize(
    ("said", "outcome", "share"),
    [
        (Transient("500"), "failed", 0),
        (Transient("lost", billed=True), "failed", 1),
        (ValueError("a fault of the user's"), "failed", 1),
        (Reply(FIRST), "answered", 1),
        (Reply(FIRST, 0, 0), "answered", 0),
    ],
    ids=["an error", "nobody knows", "a fault", "not counted", "counted"],
)
async def test_a_call_of_unknown_cost_is_charged_at_the_most_it_could_cost(
    opens: Opens, said: Any, outcome: str, share: float
) -> None:
    async with opens(Scripted(lambda prompt: said)) as (judge, ledger):
        if isinstance(said, Exception):
            with pytest.raises(ProviderDown):
                await judge.judge(PIRATE, "arr", "hello")
        else:
            await judge.judge(PIRATE, "arr", "hello")
        (entry,) = ledger.entries()
        assert entry.outcome == outcome
        assert entry.price == share * entry.most


async def test_a_cancelled_call_is_charged_and_its_reservation_is_gone(opens: Opens) -> None:
    async def forever(system: str, user: str, schema: Any, model: str) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async with opens(forever) as (judge, ledger):
        with anyio.move_on_after(0.05):
            await judge.judge(PIRATE, "arr", "hello")
        (entry,) = ledger.entries()
        assert (entry.outcome, entry.price) == ("cancelled", entry.most)
        assert ledger.spent() * 1e12 == pytest.approx(entry.most)
        assert ledger._reserved[None] == 0


async def test_a_server_that_charges_more_than_it_may_is_told_of(
    opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    async with opens(Scripted(lambda prompt: Reply(FIRST, 10**6, 10**6))) as (judge, ledger):
        await judge.judge(PIRATE, "arr", "hello")
        assert ledger.spent() == 11.0
    assert "the budget may be passed by the difference" in caplog.text


async def test_calls_in_flight_at_a_kill_count_as_spent(
    tmp_path: Path, opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path / "answers") as store:
        ledger = Ledger(store, "run-1", 50.0)
        for _ in range(3):
            await ledger.reserve("mine", "judge-1", 2 * 10**9)
        await ledger.reserve("other", "judge-1", 10**9)
    caplog.set_level(logging.WARNING)
    with Store(tmp_path / "answers") as store:
        found = Ledger(store, "run-1", 50.0)
        assert (found.lost, found.spent("mine"), found.spent()) == (4, 0.006, 0.007)
        assert "4 calls were in flight when the run was killed" in caplog.text
        caplog.clear()
        again = Ledger(store, "run-1", 50.0)
        assert (again.lost, again.spent()) == (4, 0.007)
        assert not caplog.text
        assert Ledger(store, "run-2", 50.0).spent() == 0


async def test_one_process_at_a_time_spends_the_money_of_a_run(
    tmp_path: Path, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.llm.opening._TAKEOVER", 1)
    provider = Scripted(lambda prompt: FIRST)
    async with opens(provider):
        pass
    (lock,) = (tmp_path / "answers").glob("*.lock")  # a folder of the test's own
    holding = f"import fcntl, time; lock = open({str(lock)!r}); fcntl.flock(lock, 2); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE) as other:  # noqa: ASYNC220  # it starts at once
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(LogError, match="another process asks models for this run"):
            async with opens(provider):
                pass
        async with opens(provider, run="run-2"):
            pass
        other.kill()
    async with opens(provider) as (judge, _):
        assert (await judge.judge(PIRATE, "arr", "hello")).choice == "first"
