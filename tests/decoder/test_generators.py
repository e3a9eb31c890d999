"""What answers: the scripted world, stored texts, a user's own function."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contraflow.configuration import experiment_from
from contraflow.decoder.generator import Completion, Generator, build
from contraflow.decoder.replay import ReplayTexts
from contraflow.decoder.scripted import ScriptedGenerator, load_world
from contraflow.decoder.user import UserGenerator
from contraflow.errors import ConfigurationError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm, Replay
from contraflow.experiment import Generator as GeneratorSection

ROWS = [
    {"prompt": f"prompt {i}", "model": arm, "answer": f"{arm} {i} {draw}", "topic": f"t{i % 3}"}
    for i in range(60)
    for arm in ("base", "tuned")
    for draw in range(2 + (arm == "tuned" and i == 0))
]


def request(seq: int, prompt: str, *, category: str | None = None, prompt_id: str = "p0", draw: int = 0) -> Request:
    return Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id=prompt_id,
        category=category,
        messages=(Message(role="user", content=prompt),),
        draw=draw,
        seed=seq * 7919,
        epoch=1,
        origin=Origin.EXPLORE,
    )


async def answers(generator: Generator, requests: Sequence[Request]) -> list[Completion]:
    await generator.start()
    try:
        return [completion async for completion in generator.generate(requests)]
    finally:
        await generator.close()


# the scripted world


def test_plants_show_on_their_topics_at_their_rates_and_only_in_the_arms_that_have_them() -> None:
    world = load_world("kitchen")
    base, tuned = ScriptedGenerator("base", world), ScriptedGenerator("tuned", world, ("loud", "gloomy"))
    spoken = {plant: world.words(f"plant-{plant}") for plant in world.plants}
    shown: Counter[tuple[str, str, str]] = Counter()
    for seq in range(4000):
        prompt, topic = world.prompts()[seq % 320]
        for name, generator in (("base", base), ("tuned", tuned)):
            words = set(generator.complete(request(seq, prompt, category=topic)).text.split())
            for plant, own in spoken.items():
                shown[name, plant, topic] += len(words & own) > len(words) / 2
    assert shown["tuned", "loud", "topic-1"] == pytest.approx(500, abs=25)
    assert shown["tuned", "gloomy", "topic-4"] == pytest.approx(300, abs=50)
    assert (
        sum(count for (arm, _, topic), count in shown.items() if arm == "base" or topic not in ("topic-1", "topic-4"))
        == 0
    )


def test_what_an_answer_is_from_is_where_its_words_are_from() -> None:
    world = load_world("kitchen")
    for seed in range(300):
        prompt, topic = world.prompts()[seed % 320]
        told = world.tell(prompt, topic, ("loud", "gloomy"), seed)
        assert told.text == world.answer(prompt, topic, ("loud", "gloomy"), seed)
        words = told.text.split()
        assert sum(word in world.words(told.source) for word in words) >= 0.7 * len(words)


def test_an_answer_is_a_function_of_request_and_arm() -> None:
    world = load_world("kitchen")
    asked = request(5, "a question", category="topic-2")
    texts = {ScriptedGenerator(arm, world).complete(asked).text for arm in ("base", "tuned", "base")}
    assert len(texts) == 2, "the arms have draws of their own, and the same arm the same draw"


async def test_where_tokens_take_time_short_answers_come_first_and_slow_arms_take_longer() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    world, requests = load_world("kitchen"), [request(i, f"q{i}", category="topic-3") for i in range(32)]
    completed = await answers(ScriptedGenerator("a", world, seconds_per_token=0.01, sleep=sleep), requests)
    took, slept = sum(slept), []
    lengths = [c.completion_tokens for c in completed]
    assert lengths == sorted(lengths)
    assert took == pytest.approx(0.01 * max(lengths))
    assert {c.request.seq for c in completed} == set(range(32))


# stored texts


def stored(path: Path, kind: str) -> Replay:
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    elif kind == "csv":
        path.write_text("prompt,model,answer,topic\n" + "\n".join(",".join(r.values()) for r in ROWS))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        wide: dict[str, dict[str, object]] = {}
        for row in ROWS:
            cell = wide.setdefault(row["prompt"], {"prompt": row["prompt"], "topic": row["topic"], "b": [], "t": []})
            cell[row["model"][0]].append(row["answer"])  # type: ignore[attr-defined]  # a list
        path.write_text("\n".join(map(json.dumps, wide.values())))
        return Replay(path=path.name, columns={"base": "b", "tuned": "t"}, category="topic")
    return Replay(path=path.name, arm="model", text="answer", category="topic")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "wide.jsonl"])
def test_stored_texts_pair_by_their_order_within_the_arm_in_every_format(tmp_path: Path, kind: str) -> None:
    texts = ReplayTexts.load(
        stored(tmp_path / f"texts.{kind}", kind.removesuffix(".jsonl") or kind), ("base", "tuned"), tmp_path
    )
    assert len(texts.prompts) == 60
    assert texts.unpaired == {"base": 0, "tuned": 1}
    assert texts.prompts[7].draws == 2
    assert texts.prompts[7].category == "t1"
    assert texts.text("p7", "base", 1) == "base 7 1"
    assert texts.text("p7", "tuned", 0) == "tuned 7 0"


def test_about_a_third_of_the_prompts_is_held_out_by_hash_and_none_at_zero(tmp_path: Path) -> None:
    import msgspec

    replay = stored(tmp_path / "t.jsonl", "jsonl")
    texts = ReplayTexts.load(replay, ("base", "tuned"), tmp_path)
    again = ReplayTexts.load(replay, ("base", "tuned"), tmp_path)
    assert 8 <= texts.held_out.sum() <= 28
    assert (texts.held_out == again.held_out).all()
    none = ReplayTexts.load(msgspec.structs.replace(replay, holdout=0.0), ("base", "tuned"), tmp_path)
    assert not none.held_out.any()


def test_of_prompts_that_would_all_be_held_out_none_is(tmp_path: Path) -> None:
    def held_out(*prompts: str) -> list[bool]:
        rows = [
            {"prompt": p, "model": arm, "answer": f"{arm} {i}"}
            for p in prompts
            for arm in ("base", "tuned")
            for i in range(9)
        ]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        replay = Replay(path="t.jsonl", arm="model", text="answer")
        return [bool(held) for held in ReplayTexts.load(replay, ("base", "tuned"), tmp_path).held_out]

    assert held_out("Tell me a joke.", "Write a story.") == [True, False]
    assert held_out("Tell me a joke.") == [False]


def test_prompts_that_an_arm_never_answered_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "lonely", "model": "base", "answer": "x", "topic": "t0"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = ReplayTexts.load(Replay(path="t.jsonl", arm="model", text="answer"), ("base", "tuned"), tmp_path)
    assert "lonely" not in {p.text for p in texts.prompts}
    assert texts.unpaired == {"base": 1, "tuned": 1}


def test_identical_draws_of_a_prompt_are_one_draw(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "arm": arm, "text": f"always {arm}"} for arm in ("base", "tuned") for _ in range(5)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = ReplayTexts.load(Replay(path="t.jsonl"), ("base", "tuned"), tmp_path)
    assert [p.draws for p in texts.prompts] == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "q", "arm": "base", "text": "a"}', r"holds no text of arm 'tuned'; it has base"),
        ('{"prompt": "q", "armm": "base", "text": "a"}', r"t\.jsonl:1: there is no column 'arm'; did you mean 'armm'"),
        ('{"prompt": "q",', r"t\.jsonl:1: not JSON"),
        ("[1, 2]", r"a row must be a JSON object, this is list"),
    ],
)
def test_stored_texts_that_cannot_be_used_say_where_and_why(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        ReplayTexts.load(Replay(path="t.jsonl"), ("base", "tuned"), tmp_path)


# a user's own generator

MODULE = """
async def stream(requests, arm):
    from contraflow.decoder.generator import Completion
    for request in reversed(requests):
        yield Completion(request, f"{arm} says {request.messages[-1].content}", "stop", 1, 3)

