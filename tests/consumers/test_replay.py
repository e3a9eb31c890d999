"""What becomes of a consumer's answers and failures, on a real log; through the helper that its author has, too."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any, cast

import anyio
import anyio.to_thread
import msgspec
import pytest

from contraflow import Batch, ConsumerError, Embedding, Text, consumer
from contraflow.consumers.calling import open_caller
from contraflow.runtime.deadletters import TooManyDeadLetters
from contraflow.runtime.supervisor import RunStopped
from contraflow.testing import replay, text


class Score(msgspec.Struct, frozen=True, tag="score.v1"):
    text_id: str
    value: float


SAID = [f"text {i}" for i in range(20)]


def test_each_event_gets_its_output_in_order_with_its_key_async_or_plain() -> None:
    @consumer(topic="texts", output="lengths", batch=7)
    async def slow(texts: list[Text]) -> list[Score]:
        await anyio.sleep(0.001)
        return [Score(t.text_id, len(t.text)) for t in texts]

    @consumer(topic="texts", output="lengths", batch=7)
    def plain(texts: list[Text]) -> list[Score]:
        return [Score(t.text_id, len(t.text)) for t in texts]

    for one in (slow, plain):
        replayed = replay(one, SAID)
        assert [score.value for score in replayed.outputs] == [len(said) for said in SAID]
        assert replayed.keys == [f"replay-1:{i}" for i in range(1, 21)]
        assert replayed.dead == []


def test_keyed_outputs_are_as_many_as_they_are() -> None:
    @consumer(topic="texts", output="words", batch=7)
    def words(texts: list[Text]) -> list[tuple[str, Score]]:
        return [(word, Score(t.text_id, 1.0)) for t in texts for word in t.text.split()]

    assert replay(words, ["a b", "", "c"]).keys == ["a", "b", "c"]


def test_a_sink_gets_whole_batches_that_say_where_they_lie() -> None:
    seen: list[Batch[Text]] = []

    @consumer(topic="texts", batch=8)
    def sink(batch: Batch[Text]) -> None:
        seen.append(batch)

    assert replay(sink, SAID) == ([], [], [])
    assert [offset for batch in seen for offset in batch.offsets] == list(range(20))
    assert [(batch.first_offset, batch.last_offset) for batch in seen] == [(0, 7), (8, 15), (16, 19)]
    assert {(batch.run, batch.topic, batch.partition) for batch in seen} == {("replay-1", "texts", 0)}
    assert all(abs(stamp / 1000 - time.time()) < 60 for batch in seen for stamp in batch.timestamps)


def test_an_event_at_which_it_raises_goes_to_the_dead_letters_and_the_others_are_processed() -> None:
    @consumer(topic="texts", output="lengths")
    def picky(texts: list[Text]) -> list[Score]:
        if any("13" in t.text for t in texts):
            raise ValueError("unlucky")
        return [Score(t.text_id, 0.0) for t in texts]

    replayed = replay(picky, SAID)
    assert [(dead.event.text, dead.error) for dead in replayed.dead] == [("text 13", "unlucky")]
    assert len(replayed.outputs) == 19


def test_too_many_failures_stop_it() -> None:
    @consumer(topic="texts", batch=10)
    def broken(texts: list[Text]) -> None:
        raise ValueError("no model")

    with pytest.raises(RunStopped, match=r"50 in a row.*no model") as stopped:
        replay(broken, SAID * 5)
    assert isinstance(stopped.value.__cause__, TooManyDeadLetters)


def test_an_async_consumer_that_hangs_is_cancelled_at_its_limit_and_the_event_goes_to_the_dead_letters() -> None:
    cancelled: list[int] = []

    @consumer(topic="texts", output="lengths", limit=0.1)
    async def hangs(texts: list[Text]) -> list[Score]:
        if any("3" in t.text for t in texts):
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(len(texts))
        return [Score(t.text_id, 0.0) for t in texts]

    replayed = replay(hangs, SAID[:10])
    assert [(dead.event.text, dead.error) for dead in replayed.dead] == [("text 3", "it took longer than 0.1 seconds")]
    assert cancelled == [10, 1]


def test_a_consumer_that_hangs_at_every_event_stops() -> None:
    @consumer(topic="texts", limit=0.05)
    async def hangs(texts: list[Text]) -> None:
        await anyio.sleep_forever()

    with pytest.raises(
        ConsumerError, match=r"hangs hangs: it took longer than 0.05 seconds, for 3 events before this one"
    ):
        replay(hangs, SAID)


@pytest.mark.parametrize("kind", ["plain", "async", "deaf"])
def test_a_function_that_blocks_its_thread_or_goes_on_though_it_was_cancelled_stops_the_consumer_and_is_left_behind(
    kind: str,
) -> None:
    free = threading.Event()

    def block(texts: list[Text]) -> None:
        free.wait(30)

    async def block_all_the_same(texts: list[Text]) -> None:
        block(texts)

    async def go_on(texts: list[Text]) -> None:
        while not free.is_set():
            with suppress(BaseException):
                await anyio.sleep(0.05)

    function = {"plain": block, "async": block_all_the_same, "deaf": go_on}[kind]
    blocks: Any = consumer(topic="texts", limit=0.3, name="blocks")(function)
    started = time.monotonic()
    with pytest.raises(
        ConsumerError, match=r"consumer blocks blocks: .* 0.3 seconds. Nothing was committed of its 20 events"
    ):
        replay(blocks, SAID)
    assert time.monotonic() - started < 10
    free.set()


def test_a_slow_plain_function_is_not_taken_for_one_that_hangs() -> None:
    @consumer(topic="texts", limit=0.5, batch=1)
    def slow(texts: list[Text]) -> None:
        time.sleep(0.3)

    assert replay(slow, SAID[:5]).dead == []


Answer = Any  # what a user's function may return whatever it declares


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda texts: None, r"returned None; it declares list\[Score\]"),
        (lambda texts: "scores", r"returned a str; it declares list\[Score\]"),
        (lambda texts: [0.5 for _ in texts], r"returned a float in its list; it declares list\[Score\]"),
        (
            lambda texts: [Score(t.text_id, 1.0) for t in texts][1:],
            r"returned 19 events for 20; .*list\[tuple\[str, Score\]\]",
        ),
        (
            lambda texts: [Score(t.text_id, cast(Any, "high")) for t in texts],
            r"readers could not read: .*Expected `float`, got `str`",
        ),
        (lambda texts: [Score(t.text_id, cast(Any, object())) for t in texts], r"its readers could not read: .*object"),
    ],
)
def test_another_answer_than_declared_stops_it_and_nothing_is_written(answer: Answer, words: str) -> None:
    @consumer(topic="texts", output="scores")
    def wrong(texts: list[Text]) -> list[Score]:
        return answer(texts)  # type: ignore[no-any-return]  # that is the point

    with pytest.raises(ConsumerError, match=words) as refused:
        replay(wrong, SAID)
    assert "consumer wrong" in str(refused.value)
    assert "Nothing was committed of its 20 events (replay-1.texts 0, offsets 0 to 19)" in str(refused.value)


def test_a_keyed_consumer_and_a_sink_are_held_to_what_they_declare() -> None:
    @consumer(topic="texts", output="scores")
    def keyless(texts: list[Text]) -> list[tuple[str, Score]]:
        return [Score(t.text_id, 1.0) for t in texts]  # type: ignore[misc]  # that is the point

    @consumer(topic="texts")
    def talkative(texts: list[Text]) -> None:
        return texts  # type: ignore[return-value]  # that is the point

    with pytest.raises(ConsumerError, match=r"returned a Score in its list; it declares list\[tuple\[str, Score\]\]"):
        replay(keyless, SAID)
    with pytest.raises(ConsumerError, match=r"returned a list; it names no output and returns None"):
        replay(talkative, SAID)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), r"no fault of an event: .*No space left"),
        (TimeoutError("the service is away"), r"no fault of an event: .*the service is away"),
        (ConsumerError("the model is gone"), r"the model is gone. Nothing was committed"),
        (SystemExit(3), r"ended itself \(SystemExit\)"),
    ],
)
def test_what_is_no_fault_of_an_event_stops_it_and_buries_nothing(error: BaseException, words: str) -> None:
    @consumer(topic="texts")
    def unlucky(texts: list[Text]) -> None:
        raise error

    with pytest.raises(ConsumerError, match=words):
        replay(unlucky, SAID)


def test_it_runs_beside_our_loop_and_keeps_one_of_its_own() -> None:
    loops: set[tuple[int, int]] = set()

    @consumer(topic="texts", batch=5)
    async def where(texts: list[Text]) -> None:
        import asyncio

        loops.add((threading.get_ident(), id(asyncio.get_running_loop())))

    replay(where, SAID)
    assert len(loops) == 1
    assert threading.get_ident() not in {thread for thread, _ in loops}


async def test_the_helper_may_be_called_where_a_loop_runs() -> None:
    @consumer(topic="texts")
    def sink(texts: list[Text]) -> None: ...

    assert replay(sink, SAID).dead == []


def test_texts_may_be_made_as_a_decoder_would_write_them() -> None:
    @consumer(topic="texts", output="scores")
    def tuned(texts: list[Text]) -> list[Score]:
        return [Score(t.text_id, float(t.arm == "tuned")) for t in texts]

    assert [s.value for s in replay(tuned, [text("a"), text("a", arm="tuned", seq=2)]).outputs] == [0.0, 1.0]


def test_events_of_another_topic_are_refused() -> None:
    @consumer(topic="embeddings")
    def sink(embeddings: list[Embedding]) -> None: ...

    with pytest.raises(ConsumerError, match="reads Embedding events; got a Text"):
        replay(sink, [text("a")])
    with pytest.raises(ConsumerError, match="reads Embedding events; got a str"):
        replay(sink, ["a"])


def test_a_call_that_is_still_open_when_it_stops_is_cancelled() -> None:
    cleaned: list[bool] = []
    opened = threading.Event()

    async def call() -> None:
        @consumer(topic="texts")
        async def open_for_long(texts: list[Text]) -> None:
            opened.set()
            try:
                await anyio.sleep(30)
            finally:
                cleaned.append(True)

        async with open_caller(open_for_long) as caller, anyio.create_task_group() as tasks:
            tasks.start_soon(caller.call, [])
            await anyio.to_thread.run_sync(opened.wait)
            tasks.cancel_scope.cancel()

    anyio.run(call)
    assert cleaned == [True]


def test_nothing_is_left_behind() -> None:
    @consumer(topic="texts")
    def sink(texts: list[Text]) -> None: ...

    replay(sink, ["a"])
    assert not [thread.name for thread in threading.enumerate() if "sink" in thread.name or "log-writer" in thread.name]
