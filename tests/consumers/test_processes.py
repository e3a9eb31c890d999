"""``contraflow consume`` as a process: killed, drained, doubled, beside a run that goes on; then everything is recounted."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import contraflow
from contraflow.runs import RunFolder, open_run

Start = Callable[..., Any]

MODULE = """
import time
import msgspec
from contraflow import Text, consumer

class Length(msgspec.Struct, frozen=True, tag="length.v1"):
    text_id: str
    length: int

@consumer(topic="texts", output="lengths", batch=16)
def lengths(texts: list[Text]) -> list[Length]:
    time.sleep({pause})
    return [Length(t.text_id, len(t.text)) for t in texts]
"""


class Length(msgspec.Struct, frozen=True, tag="length.v1"):
    text_id: str
    length: int


def consume(start: Start, folder: RunFolder, tmp_path: Path, *, name: str, pause: float, group: str = "") -> Any:
    """Start a consumer of a name of its own; ``pause`` seconds a batch leave time to kill it."""
    (tmp_path / f"{name}.py").write_text(
        MODULE.format(pause=pause).replace('output="lengths"', f'output="{name}", name="{name}"')
    )
    options = ("--group", group) if group else ()
    return start("consume", f"{name}:lengths", "--run", folder.run, "--runs", folder.path.parent, *options)


def texts(folder: RunFolder) -> set[str]:
    return {text.text_id for text in contraflow.read(folder.run, "texts", runs=folder.path.parent)}


def written(folder: RunFolder, name: str) -> Counter[str]:
    outputs = contraflow.read(folder.run, name, Length, runs=folder.path.parent)
    return Counter(output.text_id for output in outputs)


def so_far(folder: RunFolder, name: str) -> int:
    """How many outputs there are; none while the topic is not there yet."""
    try:
        return len(contraflow.read(folder.run, name, Length, runs=folder.path.parent))
    except contraflow.ContraflowError:
        return 0


def wait_until(true: Callable[[], Any], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(200)
def test_one_that_is_killed_again_and_again_loses_nothing_and_writes_nothing_twice(
    done: RunFolder, start: Start, tmp_path: Path
) -> None:
    for least in (1, 250):
        process = consume(start, done, tmp_path, name="killed", pause=0.1)
        wait_until(lambda least=least: so_far(done, "killed") >= least)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        process.kill()
        process.wait()
    assert so_far(done, "killed") < 600
    said, _ = consume(start, done, tmp_path, name="killed", pause=0.0).communicate(timeout=80)
    assert "where it stopped" in said
    assert written(done, "killed") == Counter(list(texts(done)))


@pytest.mark.timeout(200)
def test_sigterm_finishes_what_it_holds_and_exits_with_0(done: RunFolder, start: Start, tmp_path: Path) -> None:
    process = consume(start, done, tmp_path, name="drained", pause=0.2)
    wait_until(lambda: so_far(done, "drained") > 0)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "(SIGTERM)" in said
    counts = written(done, "drained")
    assert set(counts.values()) == {1}
    assert len(counts) < 600
    assert f"{len(counts)} written" in said


@pytest.mark.long
@pytest.mark.timeout(200)
def test_beside_a_run_that_goes_on_it_ends_with_the_run_and_has_read_everything(
    plain: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    slowed = {"base": {"speed": 0.01}, "tuned": {"plants": ["loud"], "speed": 0.01}}
    (tmp_path / "beside.yaml").write_text(yaml.safe_dump({**plain, "experiment": "beside", "arms": slowed}))
    runs = tmp_path / "runs"
    run = start("run", "beside.yaml", "--runs", runs)
    wait_until(lambda: (runs / "beside-1" / "config.json").exists())
    folder = open_run(runs, "beside-1")
    process = consume(start, folder, tmp_path, name="lengths", pause=0.0)
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert "600 events read, 600 written, 0 to the dead letters (the run is done, and everything is read)" in said
    assert run.wait(timeout=30) == 0
    assert written(folder, "lengths") == Counter(list(texts(folder)))


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_second_copy_takes_over_or_takes_its_part_and_nothing_is_written_twice(
    done: RunFolder, start: Start, tmp_path: Path
) -> None:
    first = consume(start, done, tmp_path, name="doubled", pause=0.2)
    wait_until(lambda: so_far(done, "doubled") > 0)
    second = consume(start, done, tmp_path, name="doubled", pause=0.2)
    said = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert written(done, "doubled") == Counter(list(texts(done)))
    if done.resolved["experiment"]["log"] == "embedded":
        assert "another doubled has taken over, and goes on" in said[0]
    else:
        assert all("everything is read" in words for words in said)
