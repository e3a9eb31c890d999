"""Every private name of aiokafka that contraflow touches. Made for the version below; tried on a real broker.

- ``stop()`` of a producer waits for ever without brokers: ``hard_close`` does not.
- a client that cannot connect says only that it cannot: ``refusal`` asks for the reason.
- ``committed()`` answers "none" while a group's coordinator loads, which decodes everything again: ``fetch_positions``
  asks with OffsetFetch v7, which carries an error of its own and waits for open transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    ProducerClosed,
    RequestTimedOutError,
)
from aiokafka.errors import for_code as error_for
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

__all__ = ["AIOKAFKA", "fetch_positions", "find_coordinator", "hard_close", "refusal"]

AIOKAFKA = "0.14.0"

_NOT_NOW = frozenset({14, 15, 16, 88})
"""Coordinator loading, not available, not here any more, and offsets of an open transaction."""


class _OffsetFetchResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchStruct(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(("name", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetch(Request[_OffsetFetchStruct]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 9

    def __init__(self, group: str, topics: list[tuple[str, list[int], dict[int, bytes]]] | None) -> None:
        self._group = group
        self._topics = topics

    def build(self, request_struct_class: type[_OffsetFetchStruct]) -> _OffsetFetchStruct:
        return request_struct_class(self._group, self._topics, True, {})


async def find_coordinator(admin: AIOKafkaAdminClient, name: str, kind: int = 0) -> int | None:
    """The coordinator of a group (``kind`` 0) or of a transactional id (1); None while there is none.

    :raises KafkaError: for any other answer.
    """
    try:
        return int(await admin.find_coordinator(name, kind))
    except BrokerResponseError as error:
        if error.errno in _NOT_NOW:
            return None
        raise


async def fetch_positions(
    admin: AIOKafkaAdminClient,
    group: str,
    partitions: Iterable[tuple[str, int]] | None,
    coordinators: dict[str, int] | None = None,
) -> dict[tuple[str, int], tuple[int, str]]:
    """The committed offset and metadata of a group by (topic, partition); of all its partitions if None.

    Asks again while the coordinator is not ready; the caller bounds the time. ``coordinators`` remembers them by group,
    for who asks often: half of the requests are for them.

    :raises KafkaError: for any other answer.
    """
    pause = 0.05
    known = {} if coordinators is None else coordinators
    while True:
        with contextlib.suppress(KafkaConnectionError, NodeNotReadyError, RequestTimedOutError):
            response = await _ask(admin, group, _by_topic(partitions), known)
            if response is not None:
                return response
        known.pop(group, None)
        await anyio.sleep(pause)
        pause = min(2 * pause, 1.0)


def _by_topic(partitions: Iterable[tuple[str, int]] | None) -> list[tuple[str, list[int], dict[int, bytes]]] | None:
    if partitions is None:
        return None
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    return [(topic, numbers, {}) for topic, numbers in topics.items()]


async def _ask(
    admin: AIOKafkaAdminClient,
    group: str,
    topics: list[tuple[str, list[int], dict[int, bytes]]] | None,
    coordinators: dict[str, int],
) -> dict[tuple[str, int], tuple[int, str]] | None:
    """The positions, or None while the coordinator is not ready."""
    if group not in coordinators:
        found = await find_coordinator(admin, group)
        if found is None:
            return None
        coordinators[group] = found
    response: Any = await admin._client.send(coordinators[group], _OffsetFetch(group, topics))
    rows = [(topic, *row) for topic, rows, _ in response.topics for row in rows]
    codes: Sequence[int] = [response.error_code, *(row[5] for row in rows)]
    for code in codes:
        if code in _NOT_NOW:
            return None
        if code:
            raise error_for(code)(f"the positions of group {group} cannot be read")
    return {(topic, number): (offset, said or "") for topic, number, offset, _, said, _, _ in rows if offset >= 0}


async def hard_close(producer: AIOKafkaProducer, limit: float = 2.0) -> None:
    """Close a producer without a word to the cluster: its successor's start ends whatever transaction is open."""
    producer._closed = True
    with anyio.move_on_after(limit):
        await producer.client.close()
        await _end(producer._sender.sender_task, producer.client)
        await producer.client.close()  # a request that was tried again has connected again
    unsent = producer._message_accumulator
    batches = (*unsent._pending_batches, *(batch for batches in unsent._batches.values() for batch in batches))
    unsent._pending_batches = _Forgiving()
    unsent.fail_all(ProducerClosed())
    for batch in batches:
        batch.failure(ProducerClosed())
    # a commit that failed has told why; asyncio prints what nobody has asked for
    for future in (producer._txn_manager._transaction_waiter, *(batch._drain_waiter for batch in batches)):
        if future is not None and future.done() and not future.cancelled():
            future.exception()


async def _end(sender: asyncio.Task[None] | None, client: Any) -> None:
    """Cancel a sender, which first waits for its requests, and these for metadata that a closed client does not get."""
    while sender is not None and not sender.done():
        sender.cancel()
        if client._md_update_fut is not None and not client._md_update_fut.done():
            client._md_update_fut.set_result(False)
        await asyncio.wait([sender], timeout=0.05)
    if sender is not None and not sender.cancelled():
        sender.exception()


class _Forgiving(set[Any]):
    """What a batch that was sent twice leaves twice."""

    def remove(self, batch: Any) -> None:
        self.discard(batch)


async def refusal(options: Mapping[str, Any]) -> Exception | None:
    """Why a cluster does not let a client with these options in; None if it does now."""
    reason: Exception | None = None
    plain = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    for host, port, _ in collect_hosts(options["bootstrap_servers"], randomize=False):
        try:
            connection = await create_conn(host, port, **plain)
        except (OSError, KafkaError) as error:
            reason = reason or error
        else:
            connection.close()
            return None
    return reason
