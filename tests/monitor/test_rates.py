"""Rates and lag against independent counts: the records' own timestamps, and Kafka's own tool."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from brokers import Broker, own_kafka
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.kafka import KafkaConnection, KafkaLog
from contraflow.log.protocol import Log, Outgoing, Partition, Position, Record
from contraflow.monitor.topics import flows, sample
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes

pytestmark = pytest.mark.timeout(120)

RUN = "r-1"
IN, OUT = f"{RUN}.texts", f"{RUN}.embeddings"
TOPICS = [(IN, 2, "delete"), (OUT, 2, "delete"), (f"{RUN}.source", 1, "delete")]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    opened: Log
    if request.param == "embedded":
        opened = await EmbeddedLog.open(tmp_path)
    else:
        opened = await KafkaLog.open(KafkaConnection(request.getfixturevalue("kafka"), prefix=f"t-{uuid4().hex[:12]}-"))
    try:
        await opened.create_topics(TOPICS)  # type: ignore[arg-type]  # mypy infers str for the clean-up
        yield opened
    finally:
        await opened.close()


class Copy:
    """Writes what it reads to the same partition."""

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        return [Outgoing(OUT, record.partition, record.key, record.value) for record in records]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        return []


async def write(log: Log, name: str, partition: int) -> None:
    """About 400 records a second in transactions of 10, as a transactional producer of its own."""
    producer = await log.producer(name)
    try:
        place, key = Partition(f"{RUN}.source", 0), f"{RUN}.{name}"
        for i in range(10_000):
            outputs = [Outgoing(IN, partition, str(j), b"x" * 100) for j in range(10)]
            await producer.commit(outputs, group=key, positions={place: Position(i, records=i)})
            await anyio.sleep(0.025)
    finally:
        with anyio.CancelScope(shield=True):
            await producer.close()


async def counted(log: Log, topic: str, since: float, until: float) -> tuple[int, int]:
    """Records of a topic that were written in an interval of the wall clock, and their bytes: all is read."""
    records = await read(log, [Partition(topic, number) for number in range(2)])
    within = [record for record in records if since * 1000 < record.timestamp <= until * 1000]
    return len(within), sum(len(record.key) + len(record.value or b"") for record in within)


async def read(log: Log, partitions: Sequence[Partition]) -> list[Record]:
    """Every record that is committed."""
    reader = await log.reader(dict.fromkeys(partitions))
    records: list[Record] = []
    while found := await reader.fetch(5000, wait=0.5):
        records += found
    await reader.close()
    return records


@pytest.mark.long
@pytest.mark.parametrize("seconds", [12.0])
async def test_rates_agree_with_the_records_timestamps_within_two_percent(log: Log, seconds: float) -> None:
    drain = Drain()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run_lanes, log, f"{RUN}.copy", IN, Copy(), drain))
        writing = anyio.CancelScope()
        tasks.start_soon(_writing, log, writing)
        await anyio.sleep(2)
        clock = time.time() - time.monotonic()
        before = await sample(log, RUN)
        await anyio.sleep(seconds)
        after = await sample(log, RUN)
        topics, groups = await flows(log, before, after, RUN)
        writing.cancel()
        drain.request("measured")
    rows = {row.topic: row for row in topics}
    [copy] = [row for row in groups if (row.group, row.topic) == ("copy", "texts")]
    for topic in ("texts", "embeddings"):
        records, size = await counted(log, f"{RUN}.{topic}", before.at + clock, after.at + clock)
        elapsed = after.at - before.at
        assert records > 1000
        assert rows[topic].records_s == pytest.approx(records / elapsed, rel=0.02)
        assert rows[topic].bytes_s == pytest.approx(size / elapsed, rel=0.02)
    read = rows["texts"].read_s
    assert read == copy.records_s == pytest.approx(rows["embeddings"].records_s, rel=0.02)


async def _writing(log: Log, scope: anyio.CancelScope) -> None:
    with scope:
        async with anyio.create_task_group() as tasks:
            for partition in range(2):
                tasks.start_soon(write, log, f"writer-{partition}", partition)


@pytest.mark.kafka
async def test_lag_is_that_of_kafkas_own_tool_less_the_records_that_control_transactions(
    kafka: str, tmp_path: Path
) -> None:
    home = own_kafka()
    prefix = f"t-{uuid4().hex[:12]}-"
    async with await KafkaLog.open(KafkaConnection(kafka, prefix=prefix)) as log:
        await log.create_topics([(IN, 1, "delete")])
        writer, reader = await log.producer("writer"), await log.producer("reader")
        for transaction in range(7):  # of 5 records, and one that ends it
            await writer.commit([Outgoing(IN, 0, f"{transaction}-{i}", b"x") for i in range(5)])
        records = await read(log, [Partition(IN, 0)])
        assert len(records) == 35
        for done, unread, controls in ((3, 20, 5), (7, 0, 1)):
            # after the last record, and before what ends its transaction, which is never read
            at = {Partition(IN, 0): Position(records[5 * done - 1].offset + 1, records=5 * done)}
            await reader.commit([], group=f"{RUN}.g", positions=at)
            now = await sample(log, RUN)
            [row] = (await flows(log, now, now, RUN))[1]
            assert row.lag == unread
            assert _lag_by_tool(home, kafka, f"{prefix}{RUN}.g") == unread + controls
        for producer in (writer, reader):
            await producer.close()


def _lag_by_tool(home: Path, servers: str, group: str) -> int:
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    command = [*Broker(home, home)._java(), tool, "--bootstrap-server", servers, "--describe", "--group", group]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    heads, row = (line.split() for line in said.strip().splitlines()[-2:])
    return int(row[heads.index("LAG")])
