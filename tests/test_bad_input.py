"""Bad input through the command line: an error that names the field and what to do, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import contraflow
from contraflow.cli import main
from contraflow.report.console import findings_in_lines, warning
from contraflow.report.page import write_report
from contraflow.results import Results
from contraflow.runtime.supervisor import RunStopped

Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, experiment: Make) -> Refused:
    """Runs an experiment that must be refused; returns what was said."""

    def run(*options: str, **sections: Any) -> str:
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(experiment(**sections)))
        result = CliRunner().invoke(main, ["run", str(path), "--runs", str(tmp_path / "runs"), *options])
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        assert result.stderr.startswith("error: ")
        return result.stderr

    return run


def test_an_unknown_key(refused: Refused) -> None:
    said = refused(budgett={"texts": 3})
    assert "budgett" in said
    assert "experiment.yaml:" in said
    assert "budget" in said.replace("budgett", "")


def test_one_arm(refused: Refused) -> None:
    assert "arms" in refused(arms={"base": {}})


def test_a_budget_of_zero(refused: Refused) -> None:
    said = refused(budget={"texts": 0})
    assert "budget.texts" in said
    assert "above 0" in said


def test_a_file_without_prompts(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n \n\n")
    said = refused(prompts={"path": "prompts.txt"})
    assert "prompts.path" in said
    assert "holds no prompts; give a file with one prompt a row" in said


def test_a_missing_file_of_prompts(refused: Refused) -> None:
    assert "prompts.path: there is no file" in refused(prompts={"path": "gone.txt"})


def test_a_prompt_of_a_megabyte(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("fine\n" + "x" * 1_000_000 + "\n")
    said = refused(prompts={"path": "prompts.txt"})
    assert "prompts.txt:2: this prompt has 1,000,000 bytes; the limit is 65,536" in said
    assert "Shorten it or take it out" in said


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv"])
def test_prompts_that_are_not_utf_8(refused: Refused, tmp_path: Path, ending: str) -> None:
    first = {"txt": b"", "jsonl": b'{"prompt": "a"}\n', "csv": b"prompt\n"}[ending]
    (tmp_path / f"p.{ending}").write_bytes(first + '{"prompt": "caf\xe9"}'.encode("latin-1"))
    said = refused(prompts={"path": f"p.{ending}"})
    assert f"p.{ending}:{2 - (ending == 'txt')}" in said
    assert "is not UTF-8; save the file as UTF-8" in said


def test_a_column_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"promt": "a"}\n')
    assert "there is no column 'prompt'; did you mean 'promt'" in refused(prompts={"path": "p.jsonl"})


def test_a_csv_field_beyond_the_limit(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('prompt\nfine\n"' + "x" * 200_000 + '"\n')
    said = refused(prompts={"path": "p.csv"})
    assert "p.csv:3: not readable as CSV: field larger than field limit (131072)" in said
    assert "give the file as JSONL" in said


def test_a_csv_row_with_more_fields_than_the_header(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,kind\nfine,a\nnot, so, fine\n")
    said = refused(prompts={"path": "p.csv"})
    assert "p.csv:3: this row has more fields than the 2 of the header" in said
    assert 'put fields that hold commas into "quotes"' in said
    (tmp_path / "p.csv").write_text("question\nwhat, why\n")
    assert "p.csv:2: this row has more fields than the 1 of the header" in refused(prompts={"path": "p.csv"})


def test_half_of_a_surrogate_pair(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "fine \\ud83d\\ude00"}\n{"prompt": "cut \\ud83d"}\n')
    said = refused(prompts={"path": "p.jsonl"})
    assert "p.jsonl:2: 'prompt' has half of a character, '\\ud83d'; take it out" in said


def test_half_of_a_surrogate_pair_in_a_stored_text(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"prompt": "a", "base": ["x", "y"], "tuned": ["x", "\\ud800"], "other": "\\ud800"}\n'
    )
    replay = {"path": "t.jsonl", "columns": {"base": "base", "tuned": "tuned"}}
    said = refused(arms={"base": {}, "tuned": {}}, generator={"backend": "replay"}, replay=replay)
    assert "t.jsonl:1: 'tuned' has half of a character" in said


def test_stored_texts_with_repeats(refused: Refused, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i % 10}", "base": f"calm {i}", "tuned": f"loud {i}"} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows + rows)))
    replay = {"path": "t.jsonl", "columns": {"base": "base", "tuned": "tuned"}}
    experiment = {"arms": {"base": {}, "tuned": {}}, "generator": {"backend": "replay"}}
    said = refused(**experiment, replay=replay)
    assert "replay.path: 40 of the 80 pairs in" in said
    assert "Keep each draw once" in said
    assert "write replay.repeats: draws" in said


def test_files_of_an_arm_that_are_not_there_are_told_before_a_run_is_begun(refused: Refused, tmp_path: Path) -> None:
    steering = {"layer": 3, "vector": "gone.safetensors"}
    arms = {"base": {"model": "m", "lora": "gone"}, "tuned": {"model": "m", "steering": steering}}
    said = refused(arms=arms, generator={"backend": "transformers"}, prompts="unconditional")
    assert "arms.base.lora: there is no adapter in" in said
    assert "arms.tuned.steering.vector: there is no file" in said
    assert not (tmp_path / "runs").exists()


def test_a_plant_or_a_world_that_is_not_there(refused: Refused) -> None:
    assert "arms.tuned.plants: world 'kitchen' has no plant 'quiet'" in refused(
        arms={"base": {}, "tuned": {"plants": ["quiet"]}}
    )
    assert "generator.world: there is no world 'moon'" in refused(generator={"backend": "scripted", "world": "moon"})


def test_a_tier_that_is_not_there(refused: Refused) -> None:
    assert 'validation.tiers.0: unknown tier "oracle"' in refused(validation={"tiers": ["oracle"]})


def test_a_folder_that_is_no_run(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "runs" / "small-1").mkdir(parents=True)
    assert "is not a run of contraflow" in refused()


def test_a_run_folder_of_another_configuration(refused: Refused, tmp_path: Path, experiment: Make) -> None:
    folder = contraflow.run(experiment(budget={"texts": 200}), runs=tmp_path / "runs").folder
    (folder.path / "done").unlink()
    said = refused("--set", "alpha=0.01", budget={"texts": 200})
    assert "small-1 is unfinished and was started with another configuration" in said
    assert "alpha: 0.05 -> 0.01" in said
    assert "--new" in said


@pytest.mark.models
@pytest.mark.timeout(120)
def test_a_missing_model(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arms = {"base": {"model": "nobody/nothing"}, "tuned": {"model": "nobody/nothing"}}
    said = refused(arms=arms, generator={"backend": "transformers"}, prompts="unconditional")
    # the decoders start side by side, and the first that cannot stops the run
    assert re.search(r"arms\.(base|tuned)\.model: model 'nobody/nothing' was not found\. Tried in turn:", said)
    assert "Give the path of a local folder" in said


def test_a_log_of_a_newer_version(refused: Refused, tmp_path: Path, experiment: Make) -> None:
    import sqlite3

    folder = contraflow.run(experiment(budget={"texts": 200}), runs=tmp_path / "runs").folder
    (folder.path / "done").unlink()
    with sqlite3.connect(folder.log / "log.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "was written in log format 99" in refused(budget={"texts": 200})


# what goes wrong while it runs


def test_a_full_disk_stops_the_run_in_words_and_the_same_command_goes_on(
    tmp_path: Path, experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contraflow.log.embedded import EmbeddedLog

    plain, opened = experiment(budget={"texts": 2000}), EmbeddedLog.open

    async def small(path: Path, **options: Any) -> EmbeddedLog:
        return await opened(path, **options, max_pages=150)

    monkeypatch.setattr("contraflow.log.opening.EmbeddedLog.open", small)
    with pytest.raises(RunStopped, match=r"is full.*Nothing that was committed is lost: free some space"):
        contraflow.run(plain, runs=tmp_path)
    monkeypatch.setattr("contraflow.log.opening.EmbeddedLog.open", opened)
    results = contraflow.run(plain, runs=tmp_path)
    assert results.folder.run == "small-1"
    assert [a.seq for a in results.assignments] == list(range(1, 1001))


def test_a_damaged_cache_is_rebuilt_and_the_findings_are_the_same(tmp_path: Path, experiment: Make) -> None:
    plain = experiment(embedder={"model": "hashed", "cache": str(tmp_path / "cache")}, budget={"texts": 600})
    first = contraflow.run(plain, runs=tmp_path / "a")
    (tmp_path / "cache" / "data.mdb").write_bytes(b"damage" * 5000)
    second = contraflow.run(plain, runs=tmp_path / "b")
    assert first.assignments == second.assignments
    assert list((tmp_path / "cache").glob("data.damaged-*"))


MODULE = """
def raising(prompts, arm):
    if arm == "tuned" and any(hash_of(p) % 10 == 0 for p in prompts):
        raise RuntimeError("out of tune")
    return [f"{p} answered at some length" for p in prompts]

