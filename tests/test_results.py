"""A run is read as its log holds it, and what grows with its texts is held only where it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import contraflow
from contraflow.events import Assignment, Origin, Placement, request_id
from contraflow.log.embedded import EmbeddedLog
from contraflow.places import read_places
from contraflow.report.files import write_results
from contraflow.report.page import write_report
from contraflow.results import Results
from contraflow.run_log import RunLog
from contraflow.topics import specs
from contraflow.wire import Wire, partition_of

RUN = "read-1"


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[RunLog]:
    async with await EmbeddedLog.open(tmp_path) as opened:
        await opened.create_topics(specs(RUN, 4))
        yield RunLog(opened, Wire(RUN, 4))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    plain = {
        "experiment": "held",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
        "embedder": {"model": "hashed", "cache": str(tmp_path_factory.mktemp("cache"))},
        "budget": {"texts": 2000},
    }
    return contraflow.run(plain, runs=tmp_path_factory.mktemp("runs"))


def assigned(seq: int, **fields: object) -> Assignment:
    plain = {
        "seq": seq,
        "request_id": request_id(RUN, seq),
        "prompt_id": "p",
        "origin": Origin.SCAN,
        "snapshot": 0,
        "arms": {arm: Placement(cluster_id=10 * seq + i, second=0, margin=0.0) for i, arm in enumerate(("a", "b"))},
    }
    return Assignment(**{**plain, **fields})  # type: ignore[arg-type]  # by name


async def write(log: RunLog, *assignments: Assignment) -> None:
    places = [partition_of(a.seq, log.wire.partitions) for a in assignments]
    records = [
        log.wire.out("assignments", a.request_id, a, partition=place)
        for a, place in zip(assignments, places, strict=True)
    ]
    await log.log.append(records)


async def test_assignments_are_read_by_seq_over_all_partitions_and_none_is_left_out(log: RunLog) -> None:
    seqs = [*range(1, 9000), *range(9001, 9009, 4), 9010, 9010]  # the last ones have gaps, and one is there twice
    await write(log, *map(assigned, seqs))
    assert [a.seq async for a in log.assignments()] == seqs


async def test_events_of_other_keys_are_not_read(log: RunLog) -> None:
    await write(log, *(assigned(seq) for seq in range(1, 20)))
    wanted = {request_id(RUN, seq) for seq in (3, 12)}
    assert sorted([a.seq async for a in log.events("assignments", Assignment, wanted)]) == [3, 12]


async def test_a_pair_that_failed_has_no_place_and_a_probe_is_marked(log: RunLog) -> None:
    await write(log, assigned(1), assigned(2, failed=True, arms={}), assigned(3, origin=Origin.PROBE))
    places = await read_places(log, ["a", "b"])
    assert places.seqs.tolist() == [1, 3]
    assert places.probes.tolist() == [False, True]
    assert {arm: ids.tolist() for arm, ids in places.clusters.items()} == {"a": [10, 30], "b": [11, 31]}


def test_the_places_of_a_run_are_those_of_its_assignments(results: Results) -> None:
    rows = [(a.seq, {arm: place.cluster_id for arm, place in a.arms.items()}) for a in results.assignments]
    assert results.places.seqs.tolist() == [seq for seq, _ in rows]
    assert {arm: ids.tolist() for arm, ids in results.places.clusters.items()} == {
        arm: [there[arm] for _, there in rows] for arm in ("base", "tuned")
    }


def test_result_files_and_report_hold_no_topic_that_grows_with_the_texts(results: Results, tmp_path: Path) -> None:
    results.__dict__.pop("assignments", None)  # another test may have asked for them
    write_results(results)
    write_report(results, tmp_path / "report.html")
    assert results.findings
    assert not {"requests", "texts", "assignments"} & vars(results).keys()
    findings = [pair for finding in results.findings for pair in finding.pairs]
    assert len(results.shown) == len({pair.request_id for pair in findings}) < 0.5 * len(results.places.seqs)
    assert len((results.folder.results / "assignments.jsonl").read_text().splitlines()) == len(results.places.seqs)


def test_the_texts_beside_a_finding_are_those_of_the_run(results: Results) -> None:
    for finding in results.findings:
        for pair in finding.pairs:
            assert pair.texts == {arm: results.texts[pair.request_id][arm].text for arm in ("base", "tuned")}
