"""The log that a run was started on: the one in its folder, or a Kafka cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from contraflow.configuration.secrets import secret
from contraflow.errors import ConfigurationError
from contraflow.experiment import Kafka
from contraflow.log.embedded import EmbeddedLog, Share
from contraflow.log.protocol import Log
from contraflow.runs import RunFolder

__all__ = ["open_log"]


@asynccontextmanager
async def open_log(folder: RunFolder, share: Share | None = None) -> AsyncIterator[Log]:
    """The log of a run. Where nobody else shares partitions out, this process serves ``share`` of them.

    :raises LogError: if it cannot be opened or reached.
    """
    section = folder.resolved["experiment"]["log"]
    log: Log
    if section == "embedded":
        log = await EmbeddedLog.open(folder.log, share=share)
    else:
        log = await _kafka(msgspec.convert(section, Kafka))
    try:
        yield log
    finally:
        with anyio.CancelScope(shield=True):
            await log.close()


async def _kafka(section: Kafka) -> Log:
    try:
        from contraflow.log.kafka import KafkaConnection, KafkaLog
    except ImportError as error:
        raise ConfigurationError(
            f"log.kafka: aiokafka is not installed ({error}). Run `pip install 'contraflow[kafka]'`."
        ) from error
    password = None if section.password is None else secret(section.password)
    return await KafkaLog.open(
        KafkaConnection(
            servers=section.kafka,
            prefix=section.prefix,
            security=section.security,
            mechanism=section.mechanism,
            username=section.username,
            password=password,
            ca_file=section.ca_file,
            replication=None if section.replication == "auto" else section.replication,
        )
    )
