"""A run's texts, vectors and findings as Parquet or JSONL, for pandas and for viewers of embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contraflow.results import Results

__all__ = ["export", "write_table"]


def export(
    results: Results, vectors: Sequence[tuple[str, str, int, bytes]], folder: Path, *, kind: str = "parquet"
) -> list[Path]:
    """Write ``texts`` (a row a text, with its vector, cluster and two-dimensional place), ``findings`` and ``clusters``.

    ``kind`` is ``parquet`` or ``jsonl``. Returns the files. ``texts.parquet`` has the columns ``text``, ``vector``, ``x``
    and ``y`` that viewers of embeddings look for.
    """
    texts = list(_texts(results, vectors))
    tables: dict[str, list[dict[str, Any]]] = {
        "texts": texts,
        "findings": results.rows("findings"),
        "clusters": [_flat(row) for row in results.rows("clusters")],
    }
    return [_write(rows, _in(folder, name, kind), kind) for name, rows in tables.items()]


def write_table(rows: list[dict[str, Any]], folder: Path, name: str, kind: str) -> Path:
    """Write one table as ``export`` does; lists and maps become JSON."""
    return _write([_flat(row) for row in rows], _in(folder, name, kind), kind)


def _in(folder: Path, name: str, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{kind}"


def _texts(results: Results, vectors: Sequence[tuple[str, str, int, bytes]]) -> Iterator[dict[str, Any]]:
    places = {a.request_id: a for a in results.assignments}
    claimed = {c.cluster_id for c in (results.regions.claims if results.regions else ())}
    found = {(text, arm): vector for arm, text, _, vector in vectors}
    flat = _plane({key: np.frombuffer(vector, "<f4") for key, vector in found.items()})
    for request_id, answers in results.texts.items():
        request, place = results.requests[request_id], places.get(request_id)
        for arm, answer in answers.items():
            key = answer.text, arm
            cluster = place.arms[arm].cluster_id if place is not None and not place.failed else None
            yield {
                "seq": answer.seq,
                "request_id": request_id,
                "arm": arm,
                "prompt": answer.prompt,
                "category": request.category,
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
    matrix = np.stack(list(vectors.values())).astype(np.float64)
    centred = matrix - matrix.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return dict(zip(vectors, centred @ axes[:, :-3:-1], strict=True))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Lists and maps as JSON, so that every value fits into a cell."""
    return {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}


def _write(rows: list[dict[str, Any]], path: Path, kind: str) -> Path:
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8")
    return path
