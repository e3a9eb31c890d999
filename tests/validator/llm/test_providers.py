"""Every provider's package, through its real client, against a server that speaks its wire format and misbehaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest

import llm_stub
from contraflow.configuration.tiers import LLMTier, read_tiers
from contraflow.errors import ProviderDown, ProviderUnusable
from contraflow.llm.opening import provider_of
from contraflow.llm.provider import Permanent, Prompt, Provider, ProviderError, RateLimited, Refused, Transient
from contraflow.validator.question import question
from contraflow.validator.types import Statement
from llm_stub import Asked, Behave, Does, answer, fails, stub
from validator.llm.conftest import KEY, Opens

PROMPT = question("sounds like a pirate", "arr matey", "good morning")
FIRST = '{"answer": "first"}'
PIRATE = Statement("sounds like a pirate", {}, ())

Tier = Callable[..., dict[str, Any]]


def opened(tier: dict[str, Any]) -> Provider:
    read, problems = read_tiers([tier])
    assert not problems
    assert isinstance(read[0], LLMTier)
    return provider_of(read[0])


async def ask(tier: dict[str, Any], prompt: Prompt = PROMPT) -> Any:
    provider = opened(tier)
    try:
        return await provider.ask(prompt, "judge-1", 64)
    finally:
        await provider.close()


async def failures(tier: Callable[[str], dict[str, Any]], cases: dict[str, Behave]) -> dict[str, Any]:
    """What a provider raises at each of several misbehaviours, each of which is called for once."""
    now = ""
    raised: dict[str, Any] = {}
    async with stub(lambda asked: cases[now](asked)) as server:
        provider = opened(tier(server.url))
        for now in cases:
            before = len(server.asked)
            with pytest.raises(ProviderError) as error:
                await provider.ask(PROMPT, "judge-1", 64)
            raised[now] = error.value
            # after a 401 the oldest package tries whether its credentials can be refreshed
            assert len(server.asked) == before + 1 or "401" in str(error.value), "the package's own retries are on"
        await provider.close()
    return raised


async def test_a_question_is_asked_at_temperature_0_with_a_schema_and_what_it_cost_comes_back(
    provider: str, tier: Tier
) -> None:
    async with stub(lambda asked: answer(asked, FIRST, tokens=(321, 7))) as server:
        reply = await ask(tier(provider, server.url))
    assert reply == (FIRST, 321, 7)
    (asked,) = server.asked
    assert asked.user == PROMPT.user
    config = asked.body if provider == "openai" else asked.body["generationConfig"]
    assert config["temperature"] == 0
    assert config["max_tokens" if provider == "openai" else "maxOutputTokens"] == 64
    assert '"first"' in str(config).replace("'", '"')  # the schema
    assert PROMPT.system in str(asked.body).replace("\\n", "\n").replace("\\'", "'")
    assert KEY in {asked.headers.get("authorization", "")[7:], asked.headers.get("x-goog-api-key")}
    assert KEY not in asked.path


async def test_tokens_that_a_server_does_not_count_are_unknown(provider: str, tier: Tier) -> None:
    async with stub(lambda asked: answer(asked, FIRST, tokens=None)) as server:
        assert await ask(tier(provider, server.url)) == (FIRST, None, None)


async def test_thinking_is_counted_as_written(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.genai")
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def thinks(asked: Asked) -> Does:
        does = answer(asked, FIRST, tokens=(100, 10))
        return does._replace(
            body=does.body.replace(b'"totalTokenCount"', b'"thoughtsTokenCount": 55, "totalTokenCount"')
        )

    async with stub(thinks) as server:
        assert (await ask(tier("gemini", server.url))).completion_tokens == 65


RETRY_INFO = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}]


@pytest.mark.parametrize("structured", ["schema", "json", "none"])
async def test_an_openai_server_gets_what_it_can_do_and_the_options_of_the_tier(
    tier: Tier, monkeypatch: pytest.MonkeyPatch, structured: str
) -> None:
    pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    options = {"temperature": None, "reasoning_effort": "minimal", "top_k": 1}
    async with stub(lambda asked: answer(asked, FIRST)) as server:
        await ask(tier("openai", server.url, structured=structured, options=options))
    (asked,) = server.asked
    assert "temperature" not in asked.body
    assert (asked.body["reasoning_effort"], asked.body["top_k"]) == ("minimal", 1)
    assert (
        asked.body.get("response_format", {}).get("type")
        == {
            "schema": "json_schema",
            "json": "json_object",
            "none": None,
        }[structured]
    )


async def test_how_long_to_wait_after_a_429_is_read(provider: str, tier: Tier) -> None:
    def with_headers(**headers: str) -> Behave:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda asked: fails(asked, 429, "slow down", headers=named)

    cases: dict[str, Behave] = {
        "nothing": with_headers(),
        "seconds": with_headers(Retry_After="12"),
        "nonsense": with_headers(Retry_After="soon"),
        "a date": lambda a: with_headers(Retry_After=formatdate(time.time() + 40, usegmt=True))(a),
        "a date long past": with_headers(Retry_After=formatdate(0, usegmt=True)),
        "milliseconds": with_headers(retry_after_ms="1500", retry_after="9"),
        "RetryInfo": lambda asked: fails(asked, 429, "slow down", details=RETRY_INFO),
    }
    raised = await failures(lambda url: tier(provider, url), cases)
    assert all(isinstance(error, RateLimited) for error in raised.values())
    assert {name: error.retry_after for name, error in raised.items()} == {
        "nothing": None,
        "seconds": 12,
        "nonsense": None,
        "a date": pytest.approx(40, abs=5),
        "a date long past": 0,
        "milliseconds": 1.5,
        "RetryInfo": 17.5,
    }


async def test_a_failing_server_may_be_asked_again_and_a_gateway_may_have_charged(provider: str, tier: Tier) -> None:
    def fail(status: int) -> Behave:
        return lambda asked: fails(asked, status, "overloaded")

    raised = await failures(lambda url: tier(provider, url), {str(s): fail(s) for s in (408, 500, 502, 503, 504)})
    assert all(isinstance(error, Transient) and "overloaded" in str(error) for error in raised.values())
    assert {name for name, error in raised.items() if error.billed} == {"502", "504"}


async def test_a_reply_that_cannot_be_read_may_be_charged_and_is_no_answer(provider: str, tier: Tier) -> None:
    cases: dict[str, Behave] = {
        "cut": llm_stub.truncated,
        "malformed": llm_stub.malformed,
        "dropped": lambda asked: Does(amiss="drop"),
        "a list": lambda asked: Does(body=b"[]"),
        "empty": lambda asked: Does(body=b"{}"),
        "a text": lambda asked: Does(body=b'"hello"'),
        "a page": lambda asked: Does(body=b"<html>", headers=(("content-type", "text/html"),)),
        "no candidate": lambda asked: llm_stub.tell(asked, []),
    }
    raised = await failures(lambda url: tier(provider, url), cases)
    assert {name for name, error in raised.items() if isinstance(error, Transient) and error.billed} == set(cases)


async def test_nobody_listening_costs_nothing(provider: str, tier: Tier) -> None:
    async with stub(llm_stub.malformed) as server:
        gone = server.url
    with pytest.raises(Transient) as error:
        await ask(tier(provider, gone))
    assert not error.value.billed


async def test_a_blocked_prompt_is_a_refusal(tier: Tier, provider: str) -> None:
    def blocks(asked: Asked) -> Does:
        if asked.gemini:
            body = b'{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}'
            return Does(body=body)
        return fails(asked, 400, "filtered by the policy", code="content_filter")

    async with stub(blocks) as server:
        with pytest.raises(Refused):
            await ask(tier(provider, server.url))


async def test_a_filtered_answer_is_a_refusal_and_what_it_read_is_charged(tier: Tier, provider: str) -> None:
    async with stub(
        lambda a: answer(a, "", finish="SAFETY" if a.gemini else "content_filter", tokens=(50, 1))
    ) as server:
        with pytest.raises(Refused) as error:
            await ask(tier(provider, server.url))
    assert (error.value.prompt_tokens, error.value.completion_tokens) == (50, 1)


async def test_a_prompt_that_is_too_long_for_the_model_is_a_refusal(tier: Tier, provider: str) -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 4000 tokens."
    async with stub(lambda asked: fails(asked, 400, message)) as server:
        with pytest.raises(Refused, match="context length"):
            await ask(tier(provider, server.url))


async def test_what_no_retry_can_mend_says_what_to_do(provider: str, tier: Tier) -> None:
    advice = {
        (401, "wrong key"): "Check the key",
        (400, "API key not valid. Please pass a valid API key."): "Check the key",
        (403, "may not"): "Check the key",
        (404, "no such model"): "Check the model's name",
        (400, "response_format is not supported"): "options",
        (429, "You exceeded your current quota: insufficient_quota"): "credit or quota",
    }

    def fail(status: int, message: str) -> Behave:
        return lambda asked: fails(asked, status, message)

    raised = await failures(lambda url: tier(provider, url), {message: fail(s, message) for s, message in advice})
    for (_, message), what in advice.items():
        assert isinstance(raised[message], Permanent)
        assert what in str(raised[message])


@pytest.mark.parametrize("behave", [llm_stub.drip, llm_stub.hang], ids=["drips", "hangs"])
async def test_a_connection_that_drips_or_hangs_is_given_up_in_time(
    provider: str, tier: Tier, judges: Opens, behave: Behave
) -> None:
    async with stub(behave) as server:
        settings = tier(provider, server.url, timeout=0.4, patience=0.9, tries=1)
        async with judges(settings) as (judge,):
            started = time.monotonic()
            with pytest.raises(ProviderDown, match=r"no answer within 0\.4 s|timed out|timeout|Timeout"):
                await judge.judge(PIRATE, "arr", "good morning")
    assert time.monotonic() - started < 3


async def test_the_key_is_in_no_log_no_error_and_no_file(
    provider: str, tier: Tier, judges: Opens, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def echoes(asked: Asked) -> Does:
        return fails(asked, 401, f"Incorrect API key provided: {KEY}") if asked.number else answer(asked, FIRST)

    async with stub(echoes) as server, judges(tier(provider, server.url)) as (judge,):
        await judge.judge(PIRATE, "arr", "good morning")
        with pytest.raises(ProviderUnusable, match=r"\*\*\*") as error:
            await judge.judge(PIRATE, "arr matey", "good morning")
        assert KEY not in repr(vars(judge))
    assert KEY not in "".join(_told(error.value))
    assert KEY not in caplog.text
    assert not _holding(tmp_path, KEY)


def _told(error: BaseException | None) -> list[str]:
    import traceback

    return traceback.format_exception(error) if error else []


def _holding(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_a_burst_of_429s_is_ridden_out(provider: str, tier: Tier, judges: Opens) -> None:
    def burst(asked: Asked) -> Does:
        if asked.number in (2, 3, 4, 7):
            return fails(asked, 429, "slow down", headers={"Retry-After": "0.05"} if asked.number % 2 else None)
        return answer(asked, FIRST, delay=0.01)

    async with (
        stub(burst) as server,
        judges(tier(provider, server.url)) as (judge,),
        anyio.create_task_group() as group,
    ):
        for i in range(12):
            group.start_soon(judge.judge, PIRATE, f"arr {i}", "good morning")
    assert len(server.asked) == 16
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 12
