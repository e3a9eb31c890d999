"""An LMDB file of answers and of the ledger of calls: what is written is on the disk before anybody is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
import lmdb

from contraflow import keyvalue
from contraflow.errors import LogError
from contraflow.llm.spending import answers_folder

__all__ = ["Store"]

logger = logging.getLogger(__name__)

_FORMAT = 1
_MAP = 64 << 20

Items = list[tuple[bytes, bytes]]


class _Write:
    __slots__ = ("done", "items")

    def __init__(self, items: Items) -> None:
        self.items = items
        self.done = False


class Store:
    """Keys and values in ``folder`` (by default in the user's cache folder), shared by every run on the machine.

    Items that are put together are there together or not at all, also after a crash or a power cut. A damaged file is
    refused and never rebuilt: it holds what was spent.

    :raises LogError: here and from every method, if the folder cannot be read or written.
    """

    def __init__(self, folder: Path | None = None, *, map_size: int = _MAP) -> None:
        self.folder = folder or answers_folder()
        self._map_size = map_size
        self._waiting: list[_Write] = []
        self._lock: anyio.Lock | None = None
        with self._in_words():
            self._environment = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what nobody waited for, and close."""
        try:
            with self._in_words():
                self._commit(self._waiting)
        except LogError as error:  # raised, it would hide the error that a caller is closing for
            logger.warning("%s", error)
        self._environment.close()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        with self._in_words(), keyvalue.begin(self._environment, write=False) as transaction:
            value = transaction.get(key)
        return None if value is None else bytes(value)

    def under(self, prefix: bytes) -> Items:
        """Every item whose key begins with ``prefix``, in the order of keys."""
        found: Items = []
        with (
            self._in_words(),
            keyvalue.begin(self._environment, write=False) as transaction,
            transaction.cursor() as cursor,
        ):
            here = cursor.set_range(prefix)
            while here and bytes(cursor.key()).startswith(prefix):
                found.append((bytes(cursor.key()), bytes(cursor.value())))
                here = cursor.next()
        return found

    async def put(self, items: Items) -> None:
        """Write together; on the disk when it returns. What many tasks put at once shares one sync."""
        write = _Write(items)
        self._waiting.append(write)
        if self._lock is None:
            self._lock = anyio.Lock()
        with anyio.CancelScope(shield=True):  # half told is worse than late
            async with self._lock:
                if not write.done:
                    await self._flush(write)

    def put_later(self, items: Items) -> None:
        """Write with whatever is put next, or at the end; a crash before that loses it."""
        self._waiting.append(_Write(items))

    async def _flush(self, own: _Write) -> None:
        writes, self._waiting = self._waiting, []
        try:
            with self._in_words():
                await anyio.to_thread.run_sync(self._commit, writes)
        except LogError:
            # each of the others tries, and perhaps fails, for itself
            self._waiting = [*(write for write in writes if write is not own), *self._waiting]
            raise

    def put_now(self, items: Items) -> None:
        """Write together, in this thread."""
        with self._in_words():
            self._commit([_Write(items)])

    def _commit(self, writes: list[_Write]) -> None:
        if not writes:
            return
        keyvalue.put(self._environment, [item for write in writes for item in write.items])
        for write in writes:
            write.done = True

    def _open(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        return keyvalue.open_checked(
            self.folder,
            _FORMAT,
            told=f"the answers in {self.folder} were",
            instead="choose another folder with CONTRAFLOW_ANSWERS",
            map_size=self._map_size,
        )

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (lmdb.Error, OSError) as error:
            raise LogError(
                f"the answers and the ledger in {self.folder} cannot be used ({error}). Free some space on its disk, or "
                "choose another folder with CONTRAFLOW_ANSWERS; there, answers are paid for again and spending starts at 0."
            ) from error
