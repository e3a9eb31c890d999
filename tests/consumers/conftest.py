"""Finished runs on both logs, which consumers read; each test has a consumer of a name of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import contraflow
from contraflow.runs import RunFolder, open_run

Start = Callable[..., subprocess.Popen[str]]

LOGS = ["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.timeout(200)])]


@pytest.fixture(scope="module", params=LOGS)
def log_section(request: pytest.FixtureRequest) -> Any:
    """The ``log`` of an experiment. A prefix of the module's own: the cluster is the session's, and may be somebody's."""
    if request.param == "embedded":
        return "embedded"
    return {"kafka": request.getfixturevalue("kafka"), "prefix": f"t-{uuid4().hex[:12]}-"}


@pytest.fixture(scope="module")
def plain(log_section: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A scripted experiment of 600 texts in four partitions."""
    return {
        "experiment": "read",
        "arms": {"base": {}, "tuned": {"plants": ["loud"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 128},
        "embedder": {"model": "hashed", "cache": str(tmp_path_factory.getbasetemp() / "embeddings")},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 600},
        "partitions": 4,
        "log": log_section,
    }


@pytest.fixture(scope="module")
def done(plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run."""
    runs = tmp_path_factory.mktemp("done")
    contraflow.run(plain, runs=runs)
    return open_run(runs, "read-1")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``contraflow`` with the test's folder as the current one; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def go(*arguments: str | Path, cwd: Path = tmp_path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "contraflow", *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, start_new_session=True
        )
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None, "it was started with a pipe"
        process.stdout.close()
