"""The command line, as a researcher types it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import contraflow
from contraflow.cli import main
from contraflow.cli.group import command_line
from contraflow.results import Results
from contraflow.runs import RUNS
from logs import log_sizes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that was run to its end."""
    root = tmp_path_factory.mktemp("cli")
    plain = {
        "experiment": "small",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
        "embedder": {"model": "hashed", "cache": str(root / "cache")},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 1000},
    }
    (root / "small.yaml").write_text(yaml.safe_dump(plain))
    result = contraflow_says(root, "run", str(root / "small.yaml"))
    assert result.exit_code == 0, result.output
    (root / "said.txt").write_text(result.output)
    return root


def contraflow_says(root: Path, command: str, *arguments: str) -> Result:
    runs = () if command in ("schemas", "doctor") else ("--runs", str(root / "runs"))
    return CliRunner().invoke(main, [command, *arguments, *runs], catch_exceptions=False)


def test_a_run_ends_with_findings_the_report_and_where_to_look_further(root: Path) -> None:
    said = (root / "said.txt").read_text()
    assert "small-1: starting in" in said
    assert "claimed differences (budget: 1000 texts)" in said
    assert "Answers of 'tuned' more often than those of 'base'" in said
    assert f"Report:        {root / 'runs' / 'small-1' / 'report.html'}" in said
    assert shlex.join(["contraflow", "export", "small-1", "--runs", str(root / "runs")]) in said
    assert (root / "runs" / "small-1" / "report.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(("path", "typed"), [("/nowhere", ".venv/bin/contraflow"), (None, "contraflow")])
def test_what_to_type_next_is_found_by_the_shell(
    path: str | None, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "contraflow").touch(0o755)
    monkeypatch.setenv("PATH", path or str(tmp_path))
    monkeypatch.setattr("sys.argv", [".venv/bin/contraflow", "run"])
    assert command_line("export", "small-1", runs=RUNS) == f"{typed} export small-1"


def test_small_shares_and_the_bounds_of_their_difference_can_be_told(root: Path) -> None:
    said = (root / "said.txt").read_text()
    share, difference = r"\d+\.\d %", r"\(difference [+-]\d+\.\d to [+-]\d+\.\d points\)"
    assert re.search(f"{share} against {share} of the answers to uniformly asked prompts {difference}", said)


@pytest.mark.timeout(60)
def test_the_command_that_a_drained_run_prints_resumes_it(root: Path) -> None:
    folder = root / "it's drained"
    folder.mkdir()
    path, runs = folder / "small.yaml", folder / "runs"
    path.write_text((root / "small.yaml").read_text())

    def interrupt_when_it_works() -> None:
        while sum(log_sizes(runs / "small-1")) < 500_000:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_it_works, daemon=True).start()
    drained = contraflow_says(folder, "run", str(path), "--set", "budget.texts=1600", "--set", "clusters.max=300")
    assert drained.exit_code == 130
    said, _, command = drained.output.rpartition("To resume: ")
    assert "Drained (SIGINT)" in said
    program, *arguments = shlex.split(command)
    assert program == "contraflow"
    resumed = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "small-1: resuming in" in resumed.output
    assert "claimed differences (budget: 1600 texts)" in resumed.output


def test_as_json_a_run_prints_nothing_but_json(root: Path) -> None:
    result = contraflow_says(
        root, "run", str(root / "small.yaml"), "--json", "--set", "budget.texts=400", "--set", "experiment=short"
    )
    found = json.loads(result.stdout)
    assert found["run"] == "short-1"
    assert found["why"] == "budget: 400 texts"
    assert isinstance(found["findings"], list)


def test_runs_lists_them_and_says_why_they_stopped(root: Path) -> None:
    assert "small-1" in contraflow_says(root, "runs").output
    rows = json.loads(contraflow_says(root, "runs", "--json").output)
    assert {"run": "small-1", "state": "done"}.items() <= next(r for r in rows if r["run"] == "small-1").items()
    assert "no runs in" in CliRunner().invoke(main, ["runs", "--runs", str(root / "nowhere")]).output


def test_a_report_is_written_again_by_the_name_of_the_experiment(root: Path) -> None:
    report = root / "runs" / "small-1" / "report.html"
    report.unlink()
    assert str(report) in contraflow_says(root, "report", "small").output
    assert report.exists()


def test_an_unknown_run_is_told_which_there_are(root: Path) -> None:
    result = contraflow_says(root, "report", "smal")
    assert result.exit_code == 2
    assert "there is no run 'smal'" in result.stderr
    assert "small-1" in result.stderr


