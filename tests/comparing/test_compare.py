"""Whole runs compared: what is found to be the same, gone and new is held against what was planted."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

import contraflow
from contraflow.cli import main
from contraflow.comparing.comparison import compare_results
from contraflow.comparing.records import Absent, Found, RunComparison
from contraflow.configuration import Loaded, experiment_from
from contraflow.errors import NotComparable
from contraflow.report.compared import comparison_in_parts
from contraflow.results import Results, read_results, read_vectors
from contraflow.runner import execute
from contraflow.runs import RunFolder
from contraflow.runtime.drain import Drain

Run = Callable[..., Results]

BOTH = {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}}
LOUD, GLOOMY = "topic-1", "topic-4"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared") / "runs"


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """A small scripted run, with what a test wants otherwise."""

    def go(**sections: Any) -> Results:
        return contraflow.run(described(**sections), runs=root, new=True)

    return go


def described(**sections: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "experiment": "small",
        "arms": BOTH,
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
        "embedder": {"model": "hashed"},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 1200},
    }
    return {**plain, **sections}


@pytest.fixture(scope="module")
def first(run: Run) -> Results:
    return run()


@pytest.fixture(scope="module")
def second(run: Run, first: Results) -> Results:
    """The same experiment with another seed and another budget."""
    return run(seed=1, budget={"texts": 1000})


@pytest.fixture(scope="module")
def compared(first: Results, second: Results) -> RunComparison:
    return contraflow.compare(first, second)


@pytest.fixture(scope="module")
def only_loud(run: Run) -> Results:
    return run(experiment="loud", arms={"base": {}, "lora": {"plants": ["loud"]}})


@pytest.fixture(scope="module")
def quiet(run: Run) -> Results:
    """A model against itself."""
    return run(experiment="quiet", arms={"base": {}, "tuned": {}}, budget={"texts": 400})


@pytest.fixture(scope="module")
def drained(root: Path) -> Results:
    """A run that was interrupted when it had claimed something."""
    plain = described(experiment="drained", budget={"texts": 20_000})

    async def go() -> RunFolder:
        drain = Drain()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain_when_it_has_claimed, drain, root / "drained-1")
            loaded = Loaded(experiment_from(plain), Path(), Path("x"))
            outcome = await execute(loaded, root, new=True, console=Console(quiet=True), drain=drain)
        return outcome.folder

    folder = anyio.run(go)
    assert not folder.done
    return anyio.run(read_results, folder.path)


async def drain_when_it_has_claimed(drain: Drain, run: Path) -> None:
    def wait() -> None:
        while not any(run.glob("log/*")) or not anyio.run(read_results, run).findings:
            time.sleep(0.05)

    await anyio.to_thread.run_sync(wait)
    drain.request("SIGINT")


def topic(results: Results, found: Found) -> str | None:
    """The topic that most of a finding's discordant pairs are about."""
    topics = Counter(
        results.requests[a.request_id].category
        for a in results.assignments
        if a.arms
        and (a.arms[found.arm].cluster_id == found.cluster_id)
        != (a.arms[results.reference].cluster_id == found.cluster_id)
    )
    return topics.most_common(1)[0][0]


