"""``contraflow.run`` wherever it is called, and what a run's folder survives."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

import contraflow
from contraflow.configuration import Loaded, experiment_from
from contraflow.errors import RunConflict
from contraflow.runner import Outcome, execute
from contraflow.runs import RunFolder, list_runs
from logs import log_sizes

Make = Callable[..., dict[str, Any]]

SHORT = {"texts": 200}


def executed(plain: dict[str, Any], runs: Path) -> tuple[Outcome, str]:
    """How the run ended, and what the console said."""
    console = Console(file=io.StringIO(), soft_wrap=True)

    async def go() -> Outcome:
        return await execute(Loaded(experiment_from(plain), Path(), Path("x")), runs, new=False, console=console)

    outcome = anyio.run(go)
    assert isinstance(console.file, io.StringIO)
    return outcome, console.file.getvalue()


def interrupt_when_it_works(run: Path) -> None:
    """Ctrl-C, once the log has grown beyond its empty tables."""

    def wait_and_interrupt() -> None:
        while sum(log_sizes(run)) < 500_000:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait_and_interrupt, daemon=True).start()


async def test_it_runs_where_an_event_loop_runs_as_in_a_notebook(experiment: Make, runs: Path) -> None:
    results = contraflow.run(experiment(budget=SHORT), runs=runs)
    assert results.why == "budget: 200 texts"
    assert results.folder.done


async def test_errors_are_the_same_where_an_event_loop_runs(experiment: Make, runs: Path) -> None:
    (runs / "small-1").mkdir(parents=True)
    with pytest.raises(RunConflict, match="is not a run of contraflow"):
        contraflow.run(experiment(budget=SHORT), runs=runs)


def test_it_runs_in_a_thread(experiment: Make, runs: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(contraflow.run, experiment(budget=SHORT), runs=runs).result()
    assert results.folder.done


def test_an_interrupt_in_a_notebook_drains_and_gives_what_was_done(experiment: Make, runs: Path) -> None:
    async def cell() -> contraflow.Results:
        return contraflow.run(experiment(budget={"texts": 20_000}), runs=runs)

    interrupt_when_it_works(runs / "small-1")
    loop = asyncio.new_event_loop()  # a notebook's: it leaves SIGINT to Python
    try:
        results = loop.run_until_complete(cell())
    finally:
        loop.close()
    assert not results.folder.done
    assert 0 < len(results.texts) < 10_000
    assert results.folder.journal()[-1]["why"] == "SIGINT"


def test_a_run_hands_over_its_results(experiment: Make, runs: Path) -> None:
    outcome, said = executed(experiment(budget=SHORT), runs)
    assert "small-1: starting in" in said
    assert outcome.results is not None
    assert len(outcome.results.texts) == 100


def test_a_kill_while_the_folder_is_made_does_not_block_the_experiment(
    experiment: Make, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as context, pytest.raises(Killed):
        context.setattr("contraflow.runs.write_atomically", kill)
        contraflow.run(experiment(budget=SHORT), runs=runs)
    assert contraflow.run(experiment(budget=SHORT), runs=runs).folder.run == "small-1"


def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(experiment: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunConflict, match=r"small-1 could not be written \(Not a directory\)\. Make room .* --runs"):
        contraflow.run(experiment(), runs=tmp_path / "file" / "runs")


def test_a_journal_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    RunFolder(tmp_path).note("stopped", why="the disk is full")
    assert "the journal in" in caplog.text


def test_a_folder_that_was_never_finished_making_is_no_run(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget=SHORT), runs=runs).folder
    folder.path.rename(runs / ".small-1.0123")
    assert list_runs(runs) == []


def test_a_second_run_of_a_run_that_is_being_run_writes_nothing(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget=SHORT), runs=runs).folder
    (folder.path / "done").unlink()
    before = files(folder)
    with folder.locked(), pytest.raises(RunConflict, match="is being run by process"):
        contraflow.run(experiment(budget={"texts": 400}), runs=runs)
    assert files(folder) == before


def files(folder: RunFolder) -> dict[str, tuple[int, bytes]]:
    paths = (folder.path / name for name in ("config.json", "versions.json", "journal.jsonl"))
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_a_budget_that_grew_too_late_is_told_so(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget=SHORT), runs=runs).folder
    (folder.path / "done").unlink()
    outcome, said = executed(experiment(budget={"texts": 400}), runs)
    assert (
        "small-1 had already asked its last request (budget: 200 texts); the larger budget starts with a new run"
        in said.splitlines()
    )
    assert outcome.results is not None
    assert len(outcome.results.texts) == 100


def test_a_run_that_only_has_to_finish_says_nothing_of_budgets(experiment: Make, runs: Path) -> None:
    folder = contraflow.run(experiment(budget=SHORT), runs=runs).folder
    (folder.path / "done").unlink()
    _, said = executed(experiment(budget=SHORT), runs)
    assert "last request" not in said