def test_export_names_its_files(root: Path) -> None:
    said = contraflow_says(root, "export", "small", "--to", str(root / "out"), "--format", "jsonl").output
    assert str(root / "out" / "texts.jsonl") in said
    assert (root / "out" / "findings.jsonl").exists()


def test_clusters_lists_them_with_the_answers_of_each_arm_and_what_was_claimed(root: Path, results: Results) -> None:
    rows = json.loads(contraflow_says(root, "clusters", "small", "--json").output)
    assert {row["cluster_id"] for row in rows} == {cluster.cluster_id for cluster in results.clusters}
    assert all(row["answers"] == sum(row["counts"].values()) for row in rows)
    assert results.regions is not None
    claimed = [(claim["cluster_id"], claim["arm"]) for row in rows for claim in row["claims"]]
    assert sorted(claimed) == sorted((claim.cluster_id, claim.arm) for claim in results.regions.claims)
    assert [bool(row["claims"]) for row in rows] == sorted((bool(row["claims"]) for row in rows), reverse=True)
    said = contraflow_says(root, "clusters", "small").output
    assert f"({results.findings[0].claim.n} of {results.findings[0].claim.n})" in " ".join(said.split())
    assert all(rows[0]["keywords"][i] in said for i in range(3))


def test_clusters_by_themes_holds_every_cluster_with_answers_once(root: Path) -> None:
    rows = json.loads(contraflow_says(root, "clusters", "small", "--json").output)
    themes = json.loads(contraflow_says(root, "clusters", "small", "--themes", "--json").output)
    there = sorted(row["cluster_id"] for row in rows if row["answers"] and row["state"] == "active")
    assert sorted(cluster for theme in themes for cluster in theme["clusters"]) == there
    said = contraflow_says(root, "clusters", "small", "--themes").output
    assert f"small-1: {len(themes)} themes" in said
    assert all(theme["keywords"][0] in said for theme in themes if theme["keywords"])
    assert len(re.findall(r"claimed: more often of", said)) == sum(bool(row["claims"]) for row in rows)


def test_clusters_are_checked_against_clusterings_of_everything(root: Path) -> None:
    check = json.loads(contraflow_says(root, "clusters", "small", "--check", "--json").output)
    assert check["texts"] == check["hdbscan_texts"] == 1000
    assert 0.8 < check["run"]["explained"] <= 1.05
    assert 0.9 < check["ceiling"]["explained"] < 1.1
    said = contraflow_says(root, "clusters", "small", "--check").output
    assert f"1,000 texts in {check['clusters']} clusters" in said
    assert f"HDBSCAN, on all texts: {check['hdbscan_clusters']} clusters" in said


def test_a_run_that_has_no_clusters_yet_or_few_texts_says_so(root: Path) -> None:
    (root / "runs" / "early-1").mkdir()
    config = (root / "runs" / "small-1" / "config.json").read_text()
    (root / "runs" / "early-1" / "config.json").write_text(config)
    early = contraflow_says(root, "clusters", "early-1")
    assert early.exit_code == 2
    assert "early-1 has no clusters yet: they are made when its warm start is complete" in early.stderr
    few = ("--set", "budget.texts=64", "--set", "experiment=few", "--json")
    contraflow_says(root, "run", str(root / "small.yaml"), *few)
    checked = contraflow_says(root, "clusters", "few-1", "--check")
    assert checked.exit_code == 2
    assert re.search(r"few-1 has 64 texts in \d+ clusters; a check needs at least 100 texts in 2", checked.stderr)


def test_topics_shows_records_rates_and_lag_by_group(root: Path) -> None:
    found = json.loads(contraflow_says(root, "topics", "small", "--seconds", "0.1", "--json").output)
    topics = {row["topic"]: row for row in found["topics"]}
    assert topics["texts"]["records"] == 1000
    assert topics["requests"]["records"] == 500
    assert topics["texts"]["records_s"] == 0
    lags = {(row["group"], row["topic"]): row["lag"] for row in found["groups"]}
    assert lags["embedder", "texts"] == 0
    assert lags["decoder.base", "requests"] == 0
    shown = contraflow_says(root, "topics", "small", "--seconds", "0.1").output
    assert "texts" in shown
    assert "lag" in shown


def test_schemas_lists_every_event(root: Path) -> None:
    said = contraflow_says(root, "schemas").output
    assert all(event in said for event in ("request.v1", "text.v1", "embedding.v1", "regions.v1", "verdict.v1"))


def test_doctor_says_what_is_here_and_what_is_missing_for_what(root: Path) -> None:
    said = contraflow_says(root, "doctor").output
    assert "python" in said.lower()
    assert "ok" in said