def shown(compared: RunComparison, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in comparison_in_parts(compared):
        console.print(part, highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def findings(found: list[Absent]) -> list[tuple[str, int]]:
    return [(one.run, one.finding.cluster_id) for one in found]


def test_what_was_planted_is_in_both_and_each_is_matched_to_its_own_kind(
    first: Results, second: Results, compared: RunComparison
) -> None:
    pairs = [(topic(first, s.first), topic(second, s.second)) for s in compared.stable]
    assert all(mine == theirs for mine, theirs in pairs)
    assert {(s.first.shows, topic(first, s.first)) for s in compared.stable} >= {("tuned", LOUD), ("tuned", GLOOMY)}
    for stable in compared.stable:
        assert stable.first.shows == stable.second.shows
        assert stable.prompts > 0


def test_every_finding_is_told_once(first: Results, second: Results, compared: RunComparison) -> None:
    told = [(first.folder.run, s.first.cluster_id) for s in compared.stable]
    told += [(second.folder.run, s.second.cluster_id) for s in compared.stable]
    told += findings([*compared.gone, *compared.new, *compared.parts])
    there = [(run.folder.run, f.claim.cluster_id) for run in (first, second) for f in run.findings]
    assert sorted(told) == sorted(there)


def test_a_finding_has_the_figures_of_its_run(first: Results, compared: RunComparison) -> None:
    findings = {f.claim.cluster_id: f for f in first.findings}
    for found in (s.first for s in compared.stable):
        claim, verdict = findings[found.cluster_id].claim, findings[found.cluster_id].verdict
        assert found.s == (claim.s if found.shows == "tuned" else claim.n - claim.s) > claim.n / 2
        assert (found.n, found.log_e, found.generalises) == (claim.n, claim.log_e, claim.generalises)
        assert verdict is not None
        assert found.verdict == verdict.status
        assert found.effect is not None
    assert all(s.verdict_changed == (s.first.verdict != s.second.verdict) for s in compared.stable)


def test_the_other_way_round_what_was_new_is_gone(first: Results, second: Results, compared: RunComparison) -> None:
    back = contraflow.compare(second, first)
    assert sorted((s.second.cluster_id, s.first.cluster_id) for s in back.stable) == sorted(
        (s.first.cluster_id, s.second.cluster_id) for s in compared.stable
    )
    assert (findings(back.gone), findings(back.new)) == (findings(compared.new), findings(compared.gone))


def test_a_behaviour_of_one_adapter_alone_is_gone_whatever_the_arms_are_called(
    first: Results, only_loud: Results
) -> None:
    compared = contraflow.compare(first, only_loud)
    assert compared.arms == {"tuned": "lora"}
    assert {topic(first, one.finding) for one in compared.gone} == {GLOOMY}
    assert compared.stable
    assert {topic(first, s.first) for s in compared.stable} == {LOUD}
    assert compared.new == []
    for one in compared.gone:
        assert one.asked > 0
        if one.nearest is not None:
            assert one.nearest.claim == "none"
            assert one.nearest.log_e < one.nearest.needed
    assert any(one.finding.shows == "base" and one.nearest is not None for one in compared.gone), (
        "what the base model says instead is there, and does not differ"
    )
    said = words(shown(compared))
    assert "arm tuned with lora" in said
    assert re.search(r"log E -?\d+\.\d of the \d+\.\d that a claim takes; its prompts were asked \d+ times?", said)


def test_runs_that_measure_against_different_models_are_refused(first: Results, run: Run) -> None:
    exchanged = run(experiment="exchanged", reference="tuned", budget={"texts": 100})
    with pytest.raises(NotComparable, match="reference plants"):
        contraflow.compare(first, exchanged)


def test_what_is_claimed_the_other_way_round_is_said_to_be_reversed(first: Results) -> None:
    assert first.regions is not None
    claims = tuple(
        msgspec.structs.replace(claim, direction=-claim.direction, s=claim.n - claim.s)
        for claim in first.regions.claims
    )
    regions = msgspec.structs.replace(first.regions, claims=claims)
    turned = dataclasses.replace(first, regions=regions)
    vectors = anyio.run(read_vectors, first)
    compared = compare_results(first, vectors, turned, vectors)
    assert not compared.stable
    assert not compared.parts
    assert "reversed" in {one.nearest.claim for one in compared.gone if one.nearest}
    assert "claims the reverse" in words(shown(compared))


def test_with_another_encoder_texts_are_compared_by_their_words(first: Results, run: Run) -> None:
    other = run(experiment="encoder", embedder={"model": "hashed", "dim": 192})
    compared = contraflow.compare(first, other)
    assert compared.encoder == ""
    assert "their texts' words (other encoders)" in words(shown(compared))
    topics = [(topic(first, s.first), topic(other, s.second)) for s in compared.stable]
    assert {LOUD, GLOOMY} <= {mine for mine, _ in topics}
    assert all(mine == theirs for mine, theirs in topics)


def test_a_run_that_claims_nothing_says_so_and_how_near_it_came(first: Results, quiet: Results) -> None:
    compared = contraflow.compare(first, quiet)
    assert len(compared.gone) == len(first.findings)
    assert "quiet-1 has claimed no difference yet, in 200 pairs" in words(shown(compared))
    assert "0 in both" in words(shown(contraflow.compare(quiet, first)))


def test_a_run_that_was_interrupted_is_compared_as_it_stands(first: Results, drained: Results) -> None:
    compared = contraflow.compare(first, drained)
    assert compared.second.why == ""
    said = words(shown(compared))
    assert "drained-1 is unfinished: this is where it stands" in said
    assert compared.stable


def test_configuration_and_cost_are_side_by_side(first: Results, compared: RunComparison) -> None:
    settings = {s.key: (s.first, s.second) for s in compared.settings}
    assert settings == {"seed": ("0", "1"), "budget.texts": ("1200", "1000")}
    cost = compared.first
    assert first.regions is not None
    assert (cost.texts, cost.pairs, cost.claims) == (1200, 600, len(first.regions.claims))
    assert cost.first_claim == min(claim.claimed_at for claim in first.regions.claims)
    timing = json.loads((first.folder.path / "timing.json").read_text())
    assert cost.seconds == pytest.approx(timing["seconds"], abs=0.001)
    assert compared.second.texts == 1000


def test_what_ran_in_another_version_is_told(first: Results, second: Results, tmp_path: Path) -> None:
    older = RunFolder(tmp_path / "small-9")
    shutil.copytree(second.folder.path, older.path)
    (older.path / "versions.json").write_text(json.dumps({**second.folder.versions, "numpy": "1.0", "torch": None}))
    compared = contraflow.compare(first, dataclasses.replace(second, folder=older))
    told = {s.key: s.second for s in compared.settings if s.key.startswith("version of")}
    assert told["version of numpy"] == "1.0"
    assert set(told.values()) <= {"1.0", "(none)"}


def test_a_run_is_not_compared_with_itself(first: Results, root: Path) -> None:
    with pytest.raises(NotComparable, match="both are small-1"):
        contraflow.compare("small-1", first, runs=root)


def test_runs_that_asked_nothing_in_common_are_refused_with_what_differs(first: Results, run: Run) -> None:
    plain = {"backend": "scripted", "world": "everyday", "batch": 256}
    elsewhere = run(experiment="elsewhere", generator=plain, arms={"base": {}, "tuned": {}}, budget={"texts": 200})
    with pytest.raises(NotComparable, match=r'(?s)no prompt in common.*generator.world: "kitchen" -> "everyday"'):
        contraflow.compare(first, elsewhere)


def test_several_arms_are_compared_by_name(first: Results, run: Run) -> None:
    arms = {"base": {}, "other": {}, "tuned": {"plants": ["loud"]}}
    three = run(experiment="three", arms=arms)
    compared = contraflow.compare(first, three)
    assert compared.arms == {"tuned": "tuned"}
    assert {LOUD} == {topic(first, s.first) for s in compared.stable}
    assert "; other of three-1 left out" in words(shown(compared))
    strangers = run(experiment="strangers", arms={"base": {}, "x": {}, "y": {}}, budget={"texts": 300})
    with pytest.raises(NotComparable, match=r"no arm in common \(tuned; x, y\)"):
        contraflow.compare(first, strangers)


def test_the_same_stored_pairs_are_what_runs_over_stored_texts_share(
    first: Results, tmp_path: Path, root: Path
) -> None:
    rows = [{"prompt": t.prompt, "arm": t.arm, "text": t.text} for by in first.texts.values() for t in by.values()]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stored = {
        "experiment": "stored",
        "generator": {"backend": "replay"},
        "replay": {"path": str(tmp_path / "texts.jsonl")},
    }
    runs = [
        contraflow.run(described(arms={"base": {}, "tuned": {}}, seed=seed, **stored), runs=root, new=True)
        for seed in (0, 1)
    ]
    compared = contraflow.compare(*runs)
    assert compared.stable
    assert all(topic(runs[0], s.first) == topic(runs[1], s.second) for s in compared.stable)
    assert contraflow.compare(first, runs[0]).stable, "where only one run's texts are stored, prompts are compared"


def test_what_is_printed_fits_eighty_columns(compared: RunComparison) -> None:
    said = shown(compared)
    assert max(map(len, said.splitlines())) <= 80
    assert f"small-1 and small-2: {len(compared.stable)} in both" in words(said)
    for stable in compared.stable:
        assert words(stable.first.statement) in words(said)
        assert words(stable.second.statement) in words(said.replace("small-2", ""))


def test_what_a_model_says_cannot_steer_the_terminal(compared: RunComparison) -> None:
    evil = msgspec.structs.replace(compared.stable[0].first, statement="\x1b[2J[bold]:pirate_flag:")
    stable = [msgspec.structs.replace(compared.stable[0], first=evil)]
    said = shown(msgspec.structs.replace(compared, stable=stable))
    assert "\x1b" not in said
    assert "[2J[bold]:pirate_flag:" in said


def says(root: Path, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["compare", *arguments, "--runs", str(root)], catch_exceptions=False)


def test_the_command_compares_by_name_and_prints_json_for_scripts(compared: RunComparison, root: Path) -> None:
    assert f"small-1 and small-2: {len(compared.stable)} in both" in says(root, "small-1", "small").output
    plain = json.loads(says(root, "small-1", "small-2", "--json").output)
    assert msgspec.convert(plain, RunComparison) == compared


def test_the_command_says_which_runs_there_are(compared: RunComparison, root: Path) -> None:
    missing = says(root, "small-1", "smal")
    assert missing.exit_code == 2
    assert "there is no run 'smal'" in missing.stderr
    same = says(root, "small", "small-2")
    assert same.exit_code == 2
    assert "both are small-2" in same.stderr
