"""kill -9 at random instants: the run goes on as if nothing had happened, and finds the same, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import anyio
import pytest
import yaml

from contraflow.events import Text, decode
from contraflow.log.embedded import EmbeddedLog
from contraflow.results import read_topic
from contraflow.runs import RunFolder
from contraflow.wire import Wire


def experiment_file(folder: Path, texts: int) -> Path:
    plain = {
        "experiment": "killed",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 64},
        "embedder": {"model": "hashed"},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": texts},
    }
    path = folder / "killed.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def start(path: Path, runs: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "contraflow", "run", str(path), "--runs", str(runs)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def starts(runs: Path) -> int:
    return sum(entry["event"] == "started" for entry in RunFolder(runs / "killed-1").journal())


def digests(runs: Path) -> dict[str, str]:
    files = sorted((runs / "killed-1" / "results").iterdir())
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in files}


def decoded_texts(runs: Path) -> Counter[str]:
    async def read() -> Counter[str]:
        async with await EmbeddedLog.open(runs / "killed-1" / "log") as log:
            records = await read_topic(log, Wire("killed-1"), "texts")
        return Counter(decode(r.value or b"", Text).text_id for r in records)

    return anyio.run(read)


def kill_and_resume(tmp_path: Path, *, texts: int, kills: int, seed: int) -> int:
    """Kill and resume, then compare; returns how many texts were decoded."""
    path = experiment_file(tmp_path, texts)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert start(path, undisturbed).wait(timeout=120) == 0
    rng = random.Random(seed)
    done = 0
    while done < kills:
        process = start(path, disturbed)
        # instants are drawn from where it works, not from where Python imports
        while starts(disturbed) <= done and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.random() * 1.2)
        assert process.poll() is None, f"the run ended after {done} kills: give it more texts"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
    assert start(path, disturbed).wait(timeout=120) == 0
    assert starts(disturbed) == kills + 1
    assert digests(disturbed) == digests(undisturbed)
    decoded = decoded_texts(disturbed)
    assert set(decoded.values()) == {1}, "a text was decoded and committed twice"
    return len(decoded)


@pytest.mark.timeout(120)
def test_two_kills_change_nothing(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, texts=4000, kills=2, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_twenty_five_kills_change_nothing(tmp_path: Path, evidence: Callable[[str, str], None]) -> None:
    decoded = kill_and_resume(tmp_path, texts=30000, kills=25, seed=2)
    evidence(f"25 kills in {decoded} texts: none twice, equal result files", "equal")
    assert decoded == 30000


@pytest.mark.timeout(60)
def test_ctrl_c_drains_keeps_everything_and_says_how_to_resume(tmp_path: Path) -> None:
    path, runs = experiment_file(tmp_path, 8000), tmp_path / "runs"
    command = [sys.executable, "-m", "contraflow", "run", str(path), "--runs", str(runs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (runs / "killed-1" / "log" / "log.sqlite3").exists():
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=15)
    assert process.returncode == 130
    assert f"To resume: contraflow run {path}" in said
    before = decoded_texts(runs)
    assert 0 < sum(before.values()) < 8000
    resumed = subprocess.run([*command, "--set", "budget.texts=8000"], capture_output=True, text=True, timeout=50)
    assert "resuming in" in resumed.stdout
    assert resumed.returncode == 0
    after = decoded_texts(runs)
    assert before <= after
    assert set(after.values()) == {1}
