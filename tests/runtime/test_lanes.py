"""The loop of a stateless service on a real log: exactly once, dead letters with limits, drain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from contraflow.embedder.cache import EmbeddingCache
from contraflow.embedder.hashed import HashedEncoder
from contraflow.errors import ConfigurationError, ContraflowError, GeneratorError, LogError
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing, Partition, Record
from contraflow.runtime.deadletters import DeadLetterLimit, TooManyDeadLetters
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import process_or_bury, run_lanes
from contraflow.topics import dead_letters, specs

RUN = "x-1"
IN, OUT = f"{RUN}.texts", f"{RUN}.embeddings"


class Upper:
    """Turns records to upper case; one that says ``bad`` cannot be processed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        if any(b"bad" in (r.value or b"") for r in records):
            raise ValueError("bad record")
        self.seen += [r.key for r in records]
        return [Outgoing(OUT, r.partition, r.key, (r.value or b"").upper()) for r in records]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        return [Outgoing(OUT, record.partition, record.key, b"CLOSED")]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log")
    await opened.create_topics(specs(RUN, 2))
    yield opened
    await opened.close()


async def send(log: EmbeddedLog, values: Sequence[bytes]) -> None:
    producer = await log.producer("test")
    await producer.commit([Outgoing(IN, i % 2, str(i), value) for i, value in enumerate(values)])
    await producer.close()


async def read(log: EmbeddedLog, topic: str) -> list[Record]:
    reader = await log.reader({Partition(topic, n): None for n in range(await log.partitions(topic))})
    try:
        return await reader.fetch(10_000, wait=0.0)
    finally:
        await reader.close()


async def until(log: EmbeddedLog, service: Upper, count: int) -> None:
    drain = Drain()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(run_lanes, log, f"{RUN}.upper", IN, service, drain, batch=7))
            while len(await read(log, OUT)) < count:  # noqa: ASYNC110 - it waits for another process's view of the log
                await anyio.sleep(0.01)
            drain.request("test")


async def test_every_record_is_processed_once_also_over_restarts(log: EmbeddedLog) -> None:
    await send(log, [b"a"] * 50)
    first, second = Upper(), Upper()
    await until(log, first, 20)
    await until(log, second, 50)
    assert sorted(first.seen + second.seen, key=int) == [str(i) for i in range(50)]
    assert len(await read(log, OUT)) == 50


async def test_a_record_that_cannot_be_processed_goes_to_the_dead_letters_and_is_closed_downstream(
    log: EmbeddedLog,
) -> None:
    await send(log, [b"a", b"a", b"bad one", b"a"])
    await until(log, Upper(), 4)
    (dead,) = await read(log, dead_letters(IN))
    assert dead.value == b"bad one"
    assert dead.headers["contraflow-error"] == b"bad record"
    assert dead.headers["contraflow-origin-topic"] == IN.encode()
    assert dead.headers["contraflow-origin-offset"] == b"1"
    closed = [r.key for r in await read(log, OUT) if r.value == b"CLOSED"]
    assert closed == ["2"]


async def test_a_topic_is_not_emptied_into_the_dead_letters(log: EmbeddedLog) -> None:
    await send(log, [b"bad"] * 300)
    with anyio.fail_after(10), pytest.raises(BaseExceptionGroup) as caught:
        await run_lanes(log, f"{RUN}.upper", IN, Upper(), Drain())
    assert caught.group_contains(TooManyDeadLetters, match=r"50 in a row.*Nothing was committed of this batch")
    assert len(await read(log, dead_letters(IN))) < 100


def test_more_than_a_tenth_of_the_last_500_is_too_many() -> None:
    limit = DeadLetterLimit("t")
    with pytest.raises(TooManyDeadLetters, match="of the last 500 records of t"):
        for number in range(1000):
            limit.failed("boom") if number % 8 == 0 else limit.passed()
    within = DeadLetterLimit("t")
    for number in range(1000):
        within.failed("boom") if number % 11 == 0 else within.passed()


@pytest.mark.parametrize("fault", [ConfigurationError, GeneratorError, LogError])
async def test_what_is_the_services_own_fault_buries_nothing(fault: type[ContraflowError]) -> None:
    class Broken(Upper):
        async def process(self, records: Sequence[Record]) -> list[Outgoing]:
            raise fault("embedder.model: gone")

    record = Record(IN, 0, 0, "k", b"v", {}, 0)
    with pytest.raises(fault):
        await process_or_bury(Broken(), [record, record], DeadLetterLimit(IN))


class Cached(Upper):
    """Looks every record up in an embedding cache before it answers."""

    def __init__(self, cache: EmbeddingCache) -> None:
        super().__init__()
        self._cache = cache

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        self._cache.embed([r.key for r in records])
        return await super().process(records)


async def test_a_failing_embedding_cache_buries_no_text_and_the_next_start_answers_them_all(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    await send(log, [b"a"] * 20)
    cache = EmbeddingCache(HashedEncoder(), tmp_path / "cache")
    cache.close()
    with anyio.fail_after(10), pytest.raises(BaseExceptionGroup) as caught:
        await run_lanes(log, f"{RUN}.upper", IN, Cached(cache), Drain())
    assert caught.group_contains(LogError, match="embedding cache")
    assert await read(log, dead_letters(IN)) == await read(log, OUT) == []
    with EmbeddingCache(HashedEncoder(), tmp_path / "cache") as cache:
        await until(log, Cached(cache), 20)
