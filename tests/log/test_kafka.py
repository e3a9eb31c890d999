"""What the Kafka log promises under faults, each on a real broker: killed, frozen, too small; members come and go."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from brokers import Broker, own_kafka
from contraflow.errors import Fenced, LogError
from contraflow.log.kafka import KafkaConnection, KafkaLog
from contraflow.log.protocol import Outgoing, Partition, Position, Record
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

PARTITIONS = 4
ALL = [Partition("in", i) for i in range(PARTITIONS)]
Open = Callable[[], Awaitable[KafkaLog]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module's own, which its tests kill, freeze and start again."""
    home = own_kafka()
    broker = Broker(home, tmp_path_factory.mktemp("own"))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@asynccontextmanager
async def opened(servers: str) -> AsyncIterator[Open]:
    """Opens logs on a cluster, each as another process would; all see the same topics."""
    prefix = f"t-{uuid4().hex[:12]}-"
    async with AsyncExitStack() as stack:

        async def go() -> KafkaLog:
            log = await KafkaLog.open(KafkaConnection(servers, prefix=prefix))
            stack.push_async_callback(log.close)
            await log.create_topics(
                [("in", PARTITIONS, "delete"), ("out", PARTITIONS, "delete"), ("in.dead", 1, "delete")]
            )
            return log

        yield go


class Copies:
    """A service that writes one record for each that it reads, and counts its batches."""

    def __init__(self, pause: float = 0.0) -> None:
        self.batches = 0
        self._pause = pause

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        self.batches += 1
        await anyio.sleep(self._pause)
        return [Outgoing("out", r.partition, r.key, r.value) for r in records]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        raise AssertionError("no record fails here")


class Member:
    """A member of the group that copies, until it is asked to leave."""

    def __init__(self, log: KafkaLog, pause: float = 0.05) -> None:
        self.log = log
        self.service = Copies(pause)
        self.drain = Drain()

    async def run(self) -> None:
        await run_lanes(self.log, "copiers", "in", self.service, self.drain, batch=20, interval=0.1)

    def leave(self) -> None:
        self.drain.request("test")


async def send(log: KafkaLog, count: int, first: int = 0) -> None:
    for start in range(first, first + count, 200):
        await log.append(
            [Outgoing("in", i % PARTITIONS, str(i), b"v") for i in range(start, min(start + 200, first + count))]
        )


async def copies(log: KafkaLog) -> Counter[str]:
    reader = await log.reader({Partition("out", i): None for i in range(PARTITIONS)})
    found: Counter[str] = Counter()
    try:
        while records := await reader.fetch(5000, wait=0.0):
            found.update(r.key for r in records)
    finally:
        await reader.close()
    return found


async def until(true: Callable[[], Awaitable[bool]], limit: float = 60.0) -> float:
    """Seconds until it is true."""
    started = time.monotonic()
    with anyio.fail_after(limit):
        while not await true():  # noqa: ASYNC110  # the cluster is the only witness
            await anyio.sleep(0.05)
    return time.monotonic() - started


def everything(count: int) -> Counter[str]:
    return Counter(map(str, range(count)))


async def restart(broker: Broker) -> None:
    broker.signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(partial(broker.start, wait=False))


async def test_committed_positions_are_never_none_while_the_coordinator_loads(own: Broker) -> None:
    async with opened(own.servers) as go:
        log = await go()
        producer = await log.producer("worker")
        groups = [f"g{i}" for i in range(40)]
        for number, group in enumerate(groups):
            await producer.commit([], group=group, positions={ALL[0]: Position(number + 1, "meta", number)})
        await restart(own)
        found: dict[str, dict[Partition, Position]] = {}

        async def ask(group: str) -> None:
            found[group] = await log.positions(group, [ALL[0]])

        with anyio.fail_after(60):
            while len(found) < len(groups):  # however long the broker takes on a busy machine
                try:
                    async with anyio.create_task_group() as tasks:
                        for group in groups:
                            tasks.start_soon(ask, group)
                except* LogError:
                    await anyio.sleep(0.1)
        assert found == {g: {ALL[0]: Position(i + 1, "meta", i)} for i, g in enumerate(groups)}
        await producer.close()


