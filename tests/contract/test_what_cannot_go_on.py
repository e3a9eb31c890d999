"""What no restart can mend stops a service in words, on either log: nothing is written, and nothing is tried for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import anyio
import pytest

from contraflow.decoder.generator import Completion
from contraflow.decoder.service import Decoder
from contraflow.errors import ContraflowError, OutOfRange, PositionsLost
from contraflow.events import Request
from contraflow.log.limits import MAX_RECORD
from contraflow.log.protocol import Log, Outgoing, Partition, Position, Record
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes
from contraflow.runtime.singleton import Singleton
from contraflow.runtime.supervisor import RunStopped, Service, Supervisor
from contraflow.topics import specs
from contraflow.wire import Wire

WIRE = Wire("x-1", 2)
TEXTS, EMBEDDINGS = WIRE.all("texts")[0], WIRE.all("embeddings")[0]


@pytest.fixture
async def ring(log: Log) -> Log:
    await log.create_topics(specs(WIRE.run, WIRE.partitions))
    return log


class Copies:
    """Writes each text as often as its key says."""

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        return [Outgoing(EMBEDDINGS.topic, r.partition, r.key, (r.value or b"") * int(r.key)) for r in records]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        return [Outgoing(EMBEDDINGS.topic, record.partition, record.key, str(error).encode())]


class Unasked:
    """A generator that must not be asked."""

    model, capacity, continuous = "none", 1, False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        raise AssertionError("nothing may be decoded")


def embedder(log: Log, drain: Drain) -> Service:
    return partial(run_lanes, log, "x-1.embedder", TEXTS.topic, Copies(), drain, output=EMBEDDINGS.topic)


async def why_it_stops(log: Log, service: Service, kind: type[ContraflowError]) -> str:
    with anyio.fail_after(60), pytest.raises(RunStopped) as caught:
        await Supervisor(Drain()).run({"service": service})
    assert isinstance(caught.value.__cause__, kind)
    return str(caught.value)


async def read(log: Log, partition: Partition) -> list[Record]:
    reader = await log.reader({partition: None})
    try:
        return await reader.fetch(wait=0.0)
    finally:
        await reader.close()


async def append(log: Log, *records: Outgoing) -> list[int]:
    """Write, and wait until everybody sees it: on Kafka that is a moment after the commit."""
    offsets = await log.append(records)
    for where in {Partition(record.topic, record.partition) for record in records}:
        while not await read(log, where):  # noqa: ASYNC110  # the log is the only witness
            await anyio.sleep(0.02)
    return offsets


async def commit(log: Log, group: str, partition: Partition, offset: int) -> None:
    producer = await log.producer("test")
    await producer.commit([], group=group, positions={partition: Position(offset)})
    await producer.close()


async def test_output_without_a_position_would_be_written_twice(ring: Log) -> None:
    await append(ring, Outgoing(*TEXTS, "1", b"text"), Outgoing(*EMBEDDINGS, "1", b"its embedding"))
    said = await why_it_stops(ring, embedder(ring, Drain()), PositionsLost)
    assert "x-1.embedder has written output, and its positions in x-1.texts 0 are gone" in said
    assert "start another run" in said
    assert [r.value for r in await read(ring, EMBEDDINGS)] == [b"its embedding"]


async def test_a_decoder_that_has_answered_and_lost_its_position_asks_nothing_again(ring: Log) -> None:
    answer = Outgoing(*TEXTS, "x-1:2", b"an answer", {"contraflow-arm": b"tuned"})
    await append(ring, Outgoing(*WIRE.all("requests")[0], "x-1:2", b""), answer)
    decoder = Decoder(ring, WIRE, "tuned", Unasked(), Drain())
    said = await why_it_stops(ring, decoder.run, PositionsLost)
    assert "x-1.decoder.tuned has written output, and its positions in x-1.requests 0 are gone" in said
    assert [r.value for r in await read(ring, TEXTS)] == [b"an answer"]


async def test_what_other_arms_answered_is_no_output_of_this_one(ring: Log) -> None:
    await append(ring, Outgoing(*TEXTS, "x-1:2", b"of another arm", {"contraflow-arm": b"tuned"}))
    drain = Drain()
    decoder = Decoder(ring, WIRE, "base", Unasked(), drain)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decoder.run)
            await anyio.sleep(1.0)
            drain.request("test")


@pytest.mark.parametrize("left", ["output", "position"])
async def test_a_singleton_whose_changelog_was_emptied_does_not_start_over(ring: Log, left: str) -> None:
    if left == "output":
        await append(ring, Outgoing(*WIRE.all("requests")[1], "x-1:1", b"request"))
    else:
        await commit(ring, "x-1.sampler", WIRE.all("regions")[0], 3)
    singleton = Singleton(ring, WIRE, "sampler", ["regions"], "requests")
    with pytest.raises(PositionsLost, match=r"its positions in its changelog x-1\.state-sampler are gone"):
        await singleton.start()
    await singleton.close()


async def test_what_retention_dropped_is_not_skipped(ring: Log) -> None:
    offsets = await append(ring, *(Outgoing(*TEXTS, "1", b"text") for _ in range(10)))
    await commit(ring, "x-1.embedder", TEXTS, offsets[2])
    await ring.clean({TEXTS.topic: (None, 0)}, [])
    said = await why_it_stops(ring, embedder(ring, Drain()), OutOfRange)
    assert "out of range" in said
    assert "What was dropped cannot be read again" in said
    assert (await ring.positions("x-1.embedder", [TEXTS]))[TEXTS] == Position(offsets[2])


async def test_a_record_whose_output_no_log_takes_is_buried_and_its_pair_closed(ring: Log) -> None:
    half = b"x" * (MAX_RECORD // 2 + 1)
    await append(ring, Outgoing(*TEXTS, "1", b"text"), Outgoing(*TEXTS, "2", half), Outgoing(*TEXTS, "1", b"text"))
    drain = Drain()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(Supervisor(drain).run, {"embedder": embedder(ring, drain)}))
            while len(outputs := await read(ring, EMBEDDINGS)) < 3:  # noqa: ASYNC110  # the log is the only witness
                await anyio.sleep(0.05)
            drain.request("test")
    assert [r.value for r in (outputs[0], outputs[2])] == [b"text", b"text"]
    assert outputs[1].value is not None
    assert b"has 8,388,610 bytes; the limit is 8,388,608" in outputs[1].value
    (dead,) = await read(ring, WIRE.all("texts.dead")[0])
    assert dead.value == half
