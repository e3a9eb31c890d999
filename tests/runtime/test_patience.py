"""What only looks at a run rides out a log that does not answer."""

from __future__ import annotations

import logging

import pytest

from contraflow.errors import LogError, OutOfRange
from contraflow.runtime.clock import Clock
from contraflow.runtime.patience import patiently


async def no_time(seconds: float) -> None:
    assert seconds > 0


async def test_a_look_begins_again_until_the_log_answers_and_each_failure_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[int] = []

    async def look() -> None:
        looks.append(1)
        if len(looks) < 4:
            raise LogError("the cluster does not answer")

    with caplog.at_level(logging.WARNING):
        await patiently(look, "the progress", Clock(sleep=no_time))
    assert len(looks) == 4
    assert caplog.messages == ["the progress looks again in 2 s: the cluster does not answer"] * 3


async def test_what_no_waiting_can_mend_is_raised() -> None:
    async def look() -> None:
        raise OutOfRange("dropped by retention")

    with pytest.raises(OutOfRange):
        await patiently(look, "the progress", Clock(sleep=no_time))
