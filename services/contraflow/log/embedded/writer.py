"""The one thread of a process that writes: it takes everything that waits and commits it together.

Each request gets a savepoint, so that a fenced one writes nothing and the others go on. Between processes a lock file
gives every writer its turn: SQLite's own busy handler is unfair, and one of four saturating writers waited for 0.9 s.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from contraflow.errors import Fenced, LogError
from contraflow.log.embedded.database import OFFSET_BITS, Synchronous, connect, translate
from contraflow.log.protocol import Appended, Outgoing, Partition, Position

__all__ = ["Writer"]

_CHECKPOINT_PAGES = 2000
_POLL, _SLOWEST_POLL = 0.01, 0.1
"""Seconds between looks for what other processes wrote: often while they do, ten times a second when they are silent."""

Work = Callable[[sqlite3.Connection], Any]


class Writer:
    """Runs work on the one writing connection of this process, in the order in which it was submitted."""

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        *,
        clock: Callable[[], float],
        committed: Callable[[set[Partition]], None],
        max_pages: int | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._committed = committed
        self._connection = connect(path, synchronous, max_pages=max_pages, cache_kib=4000)
        # counted in pages that wait: the file itself never shrinks. One that fails takes no commit back: the next tries again
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._turn = (path.parent / "writer.lock").open("a")
        self._queue: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        self._partitions: dict[tuple[str, int], int] = {}
        self._names: dict[int, Partition] = {}
        self._ends: dict[int, int] = {}
        self._touched: set[Partition] = set()
        self._seen = self._data_version()
        self._poll = _POLL
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Run ``work`` inside the next transaction; its result is set once it is durable.

        What it raises undoes it alone and becomes the future's LogError. A future cannot be cancelled.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # a cancelled future would refuse its answer
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what was submitted and stop the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()
        self._turn.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch = self._wait()
            stopping = None in batch
            work = [item for item in batch if item is not None]
            if work:
                self._transaction(work)

    def _wait(self) -> list[tuple[Work, Future[Any]] | None]:
        try:
            batch = [self._queue.get(timeout=self._poll)]
        except queue.Empty:
            self._look_abroad()
            return []
        while not self._queue.empty():
            batch.append(self._queue.get())
        return batch

    def _look_abroad(self) -> None:
        """Tell the readers of what another process has written: only then does this connection's data version change."""
        touched: set[Partition] | None = None
        with contextlib.suppress(sqlite3.Error):  # nobody waits for this answer, and the next look comes soon
            version = self._data_version()
            if version != self._seen:
                touched, self._seen = self._written_abroad(), version
        self._poll = min(1.5 * self._poll, _SLOWEST_POLL) if touched is None else _POLL
        if touched:
            self._committed(touched)

    def _written_abroad(self) -> set[Partition]:
        """The partitions that end elsewhere than they did: a look at a few rows, where every reader would look."""
        ends = dict(self._connection.execute("SELECT id, next FROM partitions").fetchall())
        moved = [partition for partition, end in ends.items() if self._ends.get(partition) != end]
        if not self._names.keys() >= set(moved):
            rows = self._connection.execute(
                "SELECT p.id, t.name, p.number FROM partitions p JOIN topics t ON t.id = p.topic"
            )
            self._names = {partition: Partition(*name) for partition, *name in rows.fetchall()}
        self._ends = ends
        return {self._names[partition] for partition in moved}

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _transaction(self, work: list[tuple[Work, Future[Any]]]) -> None:
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            answers = self._attempt([task for task, _ in work])
        except Exception as error:  # whatever it is: without this thread every later commit would wait for ever
            self._rollback()
            answers = [self._failure(error)] * len(work)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        # a writer that comes straight back would win the lock again before anybody wakes up: a waiter gets its turn
        time.sleep(0)
        touched, self._touched = self._touched, set()
        self._committed(touched)  # first: whoever knows of a commit may count on its readers having been told
        for (_, future), answer in zip(work, answers, strict=True):
            if isinstance(answer, LogError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._look_abroad()

    def _attempt(self, tasks: list[Work]) -> list[Any]:
        """Each task's result, or the LogError of one that wrote nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        answers = [self._one(task) for task in tasks]
        self._connection.execute("COMMIT")
        return answers

    def _one(self, task: Work) -> Any:
        execute = self._connection.execute
        execute("SAVEPOINT one")
        try:
            answer = task(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite undid everything, as it may when the disk fails
                raise
            execute("ROLLBACK TO one")
            self._ends.clear()
            answer = self._failure(error)
        execute("RELEASE one")
        return answer

    def _failure(self, error: Exception) -> LogError:
        if isinstance(error, LogError):
            return error
        failure = translate(error, self._path)
        failure.__cause__ = error
        return failure

    def _rollback(self) -> None:
        self._partitions.clear()
        self._ends.clear()
        with contextlib.suppress(sqlite3.Error):  # where even this fails, so does the next BEGIN, and it says so
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    # what runs inside a transaction

    def append(
        self, connection: sqlite3.Connection, outputs: Sequence[Outgoing], appended: Mapping[Partition, Appended]
    ) -> list[int]:
        """Write records, which ``appended`` counts; returns their offsets."""
        now = int(self._clock() * 1000)
        self._touched.update(appended)
        following: dict[tuple[str, int], int] = {}
        for where, (records, size) in appended.items():
            partition = self._partition_id(connection, *where)
            (end,) = connection.execute(
                "UPDATE partitions SET next = next + ?, records = records + ?, bytes = bytes + ? WHERE id = ? RETURNING next",
                (records, records, size, partition),
            ).fetchone()
            following[where] = partition << OFFSET_BITS | (end - records)
            self._ends[partition] = end
        offsets: list[int] = []
        rows: list[tuple[int, str, bytes | None, bytes | None, int]] = []
        for topic, number, key, value, headers in outputs:
            row = following[topic, number]
            following[topic, number] = row + 1
            offsets.append(row & (1 << OFFSET_BITS) - 1)
            rows.append((row, key, value, _encode(headers) if headers else None, now))
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        return offsets

    def move(self, connection: sqlite3.Connection, group: str, positions: Mapping[Partition, Position]) -> None:
        """Move a group to its new positions."""
        connection.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
            [(group, self._partition_id(connection, *p), *at) for p, at in positions.items()],
        )

    def own(self, connection: sqlite3.Connection, owner: str) -> int:
        """Become the newest owner of a transactional id; returns the epoch."""
        (epoch,) = connection.execute(
            "INSERT INTO owners VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
            (owner,),
        ).fetchone()
        return int(epoch)

    def guard(self, connection: sqlite3.Connection, owner: str, epoch: int) -> None:
        """Refuse all but the newest owner.

        :raises Fenced: if there is a newer one.
        """
        row = connection.execute("SELECT epoch FROM owners WHERE id = ?", (owner,)).fetchone()
        if row is None or row[0] != epoch:
            raise Fenced(f"another process has taken over {owner!r}; this one must stop")

    def _partition_id(self, connection: sqlite3.Connection, topic: str, number: int) -> int:
        known = self._partitions.get((topic, number))
        if known is None:
            row = connection.execute(
                "SELECT p.id FROM partitions p JOIN topics t ON t.id = p.topic WHERE t.name = ? AND p.number = ?",
                (topic, number),
            ).fetchone()
            if row is None:
                raise LogError(f"there is no partition {number} of topic {topic!r}")
            known = self._partitions[topic, number] = int(row[0])
        return known


_encode = msgspec.msgpack.Encoder().encode