async def test_a_refused_record_forbids_the_commit_and_the_successor_goes_on(kafka: str) -> None:
    async with opened(kafka) as go:
        log = await go()
        prefix = log._connection.prefix
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        small = NewTopic(prefix + "small", 1, 1, topic_configs={"max.message.bytes": "10000"})
        await admin.create_topics([small])
        await admin.close()
        await until(lambda: exists(log, "small"))
        producer = await log.producer("worker")
        outputs = [Outgoing("out", 0, "beside", b"v"), Outgoing("small", 0, "big", b"x" * 50_000)]
        with pytest.raises(LogError, match=r"larger than its topic takes\. Raise the topic's max\.message\.bytes"):
            await producer.commit(outputs, group="g", positions={ALL[0]: Position(1)})
        with pytest.raises(LogError, match="ended with an earlier failure"):
            await producer.commit([outputs[0]])
        successor = await log.producer("worker")
        assert await copies(log) == {}
        assert await log.positions("g", [ALL[0]]) == {}
        await successor.commit([outputs[0]], group="g", positions={ALL[0]: Position(1)})
        assert await copies(log) == {"beside": 1}
        assert await log.positions("g", [ALL[0]]) == {ALL[0]: Position(1)}
        await successor.close()


async def exists(log: KafkaLog, topic: str) -> bool:
    try:
        return await log.partitions(topic) > 0
    except LogError:
        return False


async def test_a_producer_that_is_fenced_or_cut_off_in_a_commit_leaves_no_task_and_no_traceback_behind(
    kafka: str,
) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    many = [Outgoing("in", i % PARTITIONS, "k", bytes(500)) for i in range(5000)]
    async with opened(kafka) as open_log:
        log = await open_log()
        tasks = asyncio.all_tasks()
        old = await log.producer("owner")
        await old.commit([Outgoing("in", 0, "k", b"v")])
        new = await log.producer("owner")
        with pytest.raises(Fenced):
            await old.commit(many)
        await new.close()
        cut = await log.producer("cut")
        with anyio.move_on_after(0.01):
            await cut.commit(many)
        await cut.close()
        await anyio.sleep(0.1)
        left = asyncio.all_tasks() - tasks
    del old, new, cut
    gc.collect()
    assert not left
    assert not said


async def test_members_share_a_topic_and_who_stays_takes_over_with_nothing_done_twice(kafka: str) -> None:
    async with opened(kafka) as go:
        first, second = Member(await go()), Member(await go())
        await send(first.log, 4000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.run)
            tasks.start_soon(second.run)
            await until(lambda: both_work(first, second))
            first.leave()
            batches = first.service.batches
            await until(lambda: all_copied(second.log, 4000))
            second.leave()
        assert await copies(second.log) == everything(4000)
        assert first.service.batches - batches <= 2 * PARTITIONS, "who was asked to leave takes nothing more"


async def both_work(*members: Member) -> bool:
    return all(member.service.batches > 2 for member in members)


async def all_copied(log: KafkaLog, count: int) -> bool:
    return len(await copies(log)) >= count


@pytest.mark.long
async def test_a_broker_that_dies_and_comes_back_loses_nothing_and_does_nothing_twice(own: Broker) -> None:
    async with opened(own.servers) as go:
        members = [Member(await go()), Member(await go())]
        log = members[0].log
        await send(log, 4000)
        async with anyio.create_task_group() as tasks:
            for member in members:
                tasks.start_soon(member.run)
            await until(lambda: both_work(*members))
            await restart(own)
            await until(lambda: answers(log), 90)
            before = len(await copies(log))
            await until(lambda: all_copied(log, 4000), 90)
            for member in members:
                member.leave()
        assert before < 4000, "it died in the middle"
        assert await copies(log) == everything(4000)


