"""The screen of ``contraflow top``, watched at 80x24 beside a real run on either log."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import yaml
from click.testing import CliRunner
from textual.pilot import Pilot

from contraflow.cli import main
from contraflow.monitor import top
from contraflow.monitor.top import Top
from contraflow.runs import RunFolder

pytestmark = pytest.mark.timeout(180)

Start = Callable[..., subprocess.Popen[bytes]]


def screen(pilot: Pilot[None]) -> str:
    """What stands on the screen."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def until(pilot: Pilot[None], pattern: str, *keys: str, limit: float = 90.0) -> str:
    """The screen, as soon as it shows ``pattern``; the keys are pressed until it does."""
    deadline = time.monotonic() + limit
    while not re.search(pattern, shown := screen(pilot)):
        assert time.monotonic() < deadline, f"{pattern!r} did not come:\n{shown}"
        await pilot.press(*keys)
        await pilot.pause(0.05)
    return shown


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.long])])
def log(request: pytest.FixtureRequest) -> Any:
    if request.param == "embedded":
        return "embedded"
    return {"kafka": request.getfixturevalue("kafka"), "prefix": f"top-{time.time_ns()}-"}


@pytest.fixture
def start(experiment: Callable[..., dict[str, Any]], tmp_path: Path) -> Iterator[Start]:
    """Starts a run, slowed so that there is time to watch; the same again resumes it."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(log: Any) -> subprocess.Popen[bytes]:
        arms = {"base": {"speed": 0.005}, "tuned": {"plants": ["loud", "gloomy"], "speed": 0.02}}
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment(arms=arms, log=log, budget={"texts": 600})))
        paths = [str(tmp_path / "small.yaml"), "--runs", str(tmp_path / "runs")]
        command = [sys.executable, "-m", "contraflow", "run", *paths]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "small-1")


async def begun(folder: RunFolder) -> None:
    with anyio.fail_after(60):
        while not (folder.path / "journal.jsonl").exists():  # noqa: ASYNC110  # another process makes it
            await anyio.sleep(0.05)


async def test_it_comes_to_a_running_run_leaves_it_and_comes_again_when_it_is_done(
    start: Start, folder: RunFolder, log: Any
) -> None:
    run = start(log)
    await begun(folder)
    app = Top(folder, every=0.3)
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await until(pilot, r"Held back at \[decoder tuned\]: \d+ of \d+ requests wait for it")
        assert re.search(r"small-1 +(warm start|focus) .* \d\d:\d\d:\d\d", shown)
        assert "embedded log" in shown if log == "embedded" else f"Kafka at {log['kafka']}" in shown
        shown = await until(pilot, r"█.*% +[1-9]\d* of 600 texts +\d+\.\d/s +ETA \d")
        assert re.search(r"\d+ clusters +\d+ claims +\d+ of \d+ statements accepted +\$0\.00 spent", shown)
        await until(pilot, r"sampler ─requests [\d.]+/s─+┬▶ decoder base +\d")
        await until(pilot, r"decoder\.tuned +\d+\.\d +[1-9]\d* +\d\.\d s")
        assert len(screen(pilot).split("\n")) == 24
        assert all(len(line) == 80 for line in screen(pilot).split("\n"))
        await until(pilot, r"state-clusterer|empty: ", "end")  # rows come as topics get their first records
        await pilot.press("q")
    assert app.return_code == 0
    assert await anyio.to_thread.run_sync(run.wait) == 0, "it goes on as if nobody had looked"
    async with Top(folder, every=0.3).run_test(size=(80, 24)) as pilot:
        shown = await until(pilot, r"Done \(budget: 600 texts\)")
        assert "100%" in shown
        assert "ETA" not in shown


async def test_a_run_that_was_stopped_or_goes_on_is_told_apart(start: Start, folder: RunFolder) -> None:
    run = start("embedded")
    await begun(folder)
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        await until(pilot, r"[1-9]\d* of 600 texts")
    run.send_signal(signal.SIGINT)
    await anyio.to_thread.run_sync(run.wait)
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        shown = await until(pilot, r"! small-1 was stopped\. All that was committed is kept")
        assert re.search(r"[1-9]\d* of 600 texts", shown)
        start("embedded")
        await until(pilot, r"Held back at")


async def test_a_run_without_topics_has_not_started(
    start: Start, folder: RunFolder, experiment: Callable[..., dict[str, Any]]
) -> None:
    run = start("embedded")
    await begun(folder)
    run.kill()
    run.wait()
    for file in folder.log.glob("*"):
        file.unlink()
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        await until(pilot, r"! small-1 has not started: its topics are not there yet")
        start("embedded")
        await until(pilot, r"Held back at")


async def test_an_error_of_the_log_is_shown_and_it_is_tried_again(
    start: Start, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "_AGAIN", 0.2)
    run = start("embedded")
    await begun(folder)
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        await until(pilot, r"Held back at")
    run.kill()
    run.wait()
    kept = folder.log.rename(folder.path / "kept")
    folder.log.mkdir()
    (folder.log / "log.sqlite3").write_text("this is no database" * 1000)
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        shown = await until(pilot, r"damaged or is no log")
        assert "tried again every 0.2 s" in shown.replace("\n", "").replace("  ", " ")
        shutil.rmtree(folder.log)
        kept.rename(folder.log)
        await until(pilot, r"Held back at|of 600 texts")


def test_what_is_missing_is_told_before_a_screen_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["top", "nope", "--runs", str(tmp_path)])
    assert (said.exit_code, "there is no run 'nope'" in said.output) == (2, True)
    monkeypatch.setitem(sys.modules, "contraflow.monitor.top", None)
    said = CliRunner().invoke(main, ["top", "nope", "--runs", str(tmp_path)])
    assert (said.exit_code, "pip install 'contraflow[ui]'" in said.output) == (2, True)


@pytest.mark.kafka
async def test_a_cluster_that_does_not_answer_is_told_in_words(
    start: Start, folder: RunFolder, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start({"kafka": kafka, "prefix": f"top-{time.time_ns()}-"})
    await begun(folder)
    run.kill()
    run.wait()
    config = (folder.path / "config.json").read_text()
    (folder.path / "config.json").write_text(config.replace(kafka, "127.0.0.1:1"))
    async with Top(folder, every=0.2).run_test(size=(80, 24)) as pilot:
        shown = await until(pilot, r"! connecting on Kafka at 127\.0\.0\.1:1: ")
        assert "Is it running, and is that its address" in re.sub(r"\s+", " ", shown)
        await pilot.press("q")
    assert pilot.app.return_code == 0
