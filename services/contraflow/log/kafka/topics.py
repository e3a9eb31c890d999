"""Creates topics, and checks those that exist."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from contraflow.errors import LogError
from contraflow.log.kafka.connection import KafkaConnection

__all__ = ["create", "partitions_of"]

Cleanup = Literal["delete", "compact"]

_CLEANUP, _LARGEST = "cleanup.policy", "max.message.bytes"
_CHANGELOG = {"segment.bytes": str(64 << 20), "min.cleanable.dirty.ratio": "0.1"}
"""A restart reads the whole changelog: it is compacted early."""


async def create(
    admin: AIOKafkaAdminClient, connection: KafkaConnection, topics: Iterable[tuple[str, int, Cleanup]]
) -> None:
    """Create what does not exist, and wait until every broker knows of it.

    :raises LogError: if a topic exists with other partitions, another clean-up, or takes smaller records.
    """
    wanted = {connection.prefix + name: (partitions, cleanup) for name, partitions, cleanup in topics}
    there = await partitions_of(admin, wanted)
    new = {name: how for name, how in wanted.items() if name not in there}
    if new:
        await _create(admin, connection, new)
    while len(there := await partitions_of(admin, wanted)) < len(wanted):  # noqa: ASYNC110  # brokers tell nobody
        await anyio.sleep(0.05)
    settings = await _settings(admin, wanted)
    for name, (partitions, cleanup) in wanted.items():
        has = settings[name]
        if (there[name], has[_CLEANUP]) != (partitions, cleanup):
            raise LogError(
                f"topic {name!r} exists with {there[name]} partitions and clean-up {has[_CLEANUP]!r}; asked for "
                f"{partitions} and {cleanup!r}. A run keeps its topics as they are: start another run to change them, "
                "or delete the topic if nothing needs it."
            )
        if int(has[_LARGEST]) < connection.max_request:
            raise LogError(
                f"topic {name!r} exists and takes records of {int(has[_LARGEST]):,} bytes; contraflow may write "
                f"{connection.max_request:,}. Set its {_LARGEST} to that, or delete the topic if nothing needs it."
            )


async def partitions_of(admin: AIOKafkaAdminClient, topics: Iterable[str] | None) -> dict[str, int]:
    """The partitions of those topics that exist and are ready; of every topic if None."""
    described = await admin.describe_topics(None if topics is None else list(topics))
    return {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"] and t["partitions"]}


async def _create(
    admin: AIOKafkaAdminClient, connection: KafkaConnection, topics: dict[str, tuple[int, Cleanup]]
) -> None:
    brokers = (await admin.describe_cluster())["brokers"]
    replication = connection.replication or min(3, len(brokers))
    response = await admin.create_topics(
        [
            NewTopic(
                name,
                partitions,
                replication,
                topic_configs={
                    **connection.topic_options,
                    "cleanup.policy": cleanup,
                    **(_CHANGELOG if cleanup == "compact" else {}),
                },
            )
            for name, (partitions, cleanup) in topics.items()
        ]
    )
    for topic, code, said, *_ in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"topic {topic}: {said}")


async def _settings(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    asked = {_CLEANUP: "", _LARGEST: ""}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, asked) for name in topics]
    while True:
        found: dict[str, dict[str, str]] = {}
        responses: list[Any] = await admin.describe_configs(resources)
        for response in responses:
            for code, _, _, name, entries in response.resources:
                if not code:
                    found[name] = {entry[0]: entry[1] for entry in entries}
        if len(found) == len(resources):
            return found
        await anyio.sleep(0.05)  # right after its creation a topic may not be known everywhere
