"""A consumer over a finished run, on either log: exactly once, from where it is told, its failures kept apart."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import contraflow
from contraflow import Batch, ConsumerError, Text, consumer
from contraflow.cli import main
from contraflow.consumers import Consumer
from contraflow.consumers.placing import place
from contraflow.consumers.reading import records_of
from contraflow.consumers.running import Consumed, Names, consume, run_consumer
from contraflow.events import Steering, decode, encode
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Outgoing, Partition, Position, Record
from contraflow.monitor.topics import measure
from contraflow.runs import RunFolder
from contraflow.runtime.drain import Drain
from contraflow.runtime.metrics import Metrics
from contraflow.runtime.supervisor import RunStopped
from contraflow.topics import specs
from contraflow.wire import Wire


class Length(msgspec.Struct, frozen=True, tag="length.v1"):
    text_id: str
    length: int


def lengths_named(name: str, *, batch: int = 64, **options: Any) -> Consumer[Any, Any]:
    @consumer(topic="texts", output=name, name=name, batch=batch, **options)
    async def lengths(texts: list[Text]) -> list[Length]:
        return [Length(t.text_id, len(t.text)) for t in texts]

    return lengths


@pytest.fixture
async def log(done: RunFolder) -> AsyncIterator[Log]:
    async with open_log(done) as opened:
        yield opened


async def texts_of(log: Log) -> dict[str, Record]:
    return {decode(r.value or b"", Text).text_id: r for r in await records_of(log, "read-1.texts")}


async def written(log: Log, name: str) -> Counter[str]:
    return Counter(decode(r.value or b"", Length).text_id for r in await records_of(log, f"read-1.{name}"))


async def test_every_text_is_read_once_and_what_was_read_is_not_read_again(done: RunFolder, log: Log) -> None:
    said: list[str] = []
    first = await consume(lengths_named("once"), done, say=said.append)
    again = await consume(lengths_named("once"), done, say=said.append)
    assert first == Consumed(600, 600, 0, "the run is done, and everything is read")
    assert again == Consumed(0, 0, 0, "the run is done, and everything is read")
    assert await written(log, "once") == Counter(list(await texts_of(log)))
    assert "once reads read-1.texts from the beginning, writes read-1.once" in said[0]
    assert "once reads read-1.texts where it stopped" in said[1]


async def test_an_output_is_beside_its_input_with_its_key_and_its_arm(done: RunFolder, log: Log) -> None:
    await consume(lengths_named("beside"), done)
    texts = await texts_of(log)
    outputs = await records_of(log, "read-1.beside")
    assert await log.partitions("read-1.beside") == await log.partitions("read-1.texts") == 4
    for record in outputs:
        origin = texts[decode(record.value or b"", Length).text_id]
        assert (record.partition, record.key) == (origin.partition, origin.key)
        assert record.headers["contraflow-arm"] == origin.headers["contraflow-arm"]
        assert record.headers["contraflow-schema"] == b"length.v1"
        assert record.headers["contraflow-run"] == b"read-1"


async def test_it_starts_at_the_end_at_an_offset_or_at_a_time(done: RunFolder, log: Log) -> None:
    records = list((await texts_of(log)).values())
    middle = sorted(r.timestamp for r in records)[300]
    at_end = await consume(lengths_named("at-end"), done, start="end")
    at_offset = await consume(lengths_named("at-offset"), done, start=20)
    at_time = await consume(lengths_named("at-time"), done, start=datetime.fromtimestamp(middle / 1000, UTC))
    assert at_end.read == 0
    assert at_offset.read == sum(r.offset >= 20 for r in records)
    assert 0 < at_time.read < 600
    # in the order of a partition, from the first record that is as new
    firsts = {p: min(r.offset for r in records if r.partition == p and r.timestamp >= middle) for p in range(4)}
    assert at_time.read == sum(r.offset >= firsts[r.partition] for r in records)


async def test_where_it_has_read_before_it_starts_elsewhere_only_for_a_replay(done: RunFolder, log: Log) -> None:
    await consume(lengths_named("again"), done)
    assert (await consume(lengths_named("again"), done, start="beginning")).read == 0
    said: list[str] = []
    assert (await consume(lengths_named("again"), done, replay=True, say=said.append)).read == 600
    assert "outputs are written again, with the same keys" in said[0]
    assert set((await written(log, "again")).values()) == {2}
    assert (await consume(lengths_named("again"), done, start="end", replay=True)).read == 0


async def test_another_group_keeps_a_place_of_its_own(done: RunFolder, log: Log) -> None:
    await consume(lengths_named("grouped"), done)
    assert (await consume(lengths_named("grouped"), done, group="grouped-too")).read == 600
    assert {"read-1.grouped", "read-1.grouped-too"} <= (await log.groups()).keys()
    with pytest.raises(ConsumerError, match="name of a service"):
        await consume(lengths_named("grouped"), done, group="clusterer")


async def test_its_dead_letters_are_its_own(done: RunFolder, log: Log) -> None:
    @consumer(topic="texts", output="picky", batch=64)
    def picky(texts: list[Text]) -> list[Length]:
        if any(t.seq == 7 for t in texts):
            raise ValueError("unlucky")
        return [Length(t.text_id, len(t.text)) for t in texts]

    assert (await consume(picky, done)).dead == 2
    dead = await records_of(log, "read-1.texts.picky.dead")
    texts = await texts_of(log)
    assert sorted(decode(r.value or b"", Text).text_id for r in dead) == ["read-1:7:base", "read-1:7:tuned"]
    for record in dead:
        origin = texts[decode(record.value or b"", Text).text_id]
        assert record.headers["contraflow-error"] == b"unlucky"
        assert record.headers["contraflow-origin-topic"] == b"read-1.texts"
        assert int(record.headers["contraflow-origin-partition"]) == origin.partition
        assert int(record.headers["contraflow-origin-offset"]) == origin.offset
    assert await records_of(log, "read-1.texts.dead") == []
    assert await written(log, "picky") == Counter(list(texts.keys() - {"read-1:7:base", "read-1:7:tuned"}))


async def test_a_consumer_that_stops_loses_nothing_and_goes_on_when_it_is_mended(done: RunFolder, log: Log) -> None:
    broken = [True]

    @consumer(topic="texts", output="mended", batch=32)
    def mended(texts: list[Text]) -> list[Length]:
        wrong = broken[0] and any(t.seq > 100 for t in texts)
        return [Length(t.text_id, len(t.text)) for t in texts][wrong:]

    with pytest.raises(RunStopped, match=r"consumer mended returned \d+ events for \d+") as stopped:
        await consume(mended, done)
    assert isinstance(stopped.value.__cause__, ConsumerError)
    broken[0] = False
    await consume(mended, done)
    assert await written(log, "mended") == Counter(list(await texts_of(log)))
    assert await records_of(log, "read-1.texts.mended.dead") == []


async def test_a_topic_of_one_partition_is_read_the_same_way(done: RunFolder, log: Log) -> None:
    seen: list[int] = []

    @consumer(topic="steering")
    def plans(batch: Batch[Steering]) -> None:
        seen.extend(plan.epoch for plan in batch.events)

    await consume(plans, done)
    assert seen == list(range(1, len(seen) + 1))
    assert seen


async def test_the_schema_of_its_output_is_kept_and_holds_it_to_its_word(done: RunFolder) -> None:
    await consume(lengths_named("kept"), done, start="end")
    kept = json.loads((done.path / "schemas" / "kept.json").read_text())
    assert (kept["topic"], kept["consumer"], kept["reads"]) == ("kept", "kept", "texts")
    assert kept["events"]["length.v1"]["$defs"]["Length"]["required"] == ["type", "text_id", "length"]

    class Changed(msgspec.Struct, frozen=True, tag="length.v1"):
        text_id: str
        length: float

    class Newer(msgspec.Struct, frozen=True, tag="length.v2"):
        text_id: str
        length: float

    def giving(event: Any, name: str) -> Consumer[Any, Any]:
        def f(texts: Any) -> Any: ...

        f.__annotations__ = {"texts": list[Text], "return": list[event]}
        return consumer(topic="texts", output="kept", name=name)(f)

    with pytest.raises(ConsumerError, match=r"kept of read-1 holds length.v1 events .*another version in its tag"):
        await consume(giving(Changed, "kept"), done)
    with pytest.raises(ConsumerError, match=r"the consumer kept writes to 'kept' in read-1"):
        await consume(giving(Newer, "other"), done)
    await consume(giving(Newer, "kept"), done, start="end")
    kept = json.loads((done.path / "schemas" / "kept.json").read_text())
    assert list(kept["events"]) == ["length.v1", "length.v2"]


async def test_one_that_retention_has_overtaken_is_told_so(log: Log) -> None:
    await log.create_topics(specs("gone-1", 1))
    texts = Partition("gone-1.texts", 0)
    await log.append([Outgoing(*texts, str(i), b"") for i in range(20)])
    producer = await log.producer("gone-1.late.gone-1.texts.0")
    await producer.commit([], group="gone-1.late", positions={texts: Position(3)})
    await producer.close()
    await log.clean({texts.topic: (None, 0)}, [])
    with pytest.raises(
        ConsumerError, match=r"has read gone-1.texts 0 up to offset 3, and retention dropped .*--replay"
    ):
        await place(log, "gone-1.late", [texts], "beginning", replay=False)
    with pytest.raises(ConsumerError, match=r"gone-1.texts 0 is kept from offset 2\d on; 3 was dropped"):
        await place(log, "gone-1.late", [texts], 3, replay=True)
    assert await place(log, "gone-1.late", [texts], "beginning", replay=True) == [texts]
    assert (await log.positions("gone-1.late", [texts]))[texts].offset >= 20


async def test_one_whose_place_is_lost_does_not_write_everything_again_by_itself(done: RunFolder, log: Log) -> None:
    await log.create_topics([("read-1.lost", 4, "delete")])
    await log.append([Outgoing("read-1.lost", 2, "read-1:1", encode(Length("read-1:1:base", 3)))])
    with pytest.raises(
        ConsumerError, match=r"read-1.lost holds output, and where read-1.lost had read to is not known"
    ):
        await consume(lengths_named("lost"), done)
    assert (await consume(lengths_named("lost"), done, replay=True)).read == 600
    assert (await consume(lengths_named("lost"), done)).read == 0


def test_what_it_wrote_can_be_read_without_an_event_loop(done: RunFolder) -> None:
    runs = done.path.parent
    assert len(contraflow.read("read-1", "texts", runs=runs)) == 600
    with pytest.raises(ConsumerError, match="say which, as in read"):
        contraflow.read("read-1", "lengths", runs=runs)
    with pytest.raises(contraflow.ContraflowError, match=r"no topic 'read-1\.nothing'"):
        contraflow.read("read-1", "nothing", Length, runs=runs)


async def test_its_lag_is_among_those_of_the_run_and_0_at_the_end(done: RunFolder) -> None:
    await consume(lengths_named("lagging"), done)
    (row,) = [group for group in (await measure(done, 0.0))["groups"] if group["group"] == "lagging"]
    assert (row["topic"], row["lag"]) == ("texts", 0)


async def test_what_it_does_is_counted_as_for_any_service(done: RunFolder, log: Log) -> None:
    @consumer(topic="texts", output="counted")
    def counted(texts: list[Text]) -> list[Length]:
        if any(t.seq == 7 for t in texts):
            raise ValueError("unlucky")
        return [Length(t.text_id, len(t.text)) for t in texts]

    said: list[str] = []
    await consume(counted, done, start="end", metrics=("127.0.0.1", 0), say=said.append)
    assert said[0].startswith("metrics: http://127.0.0.1:")
    metrics, names = Metrics("read-1"), Names(Wire("read-1", 4), counted, "counted-again")
    await log.create_topics(names.topics)
    await run_consumer(log, names, Drain(), metrics.of("counted-again"))
    metrics.of("counted-again").publish()

    def value(name: str, topic: str) -> float | None:
        labels = {"service": "counted-again", "arm": "", "topic": topic}
        return metrics.registry.get_sample_value(f"contraflow_{name}_total", labels)

    assert value("records_in", "texts") == 600
    assert value("records_out", "counted") == 598
    assert value("dead_letters", "texts") == 2


WRONG = """
from contraflow import Text, consumer

@consumer(topic="texts")
def wrong(texts: list[Text]) -> None:
    return 1
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wrong:wrong",), "error: the consumer wrong stopped: consumer wrong returned a int; it names no output"),
        (("nowhere:wrong",), "error: cannot import nowhere:wrong: No module named 'nowhere'"),
        (("wrong:wrong", "--run", "read-9"), "error: there is no run 'read-9'"),
        (("wrong:wrong", "--from", "noon"), "error: --from: 'noon' is neither beginning"),
        (("wrong:wrong", "--group", "sampler"), "error: consumer 'sampler': that is the name of a service"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_code_2(
    arguments: tuple[str, ...], words: str, done: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    ended = CliRunner().invoke(main, ["consume", "--run", "read-1", "--runs", str(done.path.parent), *arguments])
    assert ended.exit_code == 2
    assert words in ended.output
    assert "Traceback" not in ended.output
