"""Dead letters through the command line, on either log: those of the real ring, and those of a consumer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import contraflow
from contraflow.cli import main
from contraflow.configuration import Loaded, experiment_from
from contraflow.events import Assignment, Cluster, Text, decode
from contraflow.log.opening import open_log
from contraflow.log.protocol import Outgoing
from contraflow.results import read_topic
from contraflow.runner import execute
from contraflow.runs import RunFolder
from contraflow.wire import Wire

pytestmark = pytest.mark.timeout(120)

LOGS = ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)]
REQUEST, TEXT, EMBEDDING = 597, 595, 596
"""The pairs whose records cannot be read."""

CONSUMER = """
from pathlib import Path
import msgspec
from contraflow import Text, consumer

class Length(msgspec.Struct, frozen=True, tag="length.v1"):
    text_id: str
    length: int

@consumer(topic="texts", output="lengths", batch=16)
def picky(texts: list[Text]) -> list[Length]:
    unlucky = [] if Path("mended").exists() else [t.text_id for t in texts if t.seq in (11, 12)]
    if unlucky or any(t.seq == 13 for t in texts):
        raise ValueError(f"unlucky \\x1b[31m{unlucky}")
    return [Length(t.text_id, len(t.text)) for t in texts]
"""


@pytest.fixture(scope="module", params=LOGS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run that met a request, a text and an embedding that cannot be read."""
    root = tmp_path_factory.mktemp("dead")
    log: Any = "embedded"
    if request.param == "kafka":
        log = {"kafka": request.getfixturevalue("kafka"), "prefix": f"t-{uuid4().hex[:12]}-"}
    plain = {
        "experiment": "small",
        "arms": {"base": {}, "tuned": {"plants": ["loud"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 128},
        "embedder": {"model": "hashed", "cache": str(root / "cache")},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 1200},
        "partitions": 4,
        "log": log,
    }
    anyio.run(run_and_damage, plain, root / "runs")
    (root / "own.py").write_text(CONSUMER)
    return root


async def run_and_damage(plain: dict[str, Any], runs: Path) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(damage, RunFolder(runs / "small-1"))
        loaded = Loaded(experiment_from(plain), Path(), Path("small.yaml"))
        assert (await execute(loaded, runs, new=False, console=Console(quiet=True))).done


async def damage(folder: RunFolder) -> None:
    """Records that nobody can read, as soon as every service works; those of the ring with their ``seq`` come later.

    So what a damaged record is followed by is what its replay would be: a good record of the same pair.
    """
    wire = Wire(folder.run, 4)

    def damaged(topic: str, seq: int, value: bytes, **headers: bytes) -> Outgoing:
        named = {name.replace("_", "-"): header for name, header in headers.items()}
        return Outgoing(wire.topic(topic), seq % 4, f"small-1:{seq}", value, named)

    while not (folder.path / "config.json").exists():  # noqa: ASYNC110  # files tell nobody
        await anyio.sleep(0.01)
    async with open_log(folder) as log:
        while not await read_topic(log, wire, "assignments"):  # noqa: ASYNC110
            await anyio.sleep(0.01)
        text = {"contraflow_arm": b"tuned", "contraflow_schema": b"text.v1"}
        await log.append(
            [
                damaged("requests", REQUEST, b"no request"),
                damaged("texts", TEXT, b"\x1b[31mno text\xff" + 500 * b"!", **text),
                damaged("embeddings", EMBEDDING, b"no embedding", contraflow_arm=b"base"),
            ]
        )


def typed(root: Path, *arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments), "--runs", str(root / "runs")], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.output
    return result


def contraflow_says(root: Path, *arguments: str | Path, code: int = 0) -> str:
    return typed(root, *arguments, code=code).output


def in_json(root: Path, *arguments: str | Path) -> Any:
    return json.loads(typed(root, *arguments, "--json").stdout)


def records(root: Path, topic: str) -> list[Any]:
    async def go() -> list[Any]:
        folder = RunFolder(root / "runs" / "small-1")
        async with open_log(folder) as log:
            return await read_topic(log, Wire(folder.run, 4), topic)

    return anyio.run(go)


def texts_of(root: Path) -> list[Text]:
    return [decode(r.value, Text) for r in records(root, "texts") if b"no text" not in r.value]


def test_they_are_listed_by_topic_with_their_service_and_the_newest_error(root: Path) -> None:
    rows = {row["topic"]: row for row in in_json(root, "dead", "list", "small-1")}
    of_the_ring = {"requests.dead": 2, "texts.dead": 1, "embeddings.dead": 1}  # every arm was asked the request
    assert {name: rows[name]["records"] for name in of_the_ring} == of_the_ring
    assert [rows[name]["service"] for name in of_the_ring] == ["decoder", "embedder", "clusterer"]
    assert rows["texts.dead"]["error"].startswith("not a text.v1: ")
    said = contraflow_says(root, "dead", "list", "small-1")
    assert all(name in said for name in of_the_ring)
    assert "contraflow dead show small-1 TOPIC" in said


