"""The whole ring on the embedded log: what it finds, and that it is what the cores find without a log."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from threadpoolctl import threadpool_limits

import contraflow
from contraflow.clusterer.core import Clusterer, ClustererConfig
from contraflow.decoder.scripted import ScriptedGenerator, load_world
from contraflow.embedder.hashed import HashedEncoder
from contraflow.embedder.neighbours import nearest_prompts
from contraflow.errors import RunConflict
from contraflow.events import VerdictStatus
from contraflow.log.embedded import EmbeddedLog
from contraflow.prompts import Prompt
from contraflow.rehearsal import rehearse
from contraflow.report.files import write_results
from contraflow.results import Results, read_results
from contraflow.runs import RunFolder
from contraflow.sampler.core import Sampler, SamplerConfig
from contraflow.sampler.pool import EndlessPool
from contraflow.sampler.value import Neighbours

Make = Callable[..., dict[str, Any]]


def digests(folder: RunFolder) -> dict[str, str]:
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in sorted(folder.results.iterdir())}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    plain = {
        "experiment": "small",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
        "embedder": {"model": "hashed", "cache": str(tmp_path_factory.mktemp("cache"))},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 2000},
    }
    return contraflow.run(plain, runs=tmp_path_factory.mktemp("runs"))


def test_both_planted_behaviours_are_claimed_on_their_topics(results: Results) -> None:
    prompts = {r.prompt_id: r.category for r in results.requests.values()}
    topics: dict[int, set[str | None]] = {}
    for claim in results.regions.claims if results.regions else ():
        hits = [
            prompts[a.prompt_id]
            for a in results.assignments
            if (a.arms["tuned"].cluster_id == claim.cluster_id) != (a.arms["base"].cluster_id == claim.cluster_id)
        ]
        topics[claim.cluster_id] = {topic for topic in set(hits) if hits.count(topic) >= 0.8 * len(hits)}
    assert {"topic-1", "topic-4"} <= set().union(*topics.values())
    assert all(topics.values()), "a claim that is of no plant"


def test_a_claims_statement_names_the_words_of_the_behaviour(results: Results) -> None:
    planted = load_world("kitchen").words("plant-loud")
    loud = [f for f in results.findings if f.claim.direction > 0 and planted & set(f.cluster.keywords)]
    assert loud
    assert all(f.hypothesis is not None and planted & set(f.hypothesis.keywords) for f in loud)
    assert all(f.statement.startswith("Answers of 'tuned' more often than those of 'base'") for f in loud)


def test_strong_claims_are_accepted_by_fresh_pairs_only(results: Results) -> None:
    accepted = [f for f in results.findings if f.verdict and f.verdict.status is VerdictStatus.ACCEPTED]
    assert accepted
    for finding in accepted:
        assert finding.hypothesis is not None
        mine = [j for j in results.judgments if j.hypothesis_id == finding.hypothesis.hypothesis_id]
        judged = [j for j in mine if not j.elsewhere]
        assert judged
        assert all(j.seq > finding.claim.claimed_at for j in judged)
        assert not {j.request_id for j in judged} & set(finding.hypothesis.written_from)


def test_every_request_is_answered_once_by_each_arm_and_nothing_is_dead(results: Results) -> None:
    assert [a.seq for a in results.assignments] == list(range(1, 1001))
    assert all(set(answers) == {"base", "tuned"} for answers in results.texts.values())
    assert len(results.texts) == 1000
    assert results.dead == {}
    assert results.why == "budget: 2000 texts"


def test_a_fifth_of_the_requests_stay_uniform_and_some_are_steered(results: Results) -> None:
    epochs = [s for s in results.steering if s.phase != "warm start"]
    assert all(s.shares["explore"] >= 0.2 * sum(s.shares.values()) for s in epochs)
    assert sum(s.shares.get("steer", 0) + s.shares.get("confirm", 0) for s in epochs) > 100


def test_it_finds_what_the_cores_find_in_memory(results: Results) -> None:
    world = load_world("kitchen")
    prompts = [Prompt(f"p{i}", text, category) for i, (text, category) in enumerate(world.prompts())]
    encoder = HashedEncoder()
    neighbours = Neighbours(*nearest_prompts(encoder.encode([p.text for p in prompts])[0]))
    run = results.folder.run
    sampler = Sampler(
        SamplerConfig(run=run, epoch=32, in_flight=2, warm_start=96, pairs=1000),
        prompts,
        EndlessPool(len(prompts)),
        neighbours,
    )
    config = ClustererConfig(("base", "tuned"), "base", 384, warm_start=96, start=32, max_clusters=400, epoch=32)
    arms = [ScriptedGenerator("base", world).complete, ScriptedGenerator("tuned", world, ("loud", "gloomy")).complete]
    with threadpool_limits(1):  # as the service: on some machines two threads cut even small sums elsewhere
        steps = list(rehearse(sampler, Clusterer(config), arms, encoder))
    assert [a for step in steps for a in step.assignments] == results.assignments
    assert steps[-1].regions == results.regions
    final = {c.cluster_id: c for step in steps for c in step.clusters}
    assert {c.cluster_id: c for c in results.clusters} == final
    evidence = sorted((e for step in steps for e in step.evidence), key=lambda e: (e.seq, e.cluster_id))
    assert sorted(results.evidence, key=lambda e: (e.seq, e.cluster_id)) == evidence


def test_the_same_seed_gives_equal_result_files_and_another_seed_does_not(experiment: Make, tmp_path: Path) -> None:
    found = [
        digests(contraflow.run(experiment(seed=seed), runs=tmp_path / name).folder)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert found[0] == found[1]
    assert found[0]["assignments.jsonl"] != found[2]["assignments.jsonl"]


def test_a_done_run_is_followed_by_a_new_one(experiment: Make, runs: Path) -> None:
    plain = experiment(budget={"texts": 200})
    assert contraflow.run(plain, runs=runs).folder.run == "small-1"
    assert contraflow.run(plain, runs=runs).folder.run == "small-2"


def test_an_unfinished_run_is_not_resumed_with_another_configuration(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget={"texts": 200}), runs=runs).folder
    (folder.path / "done").unlink()
    with pytest.raises(RunConflict, match=r"seed: 0 -> 5"):
        contraflow.run(experiment(budget={"texts": 200}, seed=5), runs=runs)
    with pytest.raises(RunConflict, match="prompts"):
        everyday = {"backend": "scripted", "world": "everyday", "batch": 256}
        contraflow.run(experiment(budget={"texts": 200}, generator=everyday), runs=runs)


def test_a_run_folder_of_something_else_is_refused(experiment: Make, runs: Path) -> None:
    (runs / "small-1").mkdir(parents=True)
    with pytest.raises(RunConflict, match=r"is not a run of contraflow"):
        contraflow.run(experiment(), runs=runs)


def test_a_run_that_is_being_run_is_left_alone(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget={"texts": 200}), runs=runs).folder
    (folder.path / "done").unlink()
    with folder.locked(), pytest.raises(RunConflict, match="is being run by process"):
        contraflow.run(experiment(budget={"texts": 200}), runs=runs)


def test_three_arms_are_each_compared_with_the_reference(experiment: Make, runs: Path) -> None:
    arms = {"base": {}, "loud": {"plants": ["loud"]}, "gloomy": {"plants": ["gloomy"]}}
    results = contraflow.run(experiment(arms=arms, budget={"texts": 2100}), runs=runs)
    assert {claim.arm for claim in results.regions.claims} == {"loud", "gloomy"} if results.regions else False


def test_results_are_data_frames(results: Results) -> None:
    findings, texts = results.frame("findings"), results.frame("texts")
    assert len(findings) == len(results.findings) > 0
    assert len(texts) == 2000
    assert msgspec.to_builtins(results.clusters[0])["cluster_id"] == results.frame("clusters").iloc[0]["cluster_id"]


async def test_the_result_files_do_not_tell_when_the_log_was_compacted(tmp_path: Path, experiment: Make) -> None:
    plain = experiment(budget={"texts": 3000})
    folder = (await anyio.to_thread.run_sync(lambda: contraflow.run(plain, runs=tmp_path))).folder
    before = digests(folder)
    async with await EmbeddedLog.open(folder.log) as log:
        assert await log.clean({}, await log.groups()) > 0
    write_results(await read_results(folder.path))
    assert digests(folder) == before
