"""The whole ring with a language model as its judge, which is away for a while."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import contraflow
from contraflow.errors import ContraflowError
from contraflow.llm.ledger import Ledger
from contraflow.llm.spending import read_spending
from contraflow.llm.store import Store
from contraflow.log.opening import open_log
from contraflow.monitor.watcher import Watcher
from contraflow.runs import open_run
from contraflow.words import content_words
from llm_stub import Asked, Does, answer, fails, fenced, stub

pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")

Make = Callable[..., dict[str, Any]]


def reads(asked: Asked) -> Does:
    """A model that picks the text with more of the property's words."""
    statement, *texts = (content_words(text) for text in fenced(asked.user))
    first, second = (len(statement & text) for text in texts)
    choice = "neither" if first == second else "first" if first > second else "second"
    return answer(asked, json.dumps({"answer": choice}))


@pytest.fixture
def judged(experiment: Make, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the scripted experiment with this server as the second tier."""
    monkeypatch.setenv("CONTRAFLOW_ANSWERS", str(tmp_path / "answers"))

    async def run(url: str, **settings: Any) -> contraflow.Results:
        tier = {"model": "judge-1", "base_url": f"{url}/v1", "price": [1, 10], **settings}
        described = experiment(validation={"tiers": [{"openai": tier}]}, budget={"texts": 1600, "dollars": 20})
        return await anyio.to_thread.run_sync(lambda: contraflow.run(described, runs=runs))

    return run


def spent(folder: Path, run: str) -> float:
    with Store(folder) as store:
        return Ledger(store, run, 20).spent()


async def test_a_provider_that_was_away_costs_no_verdict_and_the_ledger_agrees_with_the_report(
    judged: Callable[..., Any], runs: Path, tmp_path: Path
) -> None:
    away = True

    def sometimes(asked: Asked) -> Does:
        return fails(asked, 503, "overloaded") if away and asked.number >= 5 else reads(asked)

    async with stub(sometimes) as server:
        with pytest.raises(ContraflowError, match="overloaded"):
            await judged(server.url, tries=1, patience=1.0, timeout=1.0)
        asked = len(server.asked)
        away = False
        results = await judged(server.url, tries=2)
    assert results.folder.run == "small-1"
    assert results.folder.done
    assert len(server.asked) > asked
    assert set(server.answered.values()) == {1}
    verdicts = results.frame("verdicts")
    assert "accepted" in set(verdicts["status"])
    assert verdicts["cost"].sum() == pytest.approx(spent(tmp_path / "answers", results.folder.identity))
    assert verdicts["cost"].sum() == pytest.approx(len(server.answered) * 200 / 1e6)


async def test_while_calls_are_made_a_watcher_sees_what_they_have_cost_of_what_they_may(
    judged: Callable[..., Any], runs: Path
) -> None:
    seen: list[tuple[float, float | None, int]] = []
    begun = anyio.Event()

    def begins(asked: Asked) -> Does:
        begun.set()
        return reads(asked)

    async with stub(begins) as server, anyio.create_task_group() as tasks:

        async def look() -> None:
            await begun.wait()
            folder = open_run(runs, "small-1")
            async with open_log(folder) as log:
                watcher = Watcher(log, folder)
                while not folder.done:
                    standing = (await watcher.look()).standing
                    seen.append((standing.cost, standing.may_cost, standing.verdicts))
                    await anyio.sleep(0.02)
                await watcher.close()

        tasks.start_soon(look)
        results = await judged(server.url)
    told = read_spending(results.folder.identity)
    assert told is not None
    assert told.dollars == pytest.approx(len(server.answered) * 200 / 1e6)
    assert any(0 < cost < told.dollars and budget == 20 and not verdicts for cost, budget, verdicts in seen)


async def test_a_budget_that_is_spent_leaves_statements_undecided(judged: Callable[..., Any]) -> None:
    async with stub(reads) as server:
        results = await judged(server.url, budget=0.004)
    assert results.folder.done
    verdicts = results.frame("verdicts")
    assert "accepted" not in set(verdicts["status"])
    assert verdicts["cost"].sum() <= 0.004
    assert verdicts["reason"].str.contains("budget").any()