def test_one_that_cannot_be_decoded_is_shown_as_bytes_with_where_it_came_from(root: Path) -> None:
    said = contraflow_says(root, "dead", "show", "small-1", "texts")
    assert f"from   small-1.texts {TEXT % 4}, offset " in said
    assert f", key small-1:{TEXT}\n" in said
    assert "error  not a text.v1" in said
    assert r"b'\x1b[31mno text\xff!!!" in said
    assert "bytes more" in said
    (row,) = in_json(root, "dead", "show", "small-1", "small-1.texts.dead")
    (damaged,) = [r for r in records(root, "texts") if b"no text" in r.value]
    assert row["origin"] == {"topic": "small-1.texts", "partition": TEXT % 4, "offset": damaged.offset}
    assert row["event"] is None
    assert row["unreadable"].startswith("not a text.v1")
    assert in_json(root, "dead", "show", "small-1", "texts", "--offset", str(row["offset"])) == [row]


def test_what_is_not_there_is_said_with_what_is(root: Path) -> None:
    said = contraflow_says(root, "dead", "show", "small-1", "tests", code=2)
    assert "small-1 has no dead letters 'tests' (there are" in said
    assert 'did you mean "texts.dead"?' in said
    said = contraflow_says(root, "dead", "show", "small-1", "texts", "--offset", "99", code=2)
    assert "texts.dead of small-1 has no record at offset 99" in said


def test_a_pair_that_was_closed_stays_closed_although_its_record_comes_again(root: Path) -> None:
    texts = texts_of(root)
    assert Counter((t.seq, t.arm) for t in texts if t.seq == REQUEST) == {(REQUEST, "base"): 2, (REQUEST, "tuned"): 2}
    assignments = [decode(r.value, Assignment) for r in records(root, "assignments")]
    assert sorted(a.seq for a in assignments) == list(range(1, 601))
    assert {a.seq for a in assignments if a.failed} == {REQUEST, TEXT, EMBEDDING}
    clusters = {c.cluster_id: c for c in (decode(r.value, Cluster) for r in records(root, "clusters"))}
    counted = Counter((at.cluster_id, arm) for a in assignments if not a.failed for arm, at in a.arms.items())
    for cluster in clusters.values():
        assert cluster.counts == {arm: counted[cluster.cluster_id, arm] for arm in cluster.counts}


def test_those_of_the_ring_are_not_replayed_and_why_is_said(root: Path) -> None:
    before = {topic: len(records(root, topic)) for topic in ("requests", "texts", "embeddings", "assignments")}
    for topic in ("requests", "texts", "embeddings"):
        said = contraflow_says(root, "dead", "replay", "small-1", topic, code=2)
        assert (
            f"{topic}.dead of small-1 holds records of the ring, whose pairs are closed and counted as failed" in said
        )
        assert "--new" in said
    assert {topic: len(records(root, topic)) for topic in before} == before


def test_those_of_a_consumer_are_given_to_it_once_more_and_only_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root)
    done = in_json(root, "consume", "own:picky", "--run", "small-1")
    assert done["dead"] == 6 + 1  # three pairs, and the text that nobody can read
    said = contraflow_says(root, "dead", "show", "small-1", "texts.picky")
    assert "error  unlucky  [31m['small-1:1" in said
    assert '"text_id": "small-1:13:base"' in said
    letters = in_json(root, "dead", "show", "small-1", "texts.picky")
    first = next(letter for letter in letters if letter["key"] == "small-1:11")
    replay = ("dead", "replay", "small-1", "texts.picky", "--with", "own:picky")

    assert in_json(root, *replay, "--offset", str(first["offset"]))["dead"] == 1, "it is not mended yet"
    (root / "mended").touch()
    again = next(
        r for r in reversed(in_json(root, "dead", "show", "small-1", "texts.picky")) if r["key"] == first["key"]
    )
    assert again["origin"] == first["origin"]
    assert again["event"] == first["event"]

    done = in_json(root, *replay)
    assert (done["replayed"], done["written"], done["dead"]) == (7, 4, 3)
    assert in_json(root, *replay, "--offset", str(first["offset"]))["replayed"] == 0
    (row,) = [row for row in in_json(root, "dead", "list", "small-1") if row["topic"] == "texts.picky.dead"]
    assert (row["service"], row["records"], row["replayed"]) == ("picky", 7 + 1 + 3, 8)
    # of the pair that never passes, and of the one that nobody can read
    assert in_json(root, *replay) == {
        "run": "small-1",
        "topic": "texts.picky.dead",
        "replayed": 3,
        "written": 0,
        "dead": 3,
    }
    written = lengths(root)
    assert {t.text_id for t in texts_of(root) if t.seq != 13} == written.keys()
    assert {count for text, count in written.items() if f":{REQUEST}:" not in text} == {1}


def lengths(root: Path) -> Counter[str]:
    class Length(msgspec.Struct, frozen=True, tag="length.v1"):
        text_id: str
        length: int

    return Counter(row.text_id for row in contraflow.read("small-1", "lengths", Length, runs=root / "runs"))


def test_only_their_own_consumer_is_given_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root)
    other = CONSUMER.replace('topic="texts"', 'topic="embeddings"').replace("Text", "Embedding")
    (root / "other.py").write_text(other)
    said = contraflow_says(root, "dead", "replay", "small-1", "texts.picky", "--with", "other:picky", code=2)
    assert "consumer picky reads embeddings; texts.picky.dead are dead letters of a consumer of texts" in said
    said = contraflow_says(root, "dead", "replay", "small-1", "texts.picky", code=2)
    assert "no consumer 'picky' is installed" in said
    assert "module:function" in said
