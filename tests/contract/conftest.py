"""The logs that the contract is held against; another implementation adds its name here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from contraflow.log.embedded import EmbeddedLog
from contraflow.log.kafka import KafkaConnection, KafkaLog
from contraflow.log.protocol import Log


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.timeout(90)])])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    opened = await _open(request, tmp_path)
    try:
        await opened.create_topics([("plain", 2, "delete"), ("kept", 1, "compact")])
        yield opened
    finally:
        await opened.close()


async def _open(request: pytest.FixtureRequest, folder: Path) -> Log:
    if request.param == "embedded":
        return await EmbeddedLog.open(folder)
    # a prefix of the test's own: the cluster is the session's, and may be somebody's
    return await KafkaLog.open(KafkaConnection(request.getfixturevalue("kafka"), prefix=f"t-{uuid4().hex[:12]}-"))
