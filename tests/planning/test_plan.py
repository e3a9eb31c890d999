"""``contraflow plan``: what a run will take is said before it runs, and holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

import contraflow
from contraflow.asked import Asked, asked_by
from contraflow.cli import main
from contraflow.configuration import Resolved, experiment_from, resolve
from contraflow.decoder.scripted import ScriptedGenerator
from contraflow.planning.calibrating import Pace
from contraflow.planning.reckoning import Measured, Planned, ServerPlan, reckon
from contraflow.report.page import write_report

Make = Callable[..., dict[str, Any]]
Small = Callable[..., tuple[Resolved, Asked]]
SLOW = Pace(100, 0, 2.0, 8.0, 30.0, ("some words",), "")
FAST = Pace(300, 0, 6.0, 8.0, 20.0, ("other words",), "")
MEASURED = Measured({"base": SLOW, "tuned": FAST}, 0.01, ["some words"] * 9, 1e6, 1e6, 900.0, {})


@pytest.fixture
def said(tmp_path: Path, experiment: Make) -> Callable[..., Result]:
    def run(*options: str, **sections: Any) -> Result:
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(experiment(**sections)))
        return CliRunner().invoke(main, ["plan", str(path), "--runs", str(tmp_path / "runs"), *options])

    return run


@pytest.fixture
def small(experiment: Make) -> Small:
    def make(**sections: Any) -> tuple[Resolved, Asked]:
        plain = experiment_from(experiment(**sections))
        asked = asked_by(plain, Path())
        return resolve(plain, generator_batch=64, prompts=len(asked.prompts)), asked

    return make


def test_the_generators_are_measured_on_the_prompts_and_nothing_is_kept(
    said: Callable[..., Result], tmp_path: Path
) -> None:
    found = msgspec.json.decode(said("--seconds", ".3", "--json").stdout, type=Planned)
    assert found.texts == 1000
    assert found.ends == "budget.texts"
    assert found.seconds
    assert 0 < found.seconds < 60
    assert (
        10
        < found.tokens / found.texts
        == pytest.approx(sum(arm.completion_tokens for arm in found.arms.values()) / 2, rel=0.01)
    )
    assert not (tmp_path / "runs").exists()
    assert found.warnings == ()


def test_the_slowest_arm_sets_the_pace_and_every_share_of_the_time_adds_up(small: Small) -> None:
    found = reckon(*small(), MEASURED)
    assert found.decoding == pytest.approx(500 / 2.0)
    assert found.embedding == pytest.approx(1000 * 0.01)
    assert found.seconds == pytest.approx(500 / 2.0 + 10 + 1000 / 2800)
    assert found.tokens == 500 * 50


@pytest.mark.parametrize(
    ("budget", "texts", "ends"),
    [
        ({"texts": 1000, "tokens": 5_000}, 200, "budget.tokens"),
        ({"texts": 1000, "minutes": 1}, 2 * int(60 / (0.5 + 0.02 + 2 / 2800)), "budget.minutes"),
    ],
)
def test_the_bound_that_comes_first_ends_the_run(small: Small, budget: dict[str, int], texts: int, ends: str) -> None:
    found = reckon(*small(budget=budget), MEASURED)
    assert (found.texts, found.ends) == (texts, ends)
    assert found.warnings[0].startswith(f"{ends}: ")
    assert f"end the run after about {texts:,} of 1,000 texts" in found.warnings[0]


def test_what_does_not_fit_is_said_with_what_to_do(small: Small) -> None:
    tight = MEASURED._replace(
        disk_free=1.0, memory_free=500.0, paces={"base": SLOW._replace(failed=3, error="no luck")}
    )
    tiers = {"tiers": ["keywords", {"openai": "gpt-4.1"}]}
    resolved, asked = small(validation=tiers, budget={"texts": 1000, "dollars": 0.5})
    warned = reckon(resolved, asked, tight).warnings
    assert warned[0] == "arm base: 3 of 103 requests failed, most often with: no luck"
    assert "the disk has 1 MB free and the run writes about" in warned[1]
    assert "choose other folders with --runs and embedder.cache" in warned[1]
    assert "500 MB of memory are free and the run needs about" in warned[2]
    assert warned[3].startswith("budget.dollars: judging 20 statements to the end costs about $")
    assert "may spend $0.50" in warned[3]


SERVERS: dict[str, Any] = {
    "arms": {
        "declared": {"model": "mine", "base_url": "http://me/v1", "price": [1, 10]},
        "known": {"model": "gpt-4.1-nano"},
        "unknown": {"model": "gpt-4.1-nano", "base_url": "http://me/v1"},
    },
    "generator": {"backend": "openai"},
    "prompts": {"path": str(Path(__file__).parents[2] / "examples/kitchen/prompts.jsonl")},
    "budget": {"texts": 3000},
}


def test_answers_of_servers_cost_what_is_declared_or_the_table_knows(small: Small) -> None:
    found = reckon(*small(**SERVERS), MEASURED._replace(paces=dict.fromkeys(SERVERS["arms"], SLOW)))
    assert found.servers["declared"].dollars == pytest.approx(1000 * (8 * 1 + 30 * 10) / 1e6)
    assert found.servers["known"].dollars == pytest.approx(1000 * (8 * 0.1 + 30 * 0.4) / 1e6)
    assert found.servers["unknown"] == ServerPlan(False, None)
    assert reckon(*small(), MEASURED).servers == {}


def test_a_server_that_tells_no_tokens_has_no_known_cost(small: Small) -> None:
    found = reckon(*small(**SERVERS), MEASURED._replace(paces={"declared": SLOW._replace(prompt_tokens=0)}))
    assert found.servers["declared"] == ServerPlan(True, None)


def test_what_is_not_known_of_the_cost_of_answers_is_said(said: Callable[..., Result]) -> None:
    output = " ".join(said("--seconds", "0", **SERVERS).stdout.split())
    assert "answers of known not measured (--seconds 0)" in output
    assert "answers of unknown no price is declared (arms.unknown.price: [dollars per million tokens read," in output


def test_nothing_that_bounds_a_run_is_an_error(said: Callable[..., Result]) -> None:
    result = said("--seconds", "0", budget={"texts": None})
    assert result.exit_code == 2
    assert "budget: nothing bounds the number of texts; set budget.texts" in result.stderr
    result = said("--seconds", "0", budget={"texts": None, "minutes": 2})
    assert "how many texts fit into budget.minutes was not measured" in result.stderr


def test_without_a_measurement_tokens_are_the_most_there_can_be(said: Callable[..., Result]) -> None:
    found = json.loads(said("--seconds", "0", "--json").stdout)
    assert found["tokens"] == 1000 * 40
    assert found["seconds"] is found["memory_mb"] is None
    assert "not measured" in said("--seconds", "0").stdout


def test_a_generator_that_answers_with_errors_alone_is_an_error(said: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def generate(prompts):\n    raise RuntimeError('no engine')\n")
    result = said(
        "--seconds", ".1", arms={"a": {}, "b": {}}, generator={"backend": "broken:generate"}, prompts="unconditional"
    )
    assert result.exit_code == 2
    assert "answered with errors alone: broken:generate raised RuntimeError('no engine')" in result.stderr


def test_a_generator_that_is_not_there_is_an_error(said: Callable[..., Result]) -> None:
    result = said(arms={"a": {}, "b": {}}, generator={"backend": "gone:generate"}, prompts="unconditional")
    assert result.exit_code == 2
    assert "generator.backend: cannot import 'gone:generate'" in result.stderr


def test_the_disk_that_is_planned_is_about_what_a_run_takes(
    said: Callable[..., Result], experiment: Make, tmp_path: Path
) -> None:
    sections = {"embedder": {"model": "hashed", "cache": str(tmp_path / "cache")}, "budget": {"texts": 1500}}
    found = json.loads(said("--seconds", ".2", "--json", **sections).stdout)
    contraflow.run(experiment(**sections), runs=tmp_path / "runs")
    took = sum(
        path.stat().st_size for top in ("runs", "cache") for path in (tmp_path / top).rglob("*") if path.is_file()
    )
    assert 0.5 < found["disk_mb"] * 2**20 / took < 2.5  # a short run is mostly what every run has


def test_the_report_says_what_memory_a_run_took(experiment: Make, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment()))
    result = CliRunner().invoke(main, ["run", str(path), "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert "memory at most: contraflow " in (tmp_path / "runs" / "small-1" / "report.html").read_text()


def test_the_report_shows_what_an_engine_says_of_its_use(
    experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedGenerator, "usage", "41 % of 900 tokens from its <cache>", raising=False)
    results = contraflow.run(experiment(budget={"texts": 400}), runs=tmp_path / "runs")
    page = write_report(results, tmp_path / "report.html").read_text()
    assert page.count("41 % of 900 tokens from its &lt;cache&gt;") == 1
