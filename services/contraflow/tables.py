"""Rows from text, JSONL, CSV, Parquet and Arrow files, with the place of each row for error messages.

Row by row, or in blocks column by column, which of files that hold columns costs a third.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from contraflow.errors import ConfigurationError

__all__ = ["read_columns", "read_table"]

Rows = Iterator[tuple[str, dict[str, Any]]]

_BLOCK = 4096


def read_table(path: Path, columns: Sequence[str], *, field: str) -> Rows:
    """(place, row)s of a file by its ending; ``place`` is ``file:line``. A text file has one column, whatever its name.

    :raises ConfigurationError: if the file is missing, not readable as what its ending says, not UTF-8, lacks one
        of ``columns``, or has half a character there; ``field`` is the experiment's field that named it.
    """
    if not path.is_file():
        raise ConfigurationError(f"{field}: there is no file {path}")
    readers = {".txt": _text, ".jsonl": _jsonl, ".json": _jsonl, ".csv": _csv, **dict.fromkeys(_COLUMNAR, _rows)}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{field}: {path} is none of {', '.join(readers)}; convert it or change its ending")
    for place, row in reader(path, columns):
        _require(columns, place, row)
        yield place, row


def read_columns(
    path: Path, columns: Sequence[str], *, field: str
) -> Iterator[tuple[Callable[[int], str], list[pa.Array] | list[list[Any]]]]:
    """Blocks of rows: what gives the place of the i-th, and the values of each of ``columns``, as the file has them.

    :raises ConfigurationError: as ``read_table``.
    """
    if path.suffix.lower() in _COLUMNAR and path.is_file():
        for before, _, values in _blocks(path, columns):
            yield partial(_place, path, before), values
        return
    rows = read_table(path, columns, field=field)
    while block := list(islice(rows, _BLOCK)):
        places = [place for place, _ in block]
        yield places.__getitem__, [[row[column] for _, row in block] for column in columns]


def _require(columns: Sequence[str], place: str, there: Collection[str]) -> None:
    for column in columns:
        if column not in there:
            raise ConfigurationError(f"{place}: there is no column {column!r}{_nearest(column, there)}")


def _refuse_half_characters(place: str, column: str, value: Any) -> None:
    """JSON can spell half of a surrogate pair, which no encoding of text can write."""
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_half_characters(place, column, inner)
        return
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{place}: {column!r} has half of a character, {text[error.start]!a}; "
            "take it out, or write the other half too"
        ) from None


def _nearest(column: str, there: Collection[str]) -> str:
    close = difflib.get_close_matches(column, list(there), 1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return f"{guess} Columns: {', '.join(there)}"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ConfigurationError(
                    f"{path}:{number}: byte {error.start} of this line is not UTF-8; save the file as UTF-8"
                ) from None


def _text(path: Path, columns: Sequence[str]) -> Rows:
    for number, line in _lines(path):
        yield f"{path}:{number}", dict.fromkeys(columns, line)


def _jsonl(path: Path, columns: Sequence[str]) -> Rows:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigurationError(f"{path}:{number}: not JSON: {error}. Mend this line or take it out") from None
        if not isinstance(row, dict):
            raise ConfigurationError(f"{path}:{number}: a row must be a JSON object, this is {type(row).__name__}")
        if "\\u" in line:  # only so can JSON spell them, and no other file can
            for column in row.keys() & columns:
                _refuse_half_characters(f"{path}:{number}", column, row[column])
        yield f"{path}:{number}", row


def _csv(path: Path, columns: Sequence[str]) -> Rows:
    reader = csv.DictReader(line + "\n" for _, line in _lines(path))
    try:
        for row in reader:
            place = f"{path}:{reader.line_num}"
            if None in row:  # where DictReader puts what is beyond the header
                raise ConfigurationError(
                    f"{place}: this row has more fields than the {len(reader.fieldnames or ())} of the header; "
                    'put fields that hold commas into "quotes"'
                )
            yield place, row
    except csv.Error as error:
        raise ConfigurationError(
            f"{path}:{reader.reader.line_num}: not readable as CSV: {error}. Close every quote, quote fields that hold "
            "line ends, or give the file as JSONL"
        ) from None


def _place(path: Path, before: int, index: int) -> str:
    return f"{path}: row {before + index + 1}"


def _rows(path: Path, columns: Sequence[str]) -> Rows:
    for before, names, values in _blocks(path):
        for index, row in enumerate(zip(*(column.to_pylist() for column in values), strict=True)):
            yield _place(path, before, index), dict(zip(names, row, strict=True))


def _blocks(path: Path, wanted: Sequence[str] | None = None) -> Iterator[tuple[int, Sequence[str], list[pa.Array]]]:
    """How many rows come before, and the names and values of the columns, all of them or those ``wanted``."""
    kind, batches = _COLUMNAR[path.suffix.lower()]
    before = 0
    try:
        for batch in batches(path):
            if not batch.num_rows:
                continue
            names = batch.schema.names
            _require(wanted or (), _place(path, before, 0), names)
            chosen = names if wanted is None else wanted
            values = [batch.column(names.index(name)) for name in chosen]
            for column in values:  # here: whoever makes strings of them later could not say which file it was
                column.validate(full=True)
            yield before, chosen, values
            before += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not readable as {kind}: {error}") from None


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(path).iter_batches(batch_size=_BLOCK)


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """As data sets are saved: a stream of batches; or a file of them."""
    with pa.memory_map(str(path)) as source:
        opened = pa.ipc.open_file if source.read(6) == b"ARROW1" else pa.ipc.open_stream
        source.seek(0)
        batches = opened(source)
        if opened is pa.ipc.open_file:
            batches = map(batches.get_batch, range(batches.num_record_batches))
        yield from batches


_COLUMNAR = {".parquet": ("Parquet", _parquet), ".arrow": ("Arrow", _arrow)}
