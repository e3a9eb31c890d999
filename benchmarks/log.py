"""Append and fetch: the embedded log beside a plain file and beside LMDB, at the same durability.

    python benchmarks/log.py            # 4 writers, records of 1 and 4 KB, batches of 256
    python benchmarks/log.py --quick

Each writer is a process of its own; all write to one log, one file (appended to under a lock) or one LMDB environment.
``NORMAL`` survives the death of every process, so its rivals do not sync; ``FULL`` survives a power cut, so they do.
What bounds the figure: the log also keeps offsets, keys and times in a B-tree, written twice (journal, then file).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing as mp
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import lmdb
import numpy as np
from rich.table import Table

from screen import screen

BATCH = 256
PARTITIONS = 8


def value(size: int) -> bytes:
    return os.urandom(size)


# writers: each appends ``batches`` batches and returns the seconds that each one took


def write_log(folder: Path, number: int, batches: int, size: int, full: bool, start: Any) -> list[float]:
    from contraflow.log.embedded import EmbeddedLog
    from contraflow.log.protocol import Outgoing

    async def main() -> list[float]:
        body, waits = value(size), []
        async with await EmbeddedLog.open(folder, synchronous="FULL" if full else "NORMAL") as log:
            records = [Outgoing("t", i % PARTITIONS, f"{number}:{i}", body) for i in range(BATCH)]
            start.wait()
            for _ in range(batches):
                before = time.perf_counter()
                await log.append(records)
                waits.append(time.perf_counter() - before)
        return waits

    return anyio.run(main)


def write_file(folder: Path, number: int, batches: int, size: int, full: bool, start: Any) -> list[float]:
    record = struct.pack("<II", size, number) + value(size)
    batch, waits = record * BATCH, []
    with (folder / "file").open("ab", buffering=0) as file:
        start.wait()
        for _ in range(batches):
            before = time.perf_counter()
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(batch)
            if full:
                os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_UN)
            waits.append(time.perf_counter() - before)
    return waits


def write_lmdb(folder: Path, number: int, batches: int, size: int, full: bool, start: Any) -> list[float]:
    body, waits = value(size), []
    with lmdb.open(str(folder / "lmdb"), map_size=16 << 30, sync=full, metasync=full) as environment:
        start.wait()
        for batch in range(batches):
            before = time.perf_counter()
            with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti([(struct.pack(">IQ", number, batch * BATCH + i), body) for i in range(BATCH)])
            waits.append(time.perf_counter() - before)
    return waits


# readers: each returns how many records it saw


def read_log(folder: Path) -> int:
    from contraflow.log.embedded import EmbeddedLog
    from contraflow.log.protocol import Partition

    async def main() -> int:
        seen = 0
        async with await EmbeddedLog.open(folder) as log:
            reader = await log.reader({Partition("t", n): None for n in range(PARTITIONS)})
            while records := await reader.fetch(2000, wait=0.0):
                seen += sum(record.value is not None for record in records)
            await reader.close()
        return seen

    return anyio.run(main)


def read_file(folder: Path) -> int:
    seen = 0
    with (folder / "file").open("rb") as file:
        while header := file.read(8):
            seen += bool(file.read(struct.unpack("<II", header)[0]))
    return seen


def read_lmdb(folder: Path) -> int:
    with lmdb.open(str(folder / "lmdb"), map_size=16 << 30) as environment, environment.begin() as transaction:
        return sum(bool(body) for _, body in transaction.cursor())


WRITERS: dict[str, Callable[..., list[float]]] = {"log": write_log, "file": write_file, "lmdb": write_lmdb}
READERS = {"log": read_log, "file": read_file, "lmdb": read_lmdb}


def _work(kind: str, arguments: tuple[Any, ...], results: Any) -> None:
    try:
        results.put(WRITERS[kind](*arguments))
    except BaseException as error:
        results.put(error)
        raise


def measure(kind: str, *, writers: int, records: int, size: int, full: bool) -> dict[str, float]:
    """Records a second over all writers together, the waits of batches in ms, and records a second read back."""
    context = mp.get_context("spawn")
    batches = max(1, records // writers // BATCH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "log":
            anyio.run(_create, folder)
        start, results = context.Barrier(writers + 1), context.Queue()
        running = [
            context.Process(target=_work, args=(kind, (folder, n, batches, size, full, start), results))
            for n in range(writers)
        ]
        for process in running:
            process.start()
        start.wait()
        began = time.perf_counter()
        answers = [results.get() for _ in running]
        seconds = time.perf_counter() - began
        for process in running:
            process.join()
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        waits = np.concatenate(answers) * 1000
        began = time.perf_counter()
        seen = READERS[kind](folder)
        reading = time.perf_counter() - began
    assert seen == writers * batches * BATCH, f"{kind} lost records: {seen}"
    return {
        "appends_per_second": seen / seconds,
        "wait_ms_p50": float(np.median(waits)),
        "wait_ms_p999": float(np.quantile(waits, 0.999)),
        "fetches_per_second": seen / reading,
    }


async def _create(folder: Path) -> None:
    from contraflow.log.embedded import EmbeddedLog

    async with await EmbeddedLog.open(folder) as log:
        await log.create_topics([("t", PARTITIONS, "delete")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    records = 40_000 if options.quick else options.records
    figures: dict[str, float] = {}
    table = Table("durability", "record", "store", box=None)
    for column in ("appends/s", "log = 1", "wait p50", "wait p99.9", "fetches/s", "log = 1"):
        table.add_column(column, justify="right")
    for full in (False, True):
        for size in (1024, 4096):
            durability, count = ("FULL" if full else "NORMAL"), records // (1 if size == 1024 else 2)
            found = {
                kind: measure(kind, writers=options.writers, records=count, size=size, full=full) for kind in WRITERS
            }
            for kind, row in found.items():
                figures |= {f"{durability.lower()}_{size}_{kind}_{name}": number for name, number in row.items()}
                table.add_row(
                    durability,
                    f"{size // 1024} KB",
                    kind,
                    f"{row['appends_per_second']:,.0f}",
                    f"{row['appends_per_second'] / found['log']['appends_per_second']:.2f}",
                    f"{row['wait_ms_p50']:.1f} ms",
                    f"{row['wait_ms_p999']:.1f} ms",
                    f"{row['fetches_per_second']:,.0f}",
                    f"{row['fetches_per_second'] / found['log']['fetches_per_second']:.2f}",
                )
    if options.json:
        print(json.dumps(figures))
        return
    screen().print(table)


if __name__ == "__main__":
    main()
