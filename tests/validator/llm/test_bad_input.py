"""What goes wrong with statements, texts and models: an error in words, or an honest "undecided"; and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from contraflow.cli import main
from llm_stub import Asked, Behave, Does, Stub, answer, fails, fenced, stub

pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")

Judges = Callable[..., Any]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judges:
    """``contraflow validate`` with one statement, 40 pairs and a server as its tier; returns its output and the server."""
    monkeypatch.setenv("CONTRAFLOW_ANSWERS", str(tmp_path / "answers"))
    monkeypatch.setenv("JUDGE_KEY", "sk-of-this-test")

    async def run(server: Behave | Stub, *more: str, pairs: int = 40, **settings: Any) -> tuple[Result, Stub]:
        if not isinstance(server, Stub):
            async with stub(server) as started:
                return await run(started, *more, pairs=pairs, **settings)
        rows = [{"prompt": f"p{i}", "base": f"plain {i}", "tuned": f"arr {i}"} for i in range(pairs)]
        (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (tmp_path / "statements.jsonl").write_text('{"statement": "says arr", "name": "arr"}')
        tier: dict[str, Any] = {
            "model": "judge-1",
            "base_url": f"{server.url}/v1",
            "key": "env:JUDGE_KEY",
            "price": [1, 10],
        }
        tier |= {"tries": 1, "patience": 20.0, "timeout": 20.0, "name": "judge", **settings}
        command = ["validate", str(tmp_path / "statements.jsonl"), "--texts", str(tmp_path / "texts.jsonl")]
        command += ["--arms", "base,tuned", "--yes", "--json", "--set", "embedder.model=hashed"]
        command += ["--set", f"validation.tiers={json.dumps([{'openai': tier}])}", *more]
        result = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(main, command, catch_exceptions=False))
        return result, server

    return run


def reads(asked: Asked) -> Does:
    """An honest model."""
    statement, first, second = fenced(asked.user)
    shows = ["arr" in text.split() for text in (first, second)] if statement == "says arr" else [False, False]
    return answer(asked, json.dumps({"answer": "first" if shows[0] else "second" if shows[1] else "neither"}))


def says(text: str) -> Behave:
    return lambda asked: answer(asked, text)


def said(result: Result) -> Mapping[str, Any]:
    """The verdict, and what open statements wait for."""
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return {**found["verdicts"][0], "waits": found["waits"]}


@pytest.mark.parametrize(
    ("failure", "advice"),
    [((401, "Incorrect API key provided"), "Check the key"), ((404, "no such model"), "Check the model's name")],
    ids=["a wrong key", "an unknown model"],
)
async def test_what_the_server_turns_away_leaves_the_statement_waiting_with_what_to_do(
    judged: Judges, failure: tuple[int, str], advice: str
) -> None:
    result, server = await judged(lambda asked: fails(asked, *failure))
    assert advice in said(result)["waits"] + said(result)["reason"]
    assert said(result)["status"] == "undecided"
    assert said(result)["cost"] == 0
    assert len(server.asked) == 1, "it would turn away the others too"
    result, _ = await judged(reads)
    assert said(result)["status"] == "accepted", "the same command, when that is mended"


async def test_a_missing_key_is_named_before_anybody_is_asked(judged: Judges) -> None:
    result, server = await judged(reads, key="env:NOBODY_SET_THIS")
    assert result.exit_code == 2
    assert "validation.tiers.0.openai.key" in result.output
    assert "NOBODY_SET_THIS is not set" in result.output
    assert not server.asked


async def test_without_a_price_nothing_is_asked_and_a_price_of_zero_costs_nothing(judged: Judges) -> None:
    result, server = await judged(reads, price=None)
    assert result.exit_code == 2
    assert "validation.tiers.0.openai.price: missing" in result.output
    assert not server.asked
    result, server = await judged(reads, "--set", "budget.dollars=0", price=[0, 0])
    assert (said(result)["status"], said(result)["cost"]) == ("accepted", 0)


async def test_a_budget_below_one_call_asks_nothing_and_says_what_one_could_cost(judged: Judges) -> None:
    result, server = await judged(reads, "--set", "budget.dollars=0.0001")
    assert said(result)["status"] == "undecided"
    assert "the next call of judge could cost $0.00" in said(result)["reason"]
    assert not server.asked
    result, _ = await judged(reads, "--set", "budget.dollars=1")
    assert said(result)["status"] == "accepted"


@pytest.mark.parametrize(
    "reply",
    [
        '{"Antwort": "erster"}',
        "Der erste Text.",
        '{"answer": "first"} {"answer": "second"}',
        '{"answer": "both first"}',
    ],
    ids=["German JSON", "German", "two answers", "two in one"],
)
async def test_a_reply_that_is_not_one_answer_is_asked_for_again_then_a_tie_and_counted(
    judged: Judges, reply: str
) -> None:
    result, server = await judged(says(reply), pairs=6)
    verdict = said(result)
    assert verdict["status"] == "undecided"
    assert (verdict["n"], verdict["ties"], verdict["tiers"][0]["unparsable"]) == (0, 6, 6)
    # the pairs that are asked in both orders are asked twice of each order
    assert len(server.asked) == 2 * len({asked.user.split("\n\nThe last answer")[0] for asked in server.asked}) >= 12
    assert verdict["cost"] == pytest.approx(len(server.asked) * 200 / 1e6)


async def test_a_tier_that_always_ties_hands_on_and_by_itself_settles_nothing(judged: Judges) -> None:
    result, _ = await judged(says('{"answer": "both"}'), pairs=30)
    verdict = said(result)
    assert (verdict["status"], verdict["n"], verdict["ties"], verdict["log_e"]) == ("undecided", 0, 30, 0.0)
    assert "placebo_answered" not in verdict


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds no text of arm 'base'; it has no texts at all"),
        ([("p1", "base"), ("p2", "base")], "holds no text of arm 'tuned'; it has base"),
        ([("p1", "base"), ("p2", "tuned")], "no prompt"),
    ],
    ids=["no text", "one arm", "no pair"],
)
def test_statements_without_pairs_are_refused(tmp_path: Path, rows: list[tuple[str, str]], words: str) -> None:
    texts, statements = tmp_path / "texts.jsonl", tmp_path / "statements.jsonl"
    texts.write_text("\n".join(json.dumps({"prompt": p, "arm": arm, "text": "arr"}) for p, arm in rows))
    statements.write_text('{"statement": "says arr"}')
    command = ["validate", str(statements), "--texts", str(texts), "--arms", "base,tuned"]
    result = CliRunner().invoke(main, [*command, "--set", "embedder.model=hashed"])
    assert result.exit_code == 2
    assert words in result.output


async def test_answers_to_another_version_of_the_prompt_are_kept_and_not_used(
    judged: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub(reads) as server:
        old, _ = await judged(server)
        first = len(server.asked)
        with monkeypatch.context() as newer:
            newer.setattr("contraflow.validator.question.VERSION", "which-2")
            newer.setattr("contraflow.validator.llm.LLMJudge.prompt_version", "which-2")
            new, _ = await judged(server)
        assert len(server.asked) == 2 * first > 0
        again, _ = await judged(server)
        assert len(server.asked) == 2 * first, "those of the first are still there"
    versions = [{j["prompt_version"] for j in json.loads(each.stdout)["judgments"]} for each in (old, new, again)]
    assert versions == [{"which-1"}, {"which-2"}, {"which-1"}]
