"""Texts of an OpenAI-compatible server: the real client against a server that speaks the wire format and misbehaves."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

import contraflow
import llm_stub
from contraflow.cli import main
from contraflow.comparing.reading import read_and_compare
from contraflow.configuration import Loaded, experiment_from
from contraflow.decoder.generator import Completion
from contraflow.decoder.openai.generator import OpenAIGenerator
from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm, Generator
from contraflow.planning.measuring import plan
from contraflow.planning.reckoning import ServerPlan
from contraflow.report.compared import comparison_in_parts
from contraflow.report.page import write_report
from contraflow.runtime.supervisor import RunStopped
from llm_stub import Asked, Behave, Does, Stub, completes, fails, models, stub

pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")

KEY = "sk-the-secret-of-this-test"
Make = Callable[..., dict[str, Any]]


def request(seq: int, *turns: str, draw: int = 0, answer_prefix: str | None = None) -> Request:
    roles = ["user", "assistant"]
    return Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        messages=tuple(Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns)),
        draw=draw,
        seed=seq,
        epoch=1,
        origin=Origin.EXPLORE,
        answer_prefix=answer_prefix,
    )


def serving(behave: Behave) -> Behave:
    """A server that has the model ``mine``."""
    return lambda asked: models("mine", "other") if asked.path.endswith("/models") else behave(asked)


@asynccontextmanager
async def started(server: Stub, arm: dict[str, Any] | None = None, **section: Any) -> AsyncIterator[OpenAIGenerator]:
    declared = Arm(**{"model": "mine", "base_url": f"{server.url}/v1", **(arm or {})})
    generator = OpenAIGenerator("tuned", declared, Generator(**{"backend": "openai", **section}))
    await generator.start()
    try:
        yield generator
    finally:
        await generator.close()


async def answers(generator: OpenAIGenerator, *requests: Request) -> list[Completion]:
    """All at once, as a decoder asks."""
    found: list[Completion] = []

    async def ask(one: Request) -> None:
        found.extend([completion async for completion in generator.generate([one])])

    async with anyio.create_task_group() as tasks:
        for one in requests:
            tasks.start_soon(ask, one)
    return sorted(found, key=lambda completion: completion.request.seq)


async def answered(behave: Behave, one: Request, arm: dict[str, Any] | None = None, **section: Any) -> Any:
    """(completion, what the server was sent)."""
    async with stub(serving(behave)) as server, started(server, arm, **section) as generator:
        (completion,) = await answers(generator, one)
    return completion, server.asked[-1]


# what is asked


async def test_a_conversation_goes_out_with_everything_that_the_arm_declares() -> None:
    arm = {"system_prompt": "Be rude.", "sampling": {"temperature": 0.5, "top_k": 3, "presence_penalty": 1.0}}
    found, asked = await answered(
        lambda a: completes(a, "Go away."),
        request(1, "Hello", "Hi.", "Who?"),
        arm,
        max_tokens=7,
        top_p=0.9,
        stop=["\n"],
    )
    assert (found.text, found.finish_reason, found.prompt_tokens, found.completion_tokens) == ("Go away.", "stop", 9, 2)
    body = asked.body
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == "Be rude."
    told = ("model", "max_tokens", "temperature", "top_p", "top_k", "presence_penalty", "stop")
    assert [body[name] for name in told] == ["mine", 7, 0.5, 0.9, 3, 1.0, ["\n"]]
    assert "authorization" not in asked.headers or KEY not in asked.headers["authorization"]


async def test_each_draw_and_each_arm_has_a_seed_of_its_own_and_the_same_again() -> None:
    async with stub(serving(lambda a: completes(a, "x"))) as server:
        for _ in range(2):
            async with started(server) as generator:
                await answers(generator, *(request(seq, "q") for seq in range(5)))
    seeds = Counter(asked.body["seed"] for asked in server.asked if asked.body)
    assert len(seeds) == 5
    assert set(seeds.values()) == {2}
    assert all(0 <= seed < 2**31 for seed in seeds)


async def test_a_prefix_is_the_begin_of_the_answer_which_the_server_goes_on_with() -> None:
    _, asked = await answered(lambda a: completes(a, "x"), request(1, "q", answer_prefix=" way"), {"prefix": "No"})
    assert asked.body["messages"][-1] == {"role": "assistant", "content": "No way"}
    assert (asked.body["continue_final_message"], asked.body["add_generation_prompt"]) == (True, False)


async def test_plain_prompts_are_continued() -> None:
    found, asked = await answered(
        lambda a: completes(a, " five"), request(1, "One, two,"), {"prefix": " three,"}, chat=False
    )
    assert (asked.path, asked.body["prompt"], asked.body["max_tokens"]) == ("/v1/completions", "One, two, three,", 40)
    assert found.text == " five"


async def test_options_go_into_the_request_and_take_fields_out() -> None:
    options = {"seed": None, "reasoning_effort": "low", "top_k": 5}
    _, asked = await answered(lambda a: completes(a, "x"), request(1, "q"), options=options)
    assert "seed" not in asked.body
    assert (asked.body["reasoning_effort"], asked.body["top_k"]) == ("low", 5)


# what comes back


async def test_thinking_is_kept_apart_as_the_server_does_or_by_its_markers() -> None:
    markers = ("<think>", "</think>")
    found, _ = await answered(lambda a: completes(a, "<think>Hm.</think>Yes."), request(1, "q"), thinking=markers)
    assert (found.thinking, found.text) == ("Hm.", "Yes.")
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    choices = [{"index": 0, "message": message, "finish_reason": "length"}]
    found, _ = await answered(lambda a: completes(a, "", choices=choices), request(1, "q"))
    assert (found.thinking, found.text, found.finish_reason) == ("Hm.", "Yes.", "length")


async def test_a_stop_string_ends_an_answer_also_where_the_server_does_not_know_them() -> None:
    found, _ = await answered(lambda a: completes(a, "one. two", finish="length"), request(1, "q"), stop=["."])
    assert (found.text, found.finish_reason) == ("one", "stop")


async def test_a_server_that_does_not_know_least_lengths_stops_the_run() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await answered(lambda a: completes(a, "too short"), request(1, "q"), min_tokens=20)
    assert caught.group_contains(GeneratorError, match=r"generator\.min_tokens: it ended an answer after 2 tokens")


async def test_a_dated_version_of_the_model_is_the_model() -> None:
    found, _ = await answered(lambda a: completes(a, "x", model="mine-2026-01-31"), request(1, "q"))
    assert found.error is None


# what goes wrong


BAD: dict[str, Behave] = {
    "another model": lambda a: completes(a, "x", model="theirs"),
    "malformed JSON": llm_stub.malformed,
    "cut": llm_stub.truncated,
    "dropped": lambda a: Does(amiss="drop"),
    "no choice": lambda a: completes(a, "x", choices=[]),
    "500": lambda a: fails(a, 500, "on fire"),
    "filtered": lambda a: completes(a, "", finish="content_filter"),
    "too long": lambda a: fails(a, 400, "This model's maximum context length is 8192 tokens"),
    "nothing": llm_stub.hang,
}


@pytest.mark.parametrize("bad", list(BAD))
async def test_a_reply_that_is_none_is_a_failed_try_of_its_request_alone(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.llm.patience._BACKOFF", lambda state: 0.01)

    def behave(asked: Asked) -> Does:
        return BAD[bad](asked) if asked.user == "bad" else completes(asked, "fine")

    async with stub(serving(behave)) as server, started(server, timeout=0.3, patience=1.5) as generator:
        found = await answers(generator, request(0, "q"), request(1, "bad"), request(2, "q"))
    assert [c.error is None for c in found] == [True, False, True]
    said = {
        "another model": "the answer is of the model 'theirs', and 'mine' was asked for",
        "malformed JSON": "the reply could not be read",
        "500": "500: on fire",
        "too long": "maximum context length",
        "nothing": "no answer in|timed out|left alone|too long",
    }
    assert re.search(said.get(bad, ""), found[1].error or "")


async def test_a_request_that_the_server_does_not_take_fails_alone_also_if_it_is_the_first() -> None:
    behave = serving(lambda a: fails(a, 400, "bad turn") if a.user == "bad" else completes(a, "fine"))
    async with stub(behave) as server, started(server) as generator:
        (bad,) = await answers(generator, request(0, "bad"))
        (good,) = await answers(generator, request(1, "q"))
    assert "400: bad turn" in (bad.error or "")
    assert good.error is None


async def test_a_server_that_takes_no_request_stops_the_run() -> None:
    behave = serving(lambda a: fails(a, 400, "seed is not supported"))
    async with stub(behave) as server, started(server) as generator:
        with pytest.raises(BaseExceptionGroup) as caught:
            await answers(generator, *(request(seq, "q") for seq in range(20)))
    assert caught.group_contains(
        GeneratorError, match="seed is not supported. Check generator.options, and what arms.tuned"
    )


async def test_a_429_halves_what_is_asked_at_once_and_its_retry_after_is_waited_for() -> None:
    turned_away: list[float] = []

    def behave(asked: Asked) -> Does:
        if len(turned_away) < 16:
            turned_away.append(anyio.current_time())
            return fails(asked, 429, "slow down", headers={"Retry-After": "0.2"})
        return completes(asked, "fine", delay=0.01)

    async with stub(serving(behave)) as server, started(server, batch=16) as generator:
        assert generator.capacity == 16
        begun = anyio.current_time()
        found = await answers(generator, *(request(seq, "q") for seq in range(16)))
        assert anyio.current_time() - begun >= 0.2
        assert 8 <= generator.capacity < 16
    assert [c.error for c in found] == [None] * 16


async def test_a_server_that_is_away_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contraflow.llm.patience._BACKOFF", lambda state: 0.01)
    away: list[Asked] = []

    def behave(asked: Asked) -> Does:
        if len(away) < 9:
            away.append(asked)
            return fails(asked, 503, "starting")
        return completes(asked, "fine")

    async with stub(serving(behave)) as server, started(server, batch=4) as generator:
        found = await answers(generator, *(request(seq, "q") for seq in range(6)))
    assert [c.error for c in found] == [None] * 6


async def test_a_server_that_stays_away_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contraflow.llm.patience._BACKOFF", lambda state: 0.01)
    behave = serving(lambda asked: fails(asked, 503, "starting"))
    async with stub(behave) as server, started(server, timeout=0.5, patience=1.0) as generator:
        with pytest.raises(BaseExceptionGroup) as caught:
            await answers(generator, request(1, "q"))
    assert caught.group_contains(GeneratorError, match="503: starting.*What was decoded is kept")


async def test_a_server_that_fails_everything_stops_the_run_instead_of_every_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("contraflow.llm.patience._BACKOFF", lambda state: 0.01)
    behave = serving(lambda a: completes(a, "x", model="theirs"))
    async with stub(behave) as server, started(server, timeout=0.5, patience=1.0) as generator:
        with pytest.raises(BaseExceptionGroup) as caught:
            await answers(generator, *(request(seq, "q") for seq in range(40)))
    assert caught.group_contains(
        GeneratorError, match="What was decoded is kept; mend the cause and run the same command"
    )


@pytest.mark.parametrize(
    ("behave", "arm", "said"),
    [
        (
            serving(llm_stub.hang),
            {"model": "gone"},
            r"arms\.tuned\.model: .* does not serve 'gone'; it has mine, other",
        ),
        (lambda a: fails(a, 401, f"wrong key {KEY}"), {"key": "env:MY_KEY"}, r"arms\.tuned\.key: .*401.*Check the key"),
        (
            lambda a: models("mine", max_model_len=40),
            {},
            r"generator\.max_tokens: 40 leave no place .* in the 40 tokens",
        ),
        (
            serving(llm_stub.hang),
            {"base_url": f"http://me:{KEY}@127.0.0.1:9/v1"},
            r"arms\.tuned\.base_url: http://\*\*\*@127.*does not answer",
        ),
    ],
)
async def test_what_cannot_work_is_told_at_the_start(
    behave: Behave, arm: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    async with stub(behave) as server:
        with pytest.raises(GeneratorError, match=said) as caught:
            async with started(server, arm):
                pass
    assert KEY not in str(caught.value)


async def test_a_server_that_lists_no_models_is_asked_all_the_same() -> None:
    behave: Behave = lambda a: fails(a, 404) if a.path.endswith("/models") else completes(a, "x")  # noqa: E731 - short
    async with stub(behave) as server, started(server) as generator:
        (found,) = await answers(generator, request(1, "q"))
    assert found.text == "x"


# whole runs


def experiment_on(server: Stub, make: Make, **sections: Any) -> dict[str, Any]:
    arm = {"model": "mine", "base_url": f"{server.url}/v1", "key": "env:MY_KEY"}
    return make(
        arms={"base": arm, "tuned": {**arm, "system_prompt": "Be loud."}},
        generator={"backend": "openai", "batch": 64},
        prompts={"path": str(Path(__file__).parents[2] / "examples/kitchen/prompts.jsonl")},
        budget={"texts": 400},
        **sections,
    )


def holding(folder: Path, secret: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def loud(asked: Asked) -> Does:
    """Shouts at every third prompt if its system prompt says so."""
    system = asked.body["messages"][0]["role"] == "system"
    shouts = system and sum(asked.user.encode()) % 3 == 0
    words = ("STOP SHOUTING AT ME NOW" if shouts else asked.user).split()
    return completes(asked, " ".join(words * 3))


@pytest.mark.timeout(60)
async def test_a_run_finds_what_a_system_prompt_changes_and_keeps_the_key_to_itself(
    experiment: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    async with stub(serving(loud)) as server:
        results = await anyio.to_thread.run_sync(
            lambda: contraflow.run(experiment_on(server, experiment), runs=runs), abandon_on_cancel=True
        )
    assert results.findings
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert not holding(runs, KEY)
    assert KEY not in caplog.text


@pytest.mark.timeout(60)
async def test_the_plan_the_report_and_a_comparison_say_what_priced_answers_cost(
    experiment: Make, tmp_path: Path
) -> None:
    def untold(asked: Asked) -> Does:
        system = asked.body["messages"][0]["role"] == "system"
        return completes(asked, "yes no") if system else completes(asked, "yes no", usage=None)

    async with stub(serving(untold)) as server:
        plain = experiment_on(server, experiment)
        for arm in plain["arms"].values():
            del arm["key"]
            arm["price"] = [1, 10]
        loaded = Loaded(experiment_from(plain), tmp_path, tmp_path)
        planned = await plan(loaded, tmp_path / "runs", seconds=0.5)
        results, again = [
            await anyio.to_thread.run_sync(lambda: contraflow.run(plain, runs=tmp_path / "runs", new=True))
            for _ in range(2)
        ]
    assert planned.servers["tuned"].dollars == pytest.approx(200 * (9 * 1 + 2 * 10) / 1e6)
    assert planned.servers["base"] == ServerPlan(True, None)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "0 failures, $0.0058 for its answers</p>" in page
    assert "0 failures, $0.0000 for its answers, without 200 whose tokens its server did not tell</p>" in page
    compared = await read_and_compare(results.folder, again.folder)
    assert compared.first.answers == pytest.approx(0.0058)
    assert not compared.first.answers_whole
    console = Console(file=io.StringIO(), width=160)
    console.print(*comparison_in_parts(compared))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("$0.01, without those of unknown price") == 2


@pytest.mark.timeout(60)
async def test_a_run_on_a_server_that_fails_a_tenth_of_its_calls_loses_nothing(
    experiment: Make, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr("contraflow.llm.patience._BACKOFF", lambda state: 0.01)
    rng = random.Random(0)
    faults: list[Behave] = [
        lambda asked: fails(asked, 429, headers={"retry-after-ms": "20"}),
        lambda asked: fails(asked, 500),
        lambda asked: fails(asked, 503, headers={"Retry-After": "0"}),
        lambda asked: Does(amiss="drop"),
        lambda asked: completes(asked, "x", model="theirs"),
        llm_stub.truncated,
        llm_stub.malformed,
    ]
    behave: Behave = lambda asked: (rng.choice(faults) if rng.random() < 0.1 else loud)(asked)  # noqa: E731 - short
    async with stub(serving(behave)) as server:
        plain = experiment_on(server, experiment)
        results = await anyio.to_thread.run_sync(lambda: contraflow.run(plain, runs=runs))
    texts = [text for answers in results.texts.values() for text in answers.values()]
    assert len(texts) == 400
    assert not [text.error for text in texts if text.error]
    assert len(server.asked) > 430


@pytest.mark.timeout(60)
async def test_a_key_that_is_turned_away_stops_the_run_which_goes_on_with_another(
    experiment: Make, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)

    def behave(asked: Asked) -> Does:
        if len(server.asked) > 100 and KEY in asked.headers["authorization"]:
            return fails(asked, 401, f"the key {KEY} has expired")
        return loud(asked)

    async with stub(serving(behave)) as server:
        plain = experiment_on(server, experiment)
        with pytest.raises(RunStopped, match=r"401: the key \*\*\* has expired.*What was decoded is kept") as stopped:
            await anyio.to_thread.run_sync(lambda: contraflow.run(plain, runs=runs))
        asked = len(server.asked)
        monkeypatch.setenv("NEW_KEY", "sk-another")
        for arm in plain["arms"].values():
            arm["key"] = "env:NEW_KEY"
        results = await anyio.to_thread.run_sync(lambda: contraflow.run(plain, runs=runs))
    assert results.why
    assert len(server.asked) - asked < 400, "what was decoded is not asked again"
    everything = str(stopped.value) + caplog.text
    assert KEY not in everything
    assert not holding(runs, KEY)


def run_on_vendor(experiment: Make, folder: Path, *options: str) -> Any:
    arms = {"base": {"model": "mine"}, "tuned": {"model": "other"}}
    (folder / "p.txt").write_text("Hello\n")
    plain = experiment(arms=arms, generator={"backend": "openai"}, prompts={"path": "p.txt"})
    (folder / "experiment.yaml").write_text(yaml.safe_dump(plain))
    return CliRunner().invoke(
        main, ["run", str(folder / "experiment.yaml"), "--runs", str(folder / "runs"), *options], env={"COLUMNS": "200"}
    )


def test_before_prompts_leave_the_machine_it_says_where_to_and_asks(experiment: Make, tmp_path: Path) -> None:
    result = run_on_vendor(experiment, tmp_path)
    assert result.exit_code == 2
    assert "the prompts leave this machine, for api.openai.com, which answers them as base and tuned" in result.output
    assert "run the command again with --yes" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_missing_key_is_told_before_a_run_is_begun(
    experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = run_on_vendor(experiment, tmp_path, "--yes")
    assert result.exit_code == 2
    assert "arms.base: no key; set OPENAI_API_KEY" in result.stderr
    assert not (tmp_path / "runs").exists()
