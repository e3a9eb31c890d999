"""How what is under way ends when a run drains."""

from __future__ import annotations

import anyio
import pytest

from contraflow.runtime.drain import Drain


async def answer(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "done"


async def test_what_ends_within_the_grace_is_taken_and_what_does_not_is_given_up() -> None:
    drain = Drain(grace=0.3)
    assert await drain.within_grace(answer(0)) == "done"
    drain.request("test")
    assert await drain.within_grace(answer(0.05)) == "done"
    with anyio.fail_after(5):
        assert await drain.within_grace(answer(60)) is None


async def test_an_error_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Drain().within_grace(fail())
