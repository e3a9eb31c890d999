"""When the clusterer commits: with the end of an epoch, after its interval, and when it drains."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from contraflow.clusterer.core import Clusterer, ClustererConfig, Step
from contraflow.clusterer.service import ClustererService
from contraflow.errors import Fenced
from contraflow.events import Embedding, Origin
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing
from contraflow.log.reading import read_until_now
from contraflow.pairs import Pair
from contraflow.runtime.drain import Drain
from contraflow.runtime.singleton import Singleton
from contraflow.runtime.supervisor import cause_of
from contraflow.topics import specs
from contraflow.wire import Wire

WIRE = Wire("x-1", 1)
CONFIG = ClustererConfig(("a", "b"), "a", dim=4, warm_start=64, start=2, max_clusters=4, epoch=64)
NEVER = 3600.0


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    async with await EmbeddedLog.open(tmp_path / "log") as opened:
        await opened.create_topics(specs(WIRE.run, 1))
        yield opened


async def answer(log: EmbeddedLog, first: int, last: int) -> None:
    """Both arms' embeddings of these pairs."""
    events = [embedding(seq, arm) for seq in range(first, last + 1) for arm in CONFIG.arms]
    await log.append([WIRE.out("embeddings", event.request_id, event, arm=event.arm) for event in events])


def embedding(seq: int, arm: str) -> Embedding:
    return Embedding(
        seq=seq,
        request_id=f"x-1:{seq}",
        text_id=f"{seq}{arm}",
        arm=arm,
        prompt_id="p0",
        text=arm,
        origin=Origin.EXPLORE,
        finish_reason="stop",
        vector=bytes(4 * 4),
        dim=4,
        encoder="e",
    )


async def commits(log: EmbeddedLog) -> int:
    """How often the clusterer has committed: each time it writes its positions to its changelog."""
    records = await read_until_now(log, dict.fromkeys(WIRE.all("state-clusterer")))
    return sum(record.key == "~positions" for record in records)


async def first_commit(log: EmbeddedLog) -> None:
    reader = await log.reader(dict.fromkeys(WIRE.all("state-clusterer")))
    assert await reader.fetch(1, wait=10.0)
    await reader.close()


async def test_blocks_of_an_epoch_share_a_commit_which_its_end_brings_at_once(log: EmbeddedLog) -> None:
    drain = Drain()
    service = ClustererService(log, WIRE, CONFIG, drain, interval=NEVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        await answer(log, 1, 32)
        await anyio.sleep(0.1)
        assert not await commits(log)
        await answer(log, 33, 64)
        await first_commit(log)
        drain.request("the test is over")
    assert await commits(log) == 1
    assert len(await read_until_now(log, dict.fromkeys(WIRE.all("regions")))) == 1


async def test_a_block_that_no_other_follows_is_committed_after_the_interval(log: EmbeddedLog) -> None:
    drain = Drain()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ClustererService(log, WIRE, CONFIG, drain, interval=0.05).run)
        await answer(log, 1, 32)
        await first_commit(log)
        drain.request("the test is over")
    assert await commits(log) == 1


async def test_what_was_processed_is_committed_when_the_service_drains(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, processed = Drain(), threading.Event()

    class Watched(Clusterer):
        def process(self, block: Sequence[Pair]) -> Step:
            step = super().process(block)
            processed.set()
            return step

    monkeypatch.setattr("contraflow.clusterer.service.Clusterer", Watched)
    service = ClustererService(log, WIRE, CONFIG, drain, interval=NEVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        await answer(log, 1, 32)
        assert await anyio.to_thread.run_sync(processed.wait, 10.0)
        drain.request("the test is over")
    assert await commits(log) == 1


async def test_the_next_blocks_are_clustered_while_the_last_are_committed(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, further = Drain(), threading.Event()
    committed: list[int] = []
    commit = Singleton.commit

    class Watched(Clusterer):
        def process(self, block: Sequence[Pair]) -> Step:
            step = super().process(block)
            if self.processed > 64:
                further.set()
            return step

    async def held_up(self: Singleton, outputs: Sequence[Outgoing], parts: Mapping[str, bytes], processed: int) -> None:
        if not committed:  # the first waits until what follows it was clustered
            assert await anyio.to_thread.run_sync(further.wait, 10.0)
        await commit(self, outputs, parts, processed)
        committed.append(processed)

    monkeypatch.setattr("contraflow.clusterer.service.Clusterer", Watched)
    monkeypatch.setattr(Singleton, "commit", held_up)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ClustererService(log, WIRE, CONFIG, drain, interval=NEVER).run)
        await answer(log, 1, 96)
        await first_commit(log)
        drain.request("the test is over")
    assert committed == [64, 96]
    positions = await log.positions("x-1.clusterer", WIRE.all("embeddings"))
    assert [position.offset for position in positions.values()] == [192]


async def test_a_commit_that_fails_ends_the_service_and_what_was_clustered_ahead_is_not_written(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fenced(*_: object) -> None:
        raise Fenced("another process has taken over")

    monkeypatch.setattr(Singleton, "commit", fenced)
    await answer(log, 1, 96)
    with pytest.raises(ExceptionGroup) as caught:
        await ClustererService(log, WIRE, CONFIG, Drain(), interval=NEVER).run()
    assert isinstance(cause_of(caught.value), Fenced)
    assert not await commits(log)
