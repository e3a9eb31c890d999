"""A task beside a block."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from contraflow.errors import LogError
from contraflow.runtime.beside import beside


async def test_an_error_of_the_block_is_raised_as_it_is_and_ends_the_task() -> None:
    ended = anyio.Event()

    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with pytest.raises(LogError, match="the disk is full"):
        async with beside(task):
            await anyio.lowlevel.checkpoint()
            raise LogError("the disk is full")
    assert ended.is_set()
