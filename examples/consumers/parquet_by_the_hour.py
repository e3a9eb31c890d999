"""Writes the texts of a run to Parquet files by the hour (UTC) in which they were written to the log.

    CONTRAFLOW_PARQUET=texts contraflow consume examples.consumers.parquet_by_the_hour:parquet_by_the_hour --run kitchen-1

    texts/kitchen-1/date=2026-11-25/hour=14/texts-3-000000001536.parquet     partition 3, from offset 1536 on

``pandas.read_parquet("texts/kitchen-1")`` reads it all, with the columns ``date`` and ``hour``.

A sink writes before its position is committed. So after a crash a batch comes again, from the same offset on, and a file
is named by its partition and its first offset: the repetition replaces it. A file appears under its name when it is
whole. A replay cuts its batches elsewhere: give it an empty folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from contraflow import Batch, Text, consumer

FOLDER = "CONTRAFLOW_PARQUET"
"""The variable that names the folder; ``parquet`` without it."""

SCHEMA = pa.schema(
    {
        "text_id": pa.string(),
        "request_id": pa.string(),
        "seq": pa.int64(),
        "arm": pa.string(),
        "prompt_id": pa.string(),
        "prompt": pa.string(),
        "text": pa.string(),
        "origin": pa.string(),
        "finish_reason": pa.string(),
        "error": pa.string(),
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
        "seconds": pa.float64(),
        "thinking": pa.string(),
        "model": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "written": pa.timestamp("ms", tz="UTC"),
    }
)

Row = dict[str, Any]


@consumer(topic="texts", batch=20_000, gather=30.0)
def parquet_by_the_hour(batch: Batch[Text]) -> None:
    """Write a batch, one file for each hour in it."""
    rows = sorted(_rows(batch), key=_hour)  # a stable sort: offsets stay in order within an hour
    for hour, of_the_hour in groupby(rows, key=_hour):
        _write(batch, hour, list(of_the_hour))


def _rows(batch: Batch[Text]) -> list[Row]:
    return [
        {
            **msgspec.structs.asdict(text),
            "origin": str(text.origin),
            "partition": batch.partition,
            "offset": offset,
            "written": datetime.fromtimestamp(timestamp / 1000, UTC),
        }
        for text, offset, timestamp in zip(batch.events, batch.offsets, batch.timestamps, strict=True)
    ]


def _hour(row: Row) -> str:
    return f"{row['written']:date=%Y-%m-%d/hour=%H}"


def _write(batch: Batch[Text], hour: str, rows: Sequence[Row]) -> None:
    folder = Path(os.environ.get(FOLDER, "parquet")) / batch.run / hour
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{batch.topic}-{batch.partition}-{rows[0]['offset']:012}.parquet"
    table = pa.Table.from_pylist(list(rows), SCHEMA)
    whole = folder / f".{path.name}.{os.getpid()}"
    pq.write_table(table, whole)
    with whole.open("rb") as file:
        os.fsync(file.fileno())  # the position is committed next, and will not come back
    whole.replace(path)