def test_stored_texts_are_compared_and_the_run_ends_when_they_are_used_up(root: Path, results: Results) -> None:
    texts = [
        {"prompt": t.prompt, "arm": t.arm, "text": t.text}
        for answers in results.texts.values()
        for t in answers.values()
    ]
    (root / "texts.jsonl").write_text(
        "\n".join(map(json.dumps, [*texts, {"prompt": "lonely", "arm": "base", "text": "x"}]))
    )
    plain = {
        "experiment": "stored",
        "arms": {"base": {}, "tuned": {}},
        "generator": {"backend": "replay"},
        "replay": {"path": "texts.jsonl"},
        "embedder": {"model": "hashed", "cache": str(root / "cache")},
        "sampling": {"warm_start": 96},
    }
    (root / "stored.yaml").write_text(yaml.safe_dump(plain))
    said = contraflow_says(root, "run", str(root / "stored.yaml")).output
    assert "texts without a partner are left out: 1 of base" in said
    assert "prompts: every stored draw has been asked" in said
    replayed = contraflow.run(root / "stored.yaml", runs=root / "again")
    asked = [(r.prompt_id, r.draw) for r in replayed.requests.values()]
    assert len(asked) == len(set(asked))
    assert 0.5 * len(results.texts) < len(asked) <= len(results.texts)
    assert replayed.regions is not None
    assert replayed.regions.claims


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    import anyio

    from contraflow.results import read_results

    return anyio.run(read_results, root / "runs" / "small-1")


def test_greedy_arms_are_asked_each_prompt_once(experiment: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "own_greedy.py").write_text(
        "def answer(prompts, arm):\n    return [f'{arm} {p} ' * 5 for p in prompts]\n"
    )
    (tmp_path / "prompts.txt").write_text("\n".join(f"question {i}" for i in range(150)))
    generator = {"backend": "own_greedy:answer", "temperature": 0.0}
    plain = experiment(arms={"base": {}, "tuned": {}}, generator=generator, prompts={"path": "prompts.txt"})
    (tmp_path / "greedy.yaml").write_text(yaml.safe_dump(plain))
    found = contraflow.run(tmp_path / "greedy.yaml", runs=tmp_path / "runs")
    asked = [r.prompt_id for r in found.requests.values()]
    assert len(asked) == len(set(asked)) == 150


def test_a_verdict_can_be_counted_again_from_every_answer_behind_it(root: Path) -> None:
    verdict = json.loads(contraflow_says(root, "verdicts", "list", "small-1", "--json").output)[0]
    shown = json.loads(contraflow_says(root, "verdicts", "show", "small-1", verdict["hypothesis_id"], "--json").output)
    counted = [row for row in shown["judgments"] if not row["placebo"] and row["x"] is not None]
    assert (len(counted), sum(row["x"] for row in counted)) == (verdict["n"], verdict["s"])
    assert counted[-1]["log_e"] == pytest.approx(verdict["log_e"])
    assert all(row["first_text"] and row["second_text"] and row["prompt"] for row in shown["judgments"])


def test_verdicts_are_listed_shown_and_exported(root: Path) -> None:
    listed = contraflow_says(root, "verdicts", "list", "small-1").output
    hypothesis = listed.splitlines()[1].split()[0]
    said = contraflow_says(root, "verdicts", "show", "small-1", hypothesis).output
    assert "more often than those of" in said.splitlines()[0]
    assert "tier keywords:" in said
    written = contraflow_says(root, "verdicts", "export", "small-1", "--format", "jsonl").output.split()
    assert [Path(path).name for path in written] == ["verdicts.jsonl", "judgments.jsonl"]
    assert "has no statement 'c99:x'" in contraflow_says(root, "verdicts", "show", "small-1", "c99:x").output


def test_before_a_paid_model_is_asked_it_says_what_leaves_the_machine_and_what_it_may_cost(root: Path) -> None:
    paid = (root / "small.yaml").read_text().replace("experiment: small", "experiment: paid")
    (root / "paid.yaml").write_text(paid + "validation: {tiers: [keywords, {gemini: gemini-2.5-flash}]}\n")
    said = contraflow_says(root, "run", str(root / "paid.yaml"))
    assert said.exit_code == 2
    assert "gemini:gemini-2.5-flash reads at most 640 texts a statement" in said.output
    assert "they leave this machine, for generativelanguage.googleapis.com" in said.output
    assert "All models together may spend $50.00 (budget.dollars)." in said.output
    assert "run the command again with --yes" in said.output
    assert not (root / "runs" / "paid-1").exists(), "nothing has started"


@pytest.mark.parametrize("module", ["contraflow.cli", "contraflow.serving"])
def test_a_command_and_a_process_of_a_run_load_no_library_that_they_may_not_need(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'pandas', 'scipy', 'sklearn', 'torch', 'transformers'}} & sys.modules.keys()))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.split() == []
