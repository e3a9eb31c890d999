"""What every LMDB file of ours does: opened in a format that is checked, and grown when it is full, by whoever needs it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb

from contraflow.errors import FormatTooNew

__all__ = ["begin", "open_checked", "put"]

_FORMAT_KEY = b"contraflow-format"


def open_checked(folder: Path, format_: int, *, told: str, instead: str, **options: Any) -> Any:
    """The environment in ``folder``, made with ``options`` if it is not there.

    :raises FormatTooNew: if a newer version wrote it; the message begins with ``told`` and ends with what to do ``instead``.
    """
    environment = lmdb.open(str(folder), max_readers=512, **options)
    with begin(environment, write=True) as transaction:
        kept = transaction.get(_FORMAT_KEY)
        if kept is None:
            transaction.put(_FORMAT_KEY, str(format_).encode())
    if kept is not None and int(kept) > format_:
        environment.close()
        raise FormatTooNew(
            f"{told} written in format {int(kept)}; this contraflow reads up to {format_}. Use a newer version, or {instead}."
        )
    return environment


def begin(environment: Any, *, write: bool) -> Any:
    """A transaction, however much another process has grown the map."""
    while True:
        try:
            return environment.begin(write=write, buffers=not write)
        except lmdb.MapResizedError:  # another process has grown the map, and may do so again before we begin
            environment.set_mapsize(0)


def put(environment: Any, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Write the items together; a map that is full doubles."""
    items = list(items)
    while True:
        try:
            with begin(environment, write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(items)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
