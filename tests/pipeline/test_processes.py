"""Each service in a process of its own, on either log: the findings are those of one process, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import yaml

import contraflow
from contraflow.runs import RunFolder
from logs import log_sizes

pytestmark = pytest.mark.timeout(120)  # six interpreters start on a machine of two cores

EXPERIMENT: dict[str, Any] = {
    "experiment": "small",
    "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
    "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
    "embedder": {"model": "hashed"},
    "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
    "budget": {"texts": 1200},
}
SERVICES = ("sampler", "decoder --arm base", "decoder --arm tuned", "embedder", "clusterer", "validator")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in sorted((folder / "results").iterdir())}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    # slowed, so that there is time to kill
    arms = {name: {**arm, "speed": 0.01} for name, arm in EXPERIMENT["arms"].items()}
    path.write_text(yaml.safe_dump({**EXPERIMENT, "arms": arms}))
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    runs = tmp_path_factory.mktemp("undisturbed")
    return digests(contraflow.run(EXPERIMENT, runs=runs).folder.path)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "contraflow", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def children(parent: int) -> dict[int, str]:
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    rows = [line.strip().split(maxsplit=1) for line in found.splitlines()]
    return {int(pid): command for pid, command in rows if " service " in command}


def wait_until(true: Callable[[], Any], limit: float = 40.0) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def begun(runs: Path) -> bool:
    return sum(log_sizes(runs / "small-1")) > 300_000


def begin(file: Path) -> tuple[subprocess.Popen[str], Path]:
    """A run in processes that is at work, and the folder of its runs."""
    runs = file.parent / "runs"
    run = start("run", file, "--processes", "--runs", runs)
    wait_until(lambda: begun(runs))
    return run, runs


def test_services_that_are_killed_are_started_again_and_change_nothing(file: Path, undisturbed: dict[str, str]) -> None:
    run, runs = begin(file)
    of_the_run = children(run.pid)
    assert len(of_the_run) == len(SERVICES)
    for pid in of_the_run:
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert digests(runs / "small-1") == undisturbed
    restarted = RunFolder(runs / "small-1").journal()[-1]["restarted"]
    assert set(restarted.values()) == {1}
    assert len(restarted) == len(SERVICES)


@pytest.mark.long
def test_the_services_end_with_the_process_that_started_them_and_the_same_command_goes_on(
    file: Path, undisturbed: dict[str, str]
) -> None:
    run, runs = begin(file)
    orphans = children(run.pid)
    run.kill()
    run.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
    again = start("run", file, "--processes", "--runs", runs)
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert "resuming in" in said
    assert digests(runs / "small-1") == undisturbed


def test_ctrl_c_drains_every_process(file: Path) -> None:
    run, runs = begin(file)
    of_the_run = children(run.pid)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "--processes" in said.partition("To resume: ")[2]
    assert not any(Path(f"/proc/{pid}").exists() for pid in of_the_run)
    assert (
        "ends (the end of the process that started this one)"
        in RunFolder(runs / "small-1").said_by("sampler").read_text()
    )


def test_a_service_that_no_restart_can_mend_stops_the_run_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    (tmp_path / "prompts.txt").write_text("How do I boil an egg?\nWhere is Lima?\n")
    arms = {"base": {"model": "mine"}, "tuned": {"model": "mine"}}
    own = {"generator": {"backend": "nothing:here"}, "prompts": {"path": "prompts.txt"}}
    path.write_text(yaml.safe_dump({**EXPERIMENT, "arms": arms, **own}))
    run = start("run", path, "--processes", "--runs", tmp_path / "runs")
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "generator.backend: cannot import 'nothing:here'" in said


@pytest.fixture
def services(file: Path, tmp_path: Path) -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    started: list[subprocess.Popen[str]] = []

    def go(*names: str, options: tuple[str, ...] = ()) -> list[subprocess.Popen[str]]:
        fixed = ("--run", "small-1", "--runs", str(tmp_path / "runs"), *options)
        new = [start("service", name.split()[0], file, *name.split()[1:], *fixed) for name in names]
        started.extend(new)
        return new

    yield go
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_copy_takes_over_and_the_first_ends_with_a_code_that_nobody_restarts(
    services: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    first, *_ = services("clusterer", "sampler", "decoder --arm base", "decoder --arm tuned", "embedder")
    wait_until(lambda: begun(tmp_path / "runs"))
    services("clusterer", "validator")
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert "another clusterer of small-1 has taken over" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("decoder",), "--arm: is missing; name one of base, tuned"),
        (("decoder", "--arm", "other"), "--arm: 'other' is no arm of the experiment; name one of base, tuned"),
        (("sampler", "--arm", "base"), "--arm: a sampler serves every arm; leave it out"),
        (("sampler", "--run", "large-1"), "'large-1' is no run of experiment 'small'"),
    ],
)
def test_what_no_service_can_be_is_refused(file: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    name, *options = arguments
    run = () if "--run" in options else ("--run", "small-1")
    process = start("service", name, file, *options, *run, "--runs", tmp_path / "runs")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words in said


def on_kafka(servers: str, tmp_path: Path) -> tuple[str, ...]:
    prefix = f"test-{blake2b(str(tmp_path).encode(), digest_size=6).hexdigest()}."
    return ("--set", f"log.kafka={servers}", "--set", f"log.prefix={prefix}")


@pytest.mark.long
@pytest.mark.kafka
def test_on_kafka_one_process_finds_what_it_finds_on_the_embedded_log(
    file: Path, undisturbed: dict[str, str], kafka: str, tmp_path: Path
) -> None:
    run = start("run", file, *on_kafka(kafka, tmp_path), "--runs", tmp_path / "runs")
    said, _ = run.communicate(timeout=80)
    assert run.returncode == 0, said
    assert digests(tmp_path / "runs" / "small-1") == undisturbed


@pytest.mark.kafka
def test_on_kafka_with_two_decoders_and_two_embedders_every_service_apart_finds_the_same(
    file: Path,
    undisturbed: dict[str, str],
    kafka: str,
    tmp_path: Path,
    services: Callable[..., list[subprocess.Popen[str]]],
) -> None:
    options = on_kafka(kafka, tmp_path)
    processes = services(*SERVICES, "decoder --arm base", "embedder", options=options)
    for process in processes:
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 0, said
        assert "ends (done)" in said
    run = start("run", file, *options, "--runs", tmp_path / "runs")  # all is done: it only writes the results
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert digests(tmp_path / "runs" / "small-1") == undisturbed


def test_a_service_with_another_configuration_than_the_run_is_refused(
    file: Path, services: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    services("sampler")
    wait_until(lambda: (tmp_path / "runs" / "small-1" / "log" / "log.sqlite3").exists())
    elsewhere = tmp_path / "elsewhere"  # another machine, which has no folder of the run yet
    shutil.copytree(tmp_path / "runs", elsewhere, ignore=shutil.ignore_patterns("log"))  # which is being written
    changed = json.loads((elsewhere / "small-1" / "config.json").read_text())
    changed["resolved"]["experiment"]["alpha"] = 0.01
    (elsewhere / "small-1" / "config.json").write_text(json.dumps(changed))
    (elsewhere / "small-1" / "log").symlink_to(tmp_path / "runs" / "small-1" / "log")
    command = ("service", "clusterer", file, "--run", "small-1", "--runs", elsewhere, "--set", "alpha=0.01")
    other = start(*command)
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 2
    assert "small-1 was started with another configuration than this service's" in said
