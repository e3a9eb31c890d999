"""Waits until a cluster can do transactions and keep positions: at its first start, and while a broker is away, it cannot."""

from __future__ import annotations

import anyio
from aiokafka.admin import AIOKafkaAdminClient

from contraflow.errors import LogError
from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.internals import find_coordinator

__all__ = ["await_coordinators"]

_OF_GROUPS, _OF_TRANSACTIONS = 0, 1
_NEEDS = {
    _OF_TRANSACTIONS: ("transactions", "transaction.state.log"),
    _OF_GROUPS: ("the positions of groups", "offsets.topic"),
}


async def await_coordinators(admin: AIOKafkaAdminClient, connection: KafkaConnection) -> None:
    """Return when both kinds of coordinator are there.

    :raises LogError: if one does not come within ``LIMIT`` seconds; the message names the broker's setting.
    """
    for kind, (what, setting) in _NEEDS.items():
        with in_words(connection, f"looking for a coordinator of {what}"), anyio.move_on_after(LIMIT) as limit:
            while await find_coordinator(admin, connection.prefix + "any", kind) is None:  # noqa: ASYNC110  # brokers tell nobody
                await anyio.sleep(0.1)
        if limit.cancelled_caught:
            raise LogError(
                f"Kafka at {connection.servers} has no coordinator for {what}, which contraflow needs. Usually fewer brokers "
                f"are up than their setting {setting}.replication.factor asks for (3 unless it is set): start more "
                "brokers, or lower it and restart them."
            )
