"""Waiting for a fuller batch: by the age of its first record, and never longer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio

from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing, Record
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes

TOPIC = "x-1.texts"


class Sizes:
    """Notes how many records come at once, and when."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.came = anyio.Event()

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        self.seen.append(len(records))
        self.came.set()
        return []

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        return []


async def send(log: EmbeddedLog, count: int) -> None:
    await log.append([Outgoing(TOPIC, 0, str(i), b"") for i in range(count)])


async def test_few_records_wait_for_more_until_the_first_is_old_enough_and_a_full_batch_waits_for_nothing(
    tmp_path: Path,
) -> None:
    async with await EmbeddedLog.open(tmp_path) as log:
        await log.create_topics([(TOPIC, 1, "delete")])
        service, drain = Sizes(), Drain()
        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(run_lanes, log, "x-1.sizes", TOPIC, service, drain, batch=10, gather=1.0))
                started = time.monotonic()
                await send(log, 3)
                await anyio.sleep(0.2)
                await send(log, 3)
                await service.came.wait()
                waited = time.monotonic() - started
                service.came = anyio.Event()
                started = time.monotonic()
                await send(log, 10)
                await service.came.wait()
                full = time.monotonic() - started
                drain.request("seen")
    assert service.seen == [6, 10]
    assert 0.8 < waited < 5.0
    assert full < 0.8


async def test_old_records_wait_for_nothing(tmp_path: Path) -> None:
    async with await EmbeddedLog.open(tmp_path, clock=lambda: time.time() - 3600) as log:
        await log.create_topics([(TOPIC, 1, "delete")])
        await send(log, 3)
        service, drain = Sizes(), Drain()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(run_lanes, log, "x-1.sizes", TOPIC, service, drain, batch=10, gather=60.0))
                await service.came.wait()
                drain.request("seen")
    assert service.seen == [3]
