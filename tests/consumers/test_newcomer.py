"""From `contraflow new consumer` to records: the commands that docs/consumers.md gives, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from click.testing import CliRunner, Result

import contraflow
from contraflow.cli import main

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "consumers.md").read_text()


class Shouting(msgspec.Struct, frozen=True, kw_only=True, tag="shouting.v1"):
    text_id: str
    arm: str
    score: float


def commands() -> list[str]:
    """The first block of commands in the docs."""
    block = re.search(r"```\n(.*?)```", DOCS, re.DOTALL)
    assert block is not None
    return block[1].strip().splitlines()


def on_kafka(lines: list[str], servers: str) -> list[str]:
    """The one line that the docs give another form for, with the test's cluster in it."""
    other = re.search(r"On Kafka the fourth is `(.*?)`", DOCS)
    assert other is not None
    options = f"--kafka {servers} --set log.prefix=t-{uuid4().hex[:12]}-"
    return [*lines[:3], other[1].replace("--kafka localhost:9092", options), *lines[4:]]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment of its own with all that ours has: what is installed into it goes with the test."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    (library,) = folder.glob("lib/*/site-packages")
    (library / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("contraflow", "pip", "pytest"):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {name} "$@"\n')
        script.chmod(0o755)
    # without an index: what builds the package is installed here
    without = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    yield {**os.environ, **without, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("log", ["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.long])])
def test_five_commands_lead_from_nothing_to_records(
    log: str, environment: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lines = commands()
    assert lines[0].startswith("contraflow new consumer")
    assert len(lines) <= 5
    if log == "kafka":
        lines = on_kafka(lines, request.getfixturevalue("kafka"))
    there = tmp_path / "there"
    shutil.copytree(ROOT / "examples", there / "examples", ignore=shutil.ignore_patterns("*.safetensors"))
    said = ""
    for line in lines:
        done = subprocess.run(line, shell=True, cwd=there, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        said = done.stdout
    assert "4,000 events read, 4,000 written, 0 to the dead letters" in said
    found = contraflow.read("scripted-1", "shouting", Shouting, runs=there / "runs")
    assert len({shouting.text_id for shouting in found}) == len(found) == 4000


def new(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["new", "consumer", *arguments])


def test_what_is_written_is_clean_and_can_be_written_elsewhere(tmp_path: Path) -> None:
    written = new("counts-words", "--in", str(tmp_path))
    assert written.exit_code == 0, written.output
    assert {path.name for path in (tmp_path / "counts-words").iterdir()} == {
        "pyproject.toml",
        "README.md",
        "counts_words.py",
        "test_counts_words.py",
    }
    assert f"pip install -e {tmp_path}/counts-words" in written.output
    ruff = [sys.executable, "-m", "ruff"]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run([*ruff, *check, "--isolated", "."], cwd=tmp_path / "counts-words", capture_output=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Shouting", "a name is a lower-case letter"),
        ("../shouting", "a name is a lower-case letter"),
        ("a.b", "a name is a lower-case letter"),
        ("embedder", "name of a service of contraflow"),
        ("texts", "a topic of the ring has that name"),
        ("json", "Python has a module or a word of that name"),
        ("class", "Python has a module or a word of that name"),
        ("msgspec", "Python has a module or a word of that name"),
    ],
)
def test_a_name_that_cannot_work_is_refused(name: str, words: str, tmp_path: Path) -> None:
    refused = new(name, "--in", str(tmp_path))
    assert refused.exit_code == 2
    assert words in refused.output
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "shouting").mkdir()
    (tmp_path / "shouting" / "shouting.py").write_text("mine")
    refused = new("shouting", "--in", str(tmp_path))
    assert refused.exit_code == 2
    assert "cannot create" in refused.output
    assert (tmp_path / "shouting" / "shouting.py").read_text() == "mine"
