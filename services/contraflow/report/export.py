"""A run's texts, vectors and findings as Parquet or JSONL, for pandas and for viewers of embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contraflow.results import Results
from contraflow.runs import replacing

__all__ = ["export", "write_table"]

_ROWS = 1000
"""Texts that are written at once: a vector as Python's numbers takes eight times what it takes on the log."""

_TEXTS = pa.schema(
    {
        "seq": pa.int64(),
        "request_id": pa.string(),
        "arm": pa.string(),
        "prompt": pa.string(),
        "category": pa.string(),
        "origin": pa.string(),
        "text": pa.string(),
        "cluster": pa.int64(),
        "claimed": pa.bool_(),
        "tokens": pa.int64(),
        "error": pa.string(),
        "x": pa.float64(),
        "y": pa.float64(),
        "vector": pa.list_(pa.float64()),
    }
)


def export(
    results: Results, vectors: Sequence[tuple[str, str, int, bytes]], folder: Path, *, kind: str = "parquet"
) -> list[Path]:
    """Write ``texts`` (a row a text, with its vector, cluster and two-dimensional place), ``findings`` and ``clusters``.

    ``kind`` is ``parquet`` or ``jsonl``. Returns the files. ``texts.parquet`` has the columns ``text``, ``vector``, ``x``
    and ``y`` that viewers of embeddings look for.
    """
    return [
        _write(_texts(results, vectors), _in(folder, "texts", kind), kind, _TEXTS),
        _write(results.rows("findings"), _in(folder, "findings", kind), kind),
        write_table(results.rows("clusters"), folder, "clusters", kind),
    ]


def write_table(rows: list[dict[str, Any]], folder: Path, name: str, kind: str) -> Path:
    """Write one table as ``export`` does; lists and maps become JSON."""
    return _write([_flat(row) for row in rows], _in(folder, name, kind), kind)


def _in(folder: Path, name: str, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{kind}"


def _texts(results: Results, vectors: Sequence[tuple[str, str, int, bytes]]) -> Iterator[dict[str, Any]]:
    places = results.places
    rows = {places.request(row): row for row in range(len(places.seqs))}
    claimed = {c.cluster_id for c in (results.regions.claims if results.regions else ())}
    found = {(text, arm): vector for arm, text, _, vector in vectors}
    flat = _plane({key: np.frombuffer(vector, "<f4") for key, vector in found.items()})
    for request, answers in results.texts.items():
        row = rows.get(request)
        for arm, answer in answers.items():
            key = answer.text, arm
            cluster = None if row is None else int(places.clusters[arm][row])
            yield {
                "seq": answer.seq,
                "request_id": request,
                "arm": arm,
                "prompt": answer.prompt,
                "category": results.requests[request].category,
                "origin": str(answer.origin),
                "text": answer.text,
                "cluster": cluster,
                "claimed": cluster in claimed,
                "tokens": answer.completion_tokens,
                "error": answer.error,
                "x": float(flat[key][0]) if key in flat else None,
                "y": float(flat[key][1]) if key in flat else None,
                "vector": np.frombuffer(found[key], "<f4").tolist() if key in found else None,
            }


def _plane(vectors: dict[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    if len(vectors) < 3:
        return {}
    matrix = np.stack(list(vectors.values()))
    mean = matrix.mean(axis=0, dtype=np.float64)
    parts = [matrix[start : start + _ROWS] for start in range(0, len(matrix), _ROWS)]
    _, axes = np.linalg.eigh(sum((part - mean).T @ (part - mean) for part in parts))
    return dict(zip(vectors, np.concatenate([(part - mean) @ axes[:, :-3:-1] for part in parts]), strict=True))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Lists and maps as JSON, so that every value fits into a cell."""
    return {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}


def _write(rows: Iterable[dict[str, Any]], path: Path, kind: str, schema: pa.Schema | None = None) -> Path:
    """Without a ``schema`` the types of a Parquet file follow from all rows at once."""
    if kind == "jsonl":
        with replacing(path) as file:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    elif schema is None:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        left = iter(rows)
        with pq.ParquetWriter(path, schema) as writer:
            while some := list(islice(left, _ROWS)):
                writer.write_table(pa.Table.from_pylist(some, schema))
    return path