def hash_of(prompt):
    return sum(map(ord, prompt))

def nothing(prompts):
    return None
"""


def with_own_generator(tmp_path: Path, experiment: Make, function: str) -> Results:
    (tmp_path / f"bad_{function}.py").write_text(MODULE)
    (tmp_path / "prompts.txt").write_text("\n".join(f"question number {i}" for i in range(200)))
    path = tmp_path / "own.yaml"
    backend = {"backend": f"bad_{function}:{function}", "batch": 32}
    path.write_text(
        yaml.safe_dump(experiment(arms={"base": {}, "tuned": {}}, generator=backend, prompts={"path": "prompts.txt"}))
    )
    return contraflow.run(path, runs=tmp_path / "runs")


def test_a_generator_that_raises_on_one_prompt_in_ten_for_one_arm_is_reported(tmp_path: Path, experiment: Make) -> None:
    results = with_own_generator(tmp_path, experiment, "raising")
    assert results.regions is not None
    failures = {arm: total.failures for arm, total in results.regions.arms.items()}
    assert failures["base"] == 0
    assert 20 <= failures["tuned"] <= 90
    assert sum(a.failed for a in results.assignments) == failures["tuned"]
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "Failures may explain this run's claims" in page
    said = warning(results)
    assert said is not None
    assert f"failures may explain these claims: tuned {failures['tuned']} of 500 requests failed; " in said
    assert "the commonest error: " in said
    assert "out of tune" in said
    assert any(said in lines for lines in findings_in_lines(results))


def test_a_generator_that_returns_nothing_ends_with_every_pair_failed_and_says_why(
    tmp_path: Path, experiment: Make
) -> None:
    results = with_own_generator(tmp_path, experiment, "nothing")
    assert all(a.failed for a in results.assignments)
    assert results.findings == []
    errors = {answer.error for answers in results.texts.values() for answer in answers.values()}
    assert all("bad_nothing:nothing returned nothing for" in str(error) for error in errors)
    assert json.loads((results.folder.results / "findings.json").read_text())["findings"] == []