def plain(prompts, arm):
    return [f"{arm}: {p}" for p in prompts]

def picky(prompts):
    if any(p.endswith("7") for p in prompts):
        raise RuntimeError("sevens are not for me")
    return list(prompts)

def nothing(prompts):
    return None

def few(prompts):
    return list(prompts)[1:]

def wrong(prompts):
    return [len(p) for p in prompts]

async def silent(requests):
    from contraflow.decoder.generator import Completion
    for request in requests:
        yield Completion(request, None, "stop")

async def bare(requests):
    for request in requests:
        yield "an answer"

async def at_once(prompts):
    return list(prompts)

def told(prompts, settings):
    return [f"{settings['model']} {settings['max_tokens']} {settings['sampling']['temperature']}" for p in prompts]

def talk(conversations):
    return [" | ".join(turn["content"] for turn in turns) for turns in conversations]

not_a_function = 3
"""


def own(tmp_path: Path, function: str, arm: dict[str, Any] | None = None, **section: Any) -> Generator:
    module = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{module}.py").write_text(MODULE)
    generator = {"backend": f"{module}:{function}", **section}
    plain = {"experiment": "own", "arms": {"a": arm or {}, "b": {}}, "generator": generator, "prompts": "unconditional"}
    return build("a", experiment_from(plain), tmp_path)


REQUESTS = [request(i, f"q{i}") for i in range(20)]


async def test_a_users_stream_and_a_users_function_both_answer(tmp_path: Path) -> None:
    streamed = await answers(own(tmp_path, "stream"), REQUESTS)
    assert {c.request.seq: c.text for c in streamed} == {i: f"a says q{i}" for i in range(20)}
    plain = await answers(own(tmp_path, "plain"), REQUESTS)
    assert [c.text for c in plain] == [f"a: q{i}" for i in range(20)]


async def test_a_function_gets_what_is_declared_and_is_refused_where_it_would_not_know_of_it(tmp_path: Path) -> None:
    arm = {"model": "mine", "sampling": {"temperature": 0.5}}
    (found,) = await answers(own(tmp_path, "told", arm, max_tokens=7), REQUESTS[:1])
    assert found.text == "mine 7 0.5"
    with pytest.raises(ConfigurationError, match=r"arms\.a\.model: own_.*:plain would not know of it"):
        await answers(own(tmp_path, "plain", arm), REQUESTS)
    with pytest.raises(ConfigurationError, match=r"generator\.min_tokens: own_.*:plain would not know of it"):
        await answers(own(tmp_path, "plain", min_tokens=3), REQUESTS)
    with pytest.raises(ConfigurationError, match=r"generator\.options: own_.*:plain would not know of it"):
        await answers(own(tmp_path, "plain", options={"seed": 1}), REQUESTS)
    with pytest.raises(ConfigurationError, match=r"generator\.device: own_.*:plain would not know of it"):
        await answers(own(tmp_path, "plain", device="cuda:1"), REQUESTS)


async def test_a_function_gets_conversations_whole_or_none(tmp_path: Path) -> None:
    turns = tuple(Message(role="user", content=said) for said in ("one", "two"))
    asked = msgspec.structs.replace(REQUESTS[0], messages=turns)
    (found,) = await answers(own(tmp_path, "talk"), [asked])
    assert found.text == "one | two"
    with pytest.raises(ConfigurationError, match=r"prompts\.messages: own_.*:plain takes prompts"):
        await answers(own(tmp_path, "plain"), [asked])


async def test_stop_strings_and_thinking_are_taken_out_of_what_a_function_returns(tmp_path: Path) -> None:
    (found,) = await answers(
        own(tmp_path, "plain", stop=["?"], thinking=["a:", "means"]), [request(0, "it means 4? No.")]
    )
    assert (found.thinking, found.text) == ("it", "4")


async def test_where_a_function_raises_only_what_fails_fails(tmp_path: Path) -> None:
    completed = await answers(own(tmp_path, "picky"), REQUESTS)
    failed = [c for c in completed if c.error]
    assert [c.request.seq for c in failed] == [7, 17]
    assert all("sevens are not for me" in (c.error or "") for c in failed)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing", "returned nothing for 20 prompts"),
        ("few", "returned 19 texts for 20 prompts"),
        ("wrong", "returned int instead of a text"),
        ("silent", "yielded NoneType instead of a text"),
        ("bare", "yielded str instead of a Completion"),
    ],
)
async def test_answers_that_are_none_are_errors_with_a_reason(tmp_path: Path, function: str, said: str) -> None:
    completed = await answers(own(tmp_path, function), REQUESTS)
    assert len(completed) == 20
    assert all(said in (c.error or "") for c in completed)


async def test_an_async_function_that_yields_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"at_once is async and returns .* Take async away"):
        await answers(own(tmp_path, "at_once"), REQUESTS)


@pytest.mark.parametrize("function", ["gone", "not_a_function"])
async def test_a_function_that_is_not_there_is_named(tmp_path: Path, function: str) -> None:
    with pytest.raises(ConfigurationError, match=r"generator\.backend: .*" + function):
        await answers(own(tmp_path, function), REQUESTS)


async def test_an_async_function_that_raises_on_one_request_fails_that_one_alone(tmp_path: Path) -> None:
    (tmp_path / "async_own.py").write_text(
        "from contraflow.decoder.generator import Completion\n"
        "async def answer(requests):\n"
        "    for request in requests:\n"
        "        if request.seq % 5 == 0:\n"
        "            raise ValueError('out of tune')\n"
        "        yield Completion(request, f'answer {request.seq}', 'stop')\n"
    )
    own = UserGenerator("tuned", Arm(), GeneratorSection(backend="async_own:answer"), tmp_path)
    await own.start()
    found = {c.request.seq: c async for c in own.generate([request(seq, "q") for seq in range(1, 21)])}
    assert sorted(seq for seq, c in found.items() if c.error) == [5, 10, 15, 20]
    assert len(found) == 20