async def answers(log: KafkaLog) -> bool:
    try:
        return bool(await log.ends(ALL))
    except LogError:
        return False


async def test_a_member_that_joins_is_not_held_up_by_those_that_wait_for_records(
    kafka: str, evidence: Callable[[str, str], None]
) -> None:
    async with opened(kafka) as go:
        first, second = Member(await go(), 0.0), Member(await go(), 0.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.run)
            await send(first.log, 40)
            await until(lambda: all_copied(first.log, 40))  # from here on all its lanes wait in a fetch
            tasks.start_soon(second.run)
            joined = time.monotonic()
            sent = 40
            while not second.service.batches:
                await send(first.log, 8, sent)
                sent += 8
                await anyio.sleep(0.05)
            took = time.monotonic() - joined
            await until(lambda: all_copied(first.log, sent))
            first.leave()
            second.leave()
        assert await copies(first.log) == everything(sent)
    assert took < 10
    evidence(
        f"{took:.1f} s from the start of a second member to its first record, all lanes of the first in a fetch", "10 s"
    )


@pytest.mark.parametrize("idle", [3.0, pytest.param(330.0, marks=[pytest.mark.long, pytest.mark.timeout(480)])])
async def test_a_standby_takes_over_however_long_it_has_had_nothing_to_do(kafka: str, idle: float) -> None:
    """A client that never polls leaves its group after five minutes, unless it is told otherwise."""
    async with opened(kafka) as go:
        log = await go()
        await log.create_topics([("one", 1, "delete")])
        first, standby = await log.join("g", "one"), await (await go()).join("g", "one")
        await until(lambda: settled(first.partitions(), standby.partitions()))
        owner, waits = (first, standby) if await first.partitions() else (standby, first)
        assert await waits.partitions() == frozenset()
        await anyio.sleep(idle)
        await owner.close()
        with anyio.fail_after(10):
            assert await waits.partitions(frozenset()) == {Partition("one", 0)}
        await waits.close()


async def settled(*of_members: Awaitable[frozenset[Partition]]) -> bool:
    return sum([len(await partitions) for partitions in of_members]) == 1


@pytest.mark.parametrize("how", [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
async def test_a_log_is_closed_quickly_although_its_broker_is_gone(own: Broker, how: signal.Signals) -> None:
    async with opened(own.servers) as go:
        log = await go()
        producer = await log.producer("worker")
        await producer.commit([Outgoing("out", 0, "a", b"v")])
        own.signal(how)
        try:
            started = time.monotonic()
            await producer.close()
            closed = time.monotonic() - started
            await log.close()
            assert closed < 5
            assert time.monotonic() - started < 20
        finally:
            if how is signal.SIGSTOP:
                own.signal(signal.SIGCONT)
            else:
                await anyio.to_thread.run_sync(own.start)


@pytest.mark.long
async def test_a_commit_that_nobody_answers_fails_in_time_and_is_there_whole_or_not_at_all(own: Broker) -> None:
    async with opened(own.servers) as go:
        log = await go()
        producer = await log.producer("worker")
        await producer.commit([Outgoing("out", 0, "a", b"v")], group="g", positions={ALL[0]: Position(1)})
        own.signal(signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(LogError, match="does not answer"):
                await producer.commit([Outgoing("out", 0, "b", b"v")], group="g", positions={ALL[0]: Position(2)})
        finally:
            own.signal(signal.SIGCONT)
        assert time.monotonic() - started < 40
        with pytest.raises(LogError, match="ended with an earlier failure"):
            await producer.commit([Outgoing("out", 0, "c", b"v")])
        await until(lambda: answers(log), 90)
        await (await log.producer("worker")).close()
        assert len(await copies(log)) == (await log.positions("g", [ALL[0]]))[ALL[0]].offset
