"""The validator on a real log: what it cannot read does not keep the run from its end."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from contraflow.events import Assignment, Control, ControlAction, Origin, Placement, Regions, Text, decode, text_id
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing
from contraflow.results import read_topic
from contraflow.runtime.drain import Drain
from contraflow.topics import specs
from contraflow.validator.core import Validator, ValidatorConfig
from contraflow.validator.judges import KeywordJudge
from contraflow.validator.service import ValidatorService
from contraflow.wire import ARM, Wire, failed_text, partition_of

WIRE = Wire("x-1", 4)
ARMS = ("base", "tuned")
UNREADABLE = 3


def text(seq: int, arm: str) -> Outgoing:
    key, partition = f"x-1:{seq}", partition_of(seq, WIRE.partitions)
    if (seq, arm) == (UNREADABLE, "tuned"):
        return Outgoing(WIRE.topic("texts"), partition, key, b"no event", {ARM: arm.encode()})
    event = Text(
        seq=seq,
        request_id=key,
        text_id=text_id(key, arm),
        arm=arm,
        prompt_id="p0",
        prompt="q",
        text=f"answer {seq}",
        origin=Origin.EXPLORE,
        finish_reason="stop",
    )
    return WIRE.out("texts", key, event, partition=partition, arm=arm)


def assignment(seq: int) -> Outgoing:
    place = Placement(cluster_id=0, second=0, margin=0.0)
    event = Assignment(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        origin=Origin.EXPLORE,
        snapshot=0,
        arms={} if seq == UNREADABLE else dict.fromkeys(ARMS, place),
        failed=seq == UNREADABLE,
    )
    return WIRE.out("assignments", event.request_id, event, partition=partition_of(seq, WIRE.partitions))


async def test_a_text_that_cannot_be_read_is_passed_over_and_the_run_comes_to_its_end(tmp_path: Path) -> None:
    seqs = range(1, 9)
    final = Regions(
        epoch=1, after_seq=8, pairs=8, arms={}, warm=False, clusters=1, births=0, criteria={}, final=True
    )  # fmt: skip
    async with await EmbeddedLog.open(tmp_path / "log") as log:
        await log.create_topics(specs("x-1", WIRE.partitions))
        await log.append([text(seq, arm) for seq in seqs for arm in ARMS])
        await log.append([*(assignment(seq) for seq in seqs), WIRE.out("regions", "1", final)])
        drain = Drain()
        service = ValidatorService(log, WIRE, ValidatorConfig(ARMS, "base"), [KeywordJudge()], drain)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.run)
                while not (said := await read_topic(log, WIRE, "control")):  # noqa: ASYNC110 - the log is the witness
                    await anyio.sleep(0.02)
                drain.request("test")
    assert decode(said[-1].value or b"", Control).action is ControlAction.DONE


async def test_a_judge_that_takes_its_time_holds_a_drain_up_no_longer_than_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = anyio.Event()

    async def advance(*_: object) -> None:
        began.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(Validator, "advance", advance)
    regions = Regions(epoch=1, after_seq=8, pairs=8, arms={}, warm=False, clusters=1, births=0, criteria={})
    async with await EmbeddedLog.open(tmp_path / "log") as log:
        await log.create_topics(specs("x-1", WIRE.partitions))
        await log.append([text(seq, arm) for seq in range(1, 9) for arm in ARMS])
        await log.append([*(assignment(seq) for seq in range(1, 9)), WIRE.out("regions", "1", regions)])
        drain = Drain(grace=0.2)
        service = ValidatorService(log, WIRE, ValidatorConfig(ARMS, "base"), [KeywordJudge()], drain)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.run)
                await began.wait()
                drain.request("test")
        assert not await read_topic(log, WIRE, "control")


def test_what_stands_for_a_text_that_cannot_be_read_names_its_request_and_arm() -> None:
    stand_in = failed_text("x-1:7", "tuned", "torn")
    assert (stand_in.seq, stand_in.text_id, stand_in.error) == (7, text_id("x-1:7", "tuned"), "torn")
