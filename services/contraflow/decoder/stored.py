"""Stored texts from files, as columns: a Python object a text would take most of the start of a large import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contraflow.datasets import files_of
from contraflow.errors import ConfigurationError
from contraflow.experiment import Replay
from contraflow.tables import read_columns

__all__ = ["Stored", "codes", "places_of", "read_stored", "take"]

Integers = NDArray[np.int64]


class Stored(NamedTuple):
    """Of each text its prompt, the prompt's category (or null), its arm, and itself: arrays of strings, in file order."""

    prompts: pa.Array
    categories: pa.Array
    arms: pa.Array
    texts: pa.Array


def read_stored(replay: Replay, arms: Sequence[str], base_dir: Path) -> Stored:
    """Every text of the files.

    :raises ConfigurationError: if one cannot be read, lacks a column, or has a text without a prompt or an arm.
    """
    read = _wide if replay.columns else _long
    files = files_of(replay.path, base_dir, replay.split, field="replay.path")
    blocks = list(chain.from_iterable(read(replay, file, arms) for file in files))
    if not blocks:
        return Stored(*(_strings([]) for _ in Stored._fields))
    return Stored(*(pa.concat_arrays(columns) for columns in zip(*blocks, strict=True)))


# pyarrow's own ways from and to numpy import pandas, which takes as long as reading 300,000 texts


def take(values: pa.Array, places: Integers) -> pa.Array:
    """The values at (n,) ``places``."""
    return values.take(pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))


def codes(values: pa.Array) -> tuple[Integers, list[str]]:
    """(n,) numbers of the values, which are not null, in the order in which they first occur; and those values."""
    coded = values.dictionary_encode()
    return np.frombuffer(coded.indices.buffers()[1], np.int32, len(values)).astype(
        np.int64
    ), coded.dictionary.to_pylist()


def places_of(which: pa.Array) -> Integers:
    """The places at which an array of booleans is true."""
    found = pc.indices_nonzero(which)
    return np.frombuffer(found.buffers()[1], np.uint64, len(found)).astype(np.int64)


def _long(replay: Replay, path: Path, arms: Sequence[str]) -> Iterator[Stored]:
    columns = [replay.prompt, replay.arm, replay.text] + ([replay.category] if replay.category else [])
    for place, (prompts, named, texts, *categories) in read_columns(path, columns, field="replay.path"):
        rows = places_of(_strings(texts).is_valid())
        found = [take(_strings(column), rows) for column in (prompts, named, texts)]
        for column, values in ((replay.prompt, found[0]), (replay.arm, found[1])):
            if values.null_count:
                raise _empty(place(int(rows[places_of(values.is_null())[0]])), column)
        yield Stored(found[0], _categories(categories, rows), found[1], found[2])


def _wide(replay: Replay, path: Path, arms: Sequence[str]) -> Iterator[Stored]:
    for arm in arms:
        if arm not in replay.columns:
            raise ConfigurationError(f"replay.columns: arm {arm!r} has no column; write {arm}: <column>")
    columns = [replay.prompt, *(replay.columns[arm] for arm in arms)] + ([replay.category] if replay.category else [])
    for place, (prompts, *cells) in read_columns(path, columns, field="replay.path"):
        asked = _strings(prompts)
        if asked.null_count:
            raise _empty(place(int(places_of(asked.is_null())[0])), replay.prompt)
        found = [
            (row, arm, text)
            for row, answers in enumerate(zip(*map(_listed, cells[: len(arms)]), strict=True))
            for arm, cell in zip(arms, answers, strict=True)
            for text in (cell if isinstance(cell, list) else [cell])
            if text is not None
        ]
        rows = np.array([row for row, _, _ in found], np.int64)
        by_arm, texts = _strings([arm for _, arm, _ in found]), _strings([text for _, _, text in found])
        yield Stored(take(asked, rows), _categories(cells[len(arms) :], rows), by_arm, texts)


def _categories(given: Sequence[Any], rows: Integers) -> pa.Array:
    return take(_strings(given[0]), rows) if given else pa.nulls(len(rows), pa.large_string())


def _strings(values: Any) -> pa.Array:
    """A column as strings; what is none is written as Python does."""
    if isinstance(values, pa.Array) and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return pc.cast(values, pa.large_string())
    return pa.array([None if value is None else str(value) for value in _listed(values)], pa.large_string())


def _listed(values: Any) -> list[Any]:
    return list(values.to_pylist() if isinstance(values, pa.Array) else values)


def _empty(place: str, column: str) -> ConfigurationError:
    return ConfigurationError(f"{place}: {column!r} is empty; fill it in, or take the row out")
