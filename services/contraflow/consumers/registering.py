"""The output events of a run's consumers: their JSON Schemas are kept in the run's folder, one file an output."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contraflow.consumers.declaring import Consumer, Output
from contraflow.errors import ConsumerError
from contraflow.events import tag_of
from contraflow.runs import RunFolder, write_atomically
from contraflow.schema_export import breaking_changes, json_schema

__all__ = ["register"]


def register(folder: RunFolder, consumer: Consumer[Any, Any]) -> None:
    """Keep the schema of a consumer's output in ``schemas/<output>.json`` of the run.

    :raises ConsumerError: if another consumer writes to that topic, or if what was written could no longer be read.
    """
    if consumer.output is None:
        return
    with _locked(folder.path / "schemas") as schemas:
        path = schemas / f"{consumer.output.topic}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known = _added(kept, consumer, consumer.output, folder)
        if known != kept:
            write_atomically(path, json.dumps(known, indent=1) + "\n")


def _added(kept: dict[str, Any], consumer: Consumer[Any, Any], output: Output, folder: RunFolder) -> dict[str, Any]:
    if kept and kept["consumer"] != consumer.name:
        raise ConsumerError(
            f"consumer {consumer.name}: output: the consumer {kept['consumer']} writes to {output.topic!r} in "
            f"{folder.run}; choose another name"
        )
    tag, schema = tag_of(output.event), json_schema(output.event)
    before = kept.get("events", {}).get(tag)
    if before and (changes := breaking_changes(before, schema)):
        raise ConsumerError(
            f"consumer {consumer.name}: {output.topic} of {folder.run} holds {tag} events that its readers could no longer "
            f"read: {'; '.join(changes)}. Give the changed event another version in its tag, or undo the change."
        )
    events = {**kept.get("events", {}), tag: schema}
    return {"topic": output.topic, "consumer": consumer.name, "reads": consumer.topic, "events": events}


@contextmanager
def _locked(schemas: Path) -> Iterator[Path]:
    """Replicas of a consumer start at the same moment."""
    schemas.mkdir(exist_ok=True)
    with (schemas / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield schemas
