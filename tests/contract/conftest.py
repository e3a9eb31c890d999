"""The logs that the contract is held against; a second implementation adds its name here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Log


@pytest.fixture(params=["embedded"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    assert request.param == "embedded"
    opened = await EmbeddedLog.open(tmp_path)
    await opened.create_topics([("plain", 2, "delete"), ("kept", 1, "compact")])
    yield opened
    await opened.close()
