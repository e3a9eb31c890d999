"""How events become records: keys, headers and partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from contraflow.events import Origin, Text, encode, tag_of, text_id
from contraflow.log.protocol import Outgoing, Partition, Record
from contraflow.topics import PARTITIONS, TOPICS, qualified

__all__ = ["ARM", "Wire", "arm_of", "failed_text", "partition_of", "seq_of"]

ARM = "contraflow-arm"


def partition_of(seq: int, partitions: int = PARTITIONS) -> int:
    """The partition of a request and of everything that follows from it: by ``seq`` in turn."""
    return seq % partitions


def seq_of(request_id: str) -> int:
    """The ``seq`` in a request id.

    :raises ValueError: if it is not a request id.
    """
    return int(request_id.rpartition(":")[2])


def arm_of(record: Record) -> str:
    """The arm that a record's header names.

    :raises KeyError: if it names none.
    """
    return record.headers[ARM].decode()


def failed_text(request_id: str, arm: str, error: str) -> Text:
    """What closes the pair of a record that could not be read: known are its request (from the key) and its arm."""
    return Text(
        seq=seq_of(request_id),
        request_id=request_id,
        text_id=text_id(request_id, arm),
        arm=arm,
        prompt_id="",
        prompt="",
        text="",
        origin=Origin.SCAN,
        finish_reason="error",
        error=error,
    )


@dataclass(frozen=True, slots=True)
class Wire:
    """Writes the events of one run; ``partitions`` is the run's P."""

    run: str
    partitions: int = PARTITIONS

    def topic(self, name: str) -> str:
        """The topic's name on the log."""
        return qualified(self.run, name)

    def all(self, name: str) -> list[Partition]:
        """Every partition of a topic."""
        return [Partition(self.topic(name), i) for i in range(TOPICS[name].partitions(self.partitions))]

    def out(self, name: str, key: str, event: msgspec.Struct, *, partition: int = 0, arm: str = "") -> Outgoing:
        """The record of an event."""
        return Outgoing(self.topic(name), partition, key, encode(event), _headers(self.run, type(event), arm))


@lru_cache
def _headers(run: str, kind: type[msgspec.Struct], arm: str) -> Mapping[str, bytes]:
    headers = {
        "content-type": b"application/msgpack",
        "contraflow-schema": tag_of(kind).encode(),
        "contraflow-run": run.encode(),
    }
    if arm:
        headers[ARM] = arm.encode()
    return headers
