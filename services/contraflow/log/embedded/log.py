"""The embedded log's public face: what runs on the event loop, and what leaves it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import anyio
import anyio.to_thread

from contraflow.errors import LogError
from contraflow.log.embedded import cleaning
from contraflow.log.embedded.database import OFFSET_BITS, Synchronous, connect, prepare, translate
from contraflow.log.embedded.reader import EmbeddedReader
from contraflow.log.embedded.writer import Writer
from contraflow.log.limits import check
from contraflow.log.protocol import Appended, Outgoing, Overview, Partition, PartitionInfo, Position

__all__ = ["EmbeddedLog", "EmbeddedProducer", "Share"]

T = TypeVar("T")

_READERS = 4
_WITHOUT_END = (None, None)


@dataclass(frozen=True, slots=True)
class Share:
    """Of the processes that share the partitions of a topic, ``count`` of them, the number ``index`` (from 0)."""

    index: int
    count: int


class EmbeddedLog:
    """A log in one SQLite file; see ``contraflow.log.protocol.Log``. Open it with ``EmbeddedLog.open``.

    ``synchronous="NORMAL"`` survives the death of every process; the last moments before a power cut may go.
    ``"FULL"`` survives that too, and is slower for small batches.
    """

    def __init__(self, path: Path, writer: Writer, loop: asyncio.AbstractEventLoop, share: Share) -> None:
        self._path = path
        self._writer = writer
        self._loop = loop
        self._share = share
        self._idle: deque[sqlite3.Connection] = deque()
        self._readers = anyio.CapacityLimiter(_READERS)
        self._watchers: dict[Partition, list[EmbeddedReader]] = {}

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        synchronous: Synchronous = "NORMAL",
        clock: Callable[[], float] = time.time,
        max_pages: int | None = None,
        share: Share | None = None,
    ) -> EmbeddedLog:
        """Open or create the log of a folder.

        ``max_pages`` bounds the file, as a full disk would. A group's members are fixed here: who joins gets ``share`` of
        the partitions, all of them unless it is given.

        :raises FormatTooNew: if a newer version wrote it.
        :raises LogError: if it is damaged, or no log.
        """
        loop = asyncio.get_running_loop()
        path = folder / "log.sqlite3"

        def make() -> EmbeddedLog:
            folder.mkdir(parents=True, exist_ok=True)
            connection = connect(path, synchronous)
            try:
                prepare(connection, path)
            finally:
                connection.close()
            log: EmbeddedLog

            def committed(touched: set[Partition]) -> None:
                log._wake_from_thread(touched)

            writer = Writer(path, synchronous, clock=clock, committed=committed, max_pages=max_pages)
            log = cls(path, writer, loop, share or Share(0, 1))
            return log

        return await anyio.to_thread.run_sync(make)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

    # writing

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # once submitted it will happen: the answer is awaited even when the caller is cancelled
        future = asyncio.wrap_future(self._writer.submit(work))
        with anyio.CancelScope(shield=True):
            result: T = await future
        return result

    async def create_topics(self, topics: Iterable[tuple[str, int, Literal["delete", "compact"]]]) -> None:
        """Create what does not exist."""
        wanted = list(topics)
        await self._write(lambda connection: _create(connection, wanted))

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """Write records without a transactional id."""
        appended = check(records, {})
        return await self._write(lambda connection: self._writer.append(connection, records, appended))

    async def producer(self, transactional_id: str) -> EmbeddedProducer:
        """Become the owner of a transactional id."""
        epoch = await self._write(lambda connection: self._writer.own(connection, transactional_id))
        return EmbeddedProducer(self, transactional_id, epoch)

    async def commit(
        self,
        owner: str,
        epoch: int,
        outputs: Sequence[Outgoing],
        group: str | None,
        positions: Mapping[Partition, Position],
    ) -> Mapping[Partition, Appended]:
        """What a producer commits."""
        appended = check(outputs, positions)
        if positions and group is None:
            raise ValueError("positions need a group")

        def work(connection: sqlite3.Connection) -> None:
            self._writer.guard(connection, owner, epoch)
            self._writer.append(connection, outputs, appended)
            if group is not None:
                self._writer.move(connection, group, positions)

        await self._write(work)
        return appended

    async def clean(
        self, retain: Mapping[str, tuple[float | None, int | None]], groups: Iterable[str], *, now: float | None = None
    ) -> int:
        """Compact, and drop what is old and read; in small transactions, so that writers get their turn."""
        needed = frozenset(groups)
        at = time.time() if now is None else now
        topics = await self.read(lambda c: c.execute("SELECT name, cleanup FROM topics ORDER BY id").fetchall())
        gone = 0
        for name, cleanup in topics:
            limits = retain.get(name, _WITHOUT_END)
            if cleanup == "compact":
                # found by a reader: looking takes longer than removing, and other processes would wait
                rows = await self.read(partial(cleaning.superseded, topic=name, groups=needed))
                for start in range(0, len(rows), cleaning.AT_ONCE):
                    gone += await self._write(partial(cleaning.drop, rows=rows[start : start + cleaning.AT_ONCE]))
            elif limits != _WITHOUT_END:
                expire = partial(cleaning.expire_some, topic=name, limits=limits, groups=needed, now=at)
                while count := await self._write(expire):
                    gone += count
        await self._write(cleaning.shrink)
        return gone

    # reading

    async def reader(self, start: Mapping[Partition, int | None]) -> EmbeddedReader:
        """A reader of these partitions."""
        return EmbeddedReader(self, start)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a reading connection, in a thread."""

        def guarded() -> T:
            try:
                connection = self._idle.pop() if self._idle else connect(self._path, "NORMAL")
                try:
                    return work(connection)
                finally:
                    self._idle.append(connection)
            except sqlite3.Error as error:
                raise translate(error, self._path) from error

        # few connections, each used by one thread at a time: a connection keeps pages in memory
        return await anyio.to_thread.run_sync(guarded, limiter=self._readers)

    def partition_id(self, connection: sqlite3.Connection, partition: Partition) -> int:
        """The number of a partition in the file.

        :raises LogError: if there is none.
        """
        row = connection.execute(
            "SELECT p.id FROM partitions p JOIN topics t ON t.id = p.topic WHERE t.name = ? AND p.number = ?", partition
        ).fetchone()
        if row is None:
            raise LogError(f"there is no partition {partition.number} of topic {partition.topic!r}")
        return int(row[0])

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        row = await self.read(lambda c: c.execute("SELECT partitions FROM topics WHERE name = ?", (topic,)).fetchone())
        if row is None:
            raise LogError(f"there is no topic {topic!r}")
        return int(row[0])

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One past the last record of each partition."""
        described = await self.describe()
        return {partition: described[partition].end for partition in partitions if partition in described}

    async def join(self, group: str, topic: str) -> EmbeddedMembership:
        """Get every count-th of the partitions, for good."""
        mine = range(self._share.index, await self.partitions(topic), self._share.count)
        return EmbeddedMembership(frozenset(Partition(topic, i) for i in mine))

    async def positions(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """The committed positions of a group."""
        every = (await self.groups()).get(group, {})
        return {partition: every[partition] for partition in partitions if partition in every}

    async def groups(self, prefix: str = "") -> dict[str, dict[Partition, Position]]:
        """The committed positions of the groups whose names begin with ``prefix``."""
        rows = await self.read(
            lambda c: c.execute(
                "SELECT g.grp, t.name, p.number, g.offset, g.metadata, g.records FROM positions g "
                "JOIN partitions p ON p.id = g.partition JOIN topics t ON t.id = p.topic ORDER BY g.grp, t.name, p.number"
            ).fetchall()
        )
        found: dict[str, dict[Partition, Position]] = {}
        for group, topic, number, *position in rows:
            if group.startswith(prefix):
                found.setdefault(group, {})[Partition(topic, number)] = Position(*position)
        return found

    async def describe(self, prefix: str = "") -> dict[Partition, PartitionInfo]:
        """Every partition of the topics whose names begin with ``prefix``."""
        rows = await self.read(
            lambda c: c.execute(
                "SELECT t.name, p.number, p.first, p.next, p.records, p.bytes FROM partitions p "
                "JOIN topics t ON t.id = p.topic ORDER BY t.name, p.number"
            ).fetchall()
        )
        return {
            Partition(topic, number): PartitionInfo(*info) for topic, number, *info in rows if topic.startswith(prefix)
        }

    async def overview(self, prefix: str = "") -> Overview:
        """What ``groups`` and ``describe`` give."""
        groups = await self.groups(prefix)
        return Overview(await self.describe(prefix), groups)

    async def timestamps(self, at: Iterable[tuple[Partition, int]]) -> dict[tuple[Partition, int], int]:
        """The timestamp of the first record at or after each offset."""
        places = list(at)

        def look(connection: sqlite3.Connection) -> dict[tuple[Partition, int], int]:
            found = {}
            for partition, offset in places:
                base = self.partition_id(connection, partition) << OFFSET_BITS
                row = connection.execute(
                    "SELECT timestamp FROM records WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
                    (base | offset, base | (1 << OFFSET_BITS) - 1),
                ).fetchone()
                if row is not None:
                    found[partition, offset] = int(row[0])
            return found

        return await self.read(look) if places else {}

    async def since(self, partitions: Iterable[Partition], timestamp: int) -> dict[Partition, int]:
        """The offset of the first record that is as new as ``timestamp``."""
        asked = list(partitions)

        def look(connection: sqlite3.Connection) -> dict[Partition, int]:
            found = {}
            for partition in asked:
                base = self.partition_id(connection, partition) << OFFSET_BITS
                row = connection.execute(
                    "SELECT id FROM records WHERE id BETWEEN ? AND ? AND timestamp >= ? ORDER BY id LIMIT 1",
                    (base, base | (1 << OFFSET_BITS) - 1, timestamp),
                ).fetchone()
                if row is not None:
                    found[partition] = int(row[0]) - base
            return found

        return {**await self.ends(asked), **await self.read(look)}

    # waiting

    def watch(self, reader: EmbeddedReader, partitions: Iterable[Partition]) -> None:
        """Wake a reader when one of the partitions is written to."""
        for partition in partitions:
            self._watchers.setdefault(partition, []).append(reader)

    def unwatch(self, reader: EmbeddedReader, partitions: Iterable[Partition]) -> None:
        """Undo ``watch``."""
        for partition in partitions:
            self._watchers[partition].remove(reader)

    def _wake_from_thread(self, touched: set[Partition]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and its readers with it
            self._loop.call_soon_threadsafe(self._wake, touched)

    def _wake(self, touched: set[Partition]) -> None:
        for partition in touched:
            for reader in self._watchers.get(partition, ()):
                reader.wake()

    async def close(self) -> None:
        """Close the log; what was submitted is written first."""

        def finish() -> None:
            self._writer.close()
            while self._idle:
                self._idle.pop().close()

        await anyio.to_thread.run_sync(finish)


class EmbeddedProducer:
    """The owner of a transactional id at one epoch; see ``contraflow.log.protocol.Producer``."""

    def __init__(self, log: EmbeddedLog, transactional_id: str, epoch: int) -> None:
        self._log = log
        self._id = transactional_id
        self._epoch = epoch

    async def commit(
        self,
        outputs: Sequence[Outgoing],
        *,
        group: str | None = None,
        positions: Mapping[Partition, Position] | None = None,
    ) -> Mapping[Partition, Appended]:
        """Write outputs and positions, all or nothing."""
        return await self._log.commit(self._id, self._epoch, outputs, group, positions or {})

    async def close(self) -> None:
        """Nothing is held."""


class EmbeddedMembership:
    """Its partitions, for good; see ``contraflow.log.protocol.Membership``."""

    shared = False

    def __init__(self, partitions: frozenset[Partition]) -> None:
        self._partitions = partitions

    async def partitions(self, known: frozenset[Partition] | None = None) -> frozenset[Partition]:
        """All of them; once they are known, nothing ever changes."""
        if known == self._partitions:
            await anyio.sleep_forever()
        return self._partitions

    async def close(self) -> None:
        """Nothing is held."""


def _create(connection: sqlite3.Connection, topics: Sequence[tuple[str, int, Any]]) -> None:
    for name, partitions, cleanup in topics:
        row = connection.execute("SELECT partitions, cleanup FROM topics WHERE name = ?", (name,)).fetchone()
        if row is None:
            cursor = connection.execute(
                "INSERT INTO topics (name, partitions, cleanup) VALUES (?, ?, ?)", (name, partitions, cleanup)
            )
            connection.executemany(
                "INSERT INTO partitions (topic, number) VALUES (?, ?)",
                [(cursor.lastrowid, number) for number in range(partitions)],
            )
        elif row != (partitions, cleanup):
            raise LogError(
                f"topic {name!r} exists with {row[0]} partitions and clean-up {row[1]!r}; asked for {partitions} and "
                f"{cleanup!r}. A run keeps its topics as they are: start another run to change them."
            )
