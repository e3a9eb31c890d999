"""The decoder on a real log: every request answered once, whatever the generator does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from contraflow.decoder.generator import Completion
from contraflow.decoder.service import Decoder
from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request, Text, decode
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing
from contraflow.results import read_topic
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain
from contraflow.topics import specs
from contraflow.wire import Wire, partition_of

WIRE = Wire("x-1", 4)
COUNT = 120


class Model:
    """A generator whose ``fails`` says what happens to a request on its n-th try."""

    model = "fake"

    def __init__(self, fails: str = "", *, continuous: bool = False) -> None:
        self.fails = fails
        self.continuous = continuous
        self.capacity = 16
        self.tries: dict[int, int] = {}
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.fails == "dies once" and self.starts in (2, 3):
            raise GeneratorError("killed while it started")

    async def close(self) -> None:
        pass

    def _kills(self, seq: int, tried: int) -> bool:
        if self.fails == "first try":
            return seq % 10 == 0 and tried == 1
        if self.fails == "dies once":
            return self.starts == 1
        return self.fails == "dies" or (self.fails == "poison" and seq == 77)

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        if self.fails == "poison at once" and any(request.seq == 77 for request in requests):
            self.tries[77] = self.tries.get(77, 0) + 1
            raise RuntimeError("engine on fire")
        for request in reversed(requests):
            await anyio.sleep(0.01 if self.fails == "poison at once" else 0.0)
            if self.fails == "stalls" and len(self.tries) == 40:
                await anyio.sleep_forever()
            tried = self.tries[request.seq] = self.tries.get(request.seq, 0) + 1
            one_in_ten = request.seq % 10 == 0
            if one_in_ten and self.fails == "error":
                yield Completion(request, "", "error", error="out of tune")
            elif one_in_ten and self.fails == "silent":
                continue
            elif self._kills(request.seq, tried):
                raise RuntimeError("engine on fire")
            else:
                half = "\ud83d" if self.fails == "half a character" else ""
                yield Completion(request, f"answer {request.seq}{half}", "stop", 1, 2)


class Engine:
    """A continuous generator that answers when the test says so."""

    model, continuous = "fake", True

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.asked: dict[int, anyio.Event] = {}

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        (request,) = requests
        answer = self.asked[request.seq] = anyio.Event()
        try:
            await answer.wait()
        finally:
            del self.asked[request.seq]
        yield Completion(request, f"answer {request.seq}", "stop")

    async def holds(self, count: int) -> list[int]:
        """Which it was asked, once it holds so many."""
        with anyio.fail_after(5):
            while len(self.asked) != count:  # noqa: ASYNC110 - nothing but the decoder tells
                await anyio.sleep(0.005)
        return sorted(self.asked)

    async def is_full(self) -> None:
        """Nothing more comes, although more waits."""
        await self.holds(self.capacity)
        await anyio.sleep(0.05)
        await self.holds(self.capacity)

    def answer(self, *seqs: int) -> None:
        for seq in seqs:
            self.asked[seq].set()


@pytest.fixture(params=[False, True], ids=["batches", "continuous"])
def continuous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log")
    await opened.create_topics(specs("x-1", WIRE.partitions))
    producer = await opened.producer("test")
    await producer.commit([_request(seq) for seq in range(1, COUNT + 1)])
    await producer.close()
    yield opened
    await opened.close()


def _request(seq: int) -> Outgoing:
    request = Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        messages=(Message(role="user", content="q"),),
        draw=seq,
        seed=seq,
        epoch=1,
        origin=Origin.EXPLORE,
    )
    return WIRE.out("requests", request.request_id, request, partition=partition_of(seq, WIRE.partitions))


async def texts(log: EmbeddedLog) -> list[Text]:
    return [decode(r.value or b"", Text) for r in await read_topic(log, WIRE, "texts")]


async def no_time(seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


async def run(log: EmbeddedLog, model: Model, *, until: int = COUNT, grace: float = 10.0, tries: int = 3) -> list[Text]:
    drain = Drain(grace)
    decoder = Decoder(log, WIRE, "tuned", model, drain, tries=tries, clock=Clock(sleep=no_time))
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decoder.run)
            while len(found := await texts(log)) < until:  # noqa: ASYNC110 - the log is the only witness
                await anyio.sleep(0.01)
            drain.request("test")
    return found if until < COUNT else await texts(log)


async def test_every_request_is_answered_once(log: EmbeddedLog, continuous: bool) -> None:
    found = await run(log, Model(continuous=continuous))
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))
    assert all(t.text == f"answer {t.seq}" and t.error is None for t in found)


async def test_draining_in_the_middle_and_going_on_answers_nothing_twice(log: EmbeddedLog, continuous: bool) -> None:
    before = await run(log, Model("stalls", continuous=continuous), until=20, grace=0.0)
    found = await run(log, Model(continuous=continuous))
    assert 20 <= len(before) <= 40
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))


async def test_what_fails_three_times_is_answered_by_an_error_that_says_why(log: EmbeddedLog, continuous: bool) -> None:
    model = Model("error", continuous=continuous)
    failed = [t for t in await run(log, model) if t.error]
    assert sorted(t.seq for t in failed) == list(range(10, COUNT + 1, 10))
    assert {t.error for t in failed} == {"out of tune"}
    assert {model.tries[t.seq] for t in failed} == {3}


async def test_a_request_that_is_left_unanswered_is_asked_again_and_then_failed(
    log: EmbeddedLog, continuous: bool
) -> None:
    failed = [t for t in await run(log, Model("silent", continuous=continuous)) if t.error]
    assert len(failed) == COUNT // 10
    assert {t.error for t in failed} == {"the generator returned no answer"}


async def test_an_engine_that_dies_now_and_then_is_started_again_and_nothing_is_lost(
    log: EmbeddedLog, continuous: bool
) -> None:
    model = Model("first try", continuous=continuous)
    model.capacity = COUNT
    found = await run(log, model)
    assert model.starts > COUNT // 10
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))
    assert not [t for t in found if t.error]


@pytest.mark.parametrize("interrupted", [True, False])
async def test_an_engine_that_is_interrupted_or_waits_while_it_starts_is_neither_waited_for_nor_a_failure_of_a_drain(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    drain, model = Drain(), Model()

    async def fail() -> None:
        with anyio.CancelScope(shield=True):  # as a thread, which is waited for
            await drain.wait()
        raise GeneratorError("Ctrl-C has reached its process")

    monkeypatch.setattr(model, "start", fail if interrupted else anyio.sleep_forever)
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Decoder(log, WIRE, "tuned", model, drain).run)
            await anyio.sleep(0.05)
            drain.request("SIGINT")
    assert not await texts(log)


async def test_an_engine_that_waits_to_start_again_is_not_waited_for_either(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, model = Drain(grace=60), Model("dies")
    began = anyio.Event()

    async def start() -> None:
        if model.starts:
            began.set()
            await anyio.sleep_forever()
        model.starts += 1

    monkeypatch.setattr(model, "start", start)
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Decoder(log, WIRE, "tuned", model, drain).run)
            await began.wait()
            drain.request("SIGINT")


async def test_a_request_that_kills_the_engine_whenever_it_is_asked_fails_alone(
    log: EmbeddedLog, continuous: bool
) -> None:
    found = await run(log, Model("poison", continuous=continuous))
    assert [t.seq for t in found if t.error] == [77]
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))


async def test_a_request_that_kills_before_anything_is_answered_is_found_within_the_restarts(
    log: EmbeddedLog, continuous: bool
) -> None:
    model = Model("poison at once", continuous=continuous)
    model.capacity = COUNT
    found = await run(log, model)
    assert [t.seq for t in found if t.error] == [77]
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))
    assert model.tries[77] == 5  # with all, with a few, and three times alone
    assert model.starts == 1 + 5


async def test_what_was_asked_together_is_not_blamed_for_a_death_even_if_the_engine_dies_again_as_it_starts(
    log: EmbeddedLog, continuous: bool
) -> None:
    model = Model("dies once", continuous=continuous)
    found = await run(log, model, tries=1)
    assert model.starts == 4
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))
    assert not [t for t in found if t.error]


async def test_an_engine_that_keeps_dying_stops_the_service_and_says_so(log: EmbeddedLog, continuous: bool) -> None:
    decoder = Decoder(log, WIRE, "tuned", Model("dies", continuous=continuous), Drain(), clock=Clock(sleep=no_time))
    with anyio.fail_after(10), pytest.raises(BaseExceptionGroup) as caught:
        await decoder.run()
    assert caught.group_contains(
        GeneratorError, match=r"arm 'tuned' died 6 times in a row.*engine on fire.*What was decoded is kept"
    )


async def test_a_request_that_cannot_be_read_is_closed_and_buried(log: EmbeddedLog, continuous: bool) -> None:
    producer = await log.producer("test")
    await producer.commit([Outgoing(WIRE.topic("requests"), 0, f"x-1:{COUNT + 1}", b"no event")])
    found = await run(log, Model(continuous=continuous), until=COUNT + 1)
    (closed,) = [t for t in found if t.seq == COUNT + 1]
    assert closed.error is not None
    assert "could not be read" in closed.error


async def test_half_a_character_is_replaced_and_its_request_is_answered(log: EmbeddedLog, continuous: bool) -> None:
    found = await run(log, Model("half a character", continuous=continuous))
    assert sorted(t.seq for t in found) == list(range(1, COUNT + 1))
    assert found[0].text == f"answer {found[0].seq}?"


async def test_a_continuous_generator_is_asked_as_answers_make_room_and_they_are_published_at_once(
    log: EmbeddedLog,
) -> None:
    engine, drain = Engine(4), Drain(0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder(log, WIRE, "tuned", engine, drain).run)
        await engine.is_full()
        asked = await engine.holds(4)
        engine.answer(asked[1], asked[3])
        while len(found := await texts(log)) < 2:  # noqa: ASYNC110 - the log is the only witness
            await anyio.sleep(0.01)
        assert sorted(t.seq for t in found) == [asked[1], asked[3]]
        await engine.is_full()
        assert {asked[0], asked[2]} < set(engine.asked)
        drain.request("test")


async def test_a_continuous_generator_may_change_how_many_it_holds(log: EmbeddedLog) -> None:
    engine, drain = Engine(2), Drain(0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder(log, WIRE, "tuned", engine, drain).run)
        await engine.is_full()
        engine.capacity = 8
        engine.answer(*(await engine.holds(2))[:1])
        await engine.is_full()
        engine.capacity = 3
        engine.answer(*(await engine.holds(8))[:6])
        await engine.is_full()
        drain.request("test")


async def test_requests_that_come_while_others_are_open_are_asked_at_once(log: EmbeddedLog) -> None:
    engine, drain = Engine(COUNT + 8), Drain(0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder(log, WIRE, "tuned", engine, drain).run)
        await engine.holds(COUNT)
        producer = await log.producer("more")
        await producer.commit([_request(COUNT + 1)])
        assert (await engine.holds(COUNT + 1))[-1] == COUNT + 1
        drain.request("test")


async def test_draining_waits_for_what_a_continuous_generator_holds_and_asks_no_more(log: EmbeddedLog) -> None:
    engine, drain = Engine(8), Drain(10.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder(log, WIRE, "tuned", engine, drain).run)
        asked = await engine.holds(8)
        drain.request("test")
        engine.answer(*asked)
    assert sorted(t.seq for t in await texts(log)) == asked
