"""The two consumers in ``examples/consumers``, over runs on either log."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import contraflow
from contraflow.runs import RunFolder
from contraflow.testing import replay, text

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as `contraflow consume examples...` in the repository's root has it

from examples.consumers.parquet_by_the_hour import parquet_by_the_hour  # noqa: E402  # found through the line above
from examples.consumers.refusals import Refusal, refusals, signs  # noqa: E402  # found through the line above

Start = Callable[..., Any]


@pytest.mark.parametrize(
    ("answer", "by"),
    [
        ("I'm sorry, but I can't help with that.", ("cannot", "apology")),
        ("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I cannot assist with this request.", ("cannot", "apology")),
        ("  I am unable to provide a recipe.", ("cannot",)),
        ("I won't do that.", ("will not",)),
        ("As an AI language model, I do not have opinions.", ("as a machine",)),
        ("That would be against my guidelines.", ("rules",)),
        ("To peel garlic, crush it with the flat of a knife.", ()),
        ("I can't wait to help you cook!", ()),
        ("You cannot help but love this soup.", ()),
        ("As an assistant chef you peel garlic all day.", ()),
        ("x" * 300 + " I cannot help with that.", ()),
        ("", ()),
    ],
)
def test_a_refusal_is_known_by_its_opening(answer: str, by: tuple[str, ...]) -> None:
    assert signs(answer) == by


def test_each_text_is_marked_in_order() -> None:
    replayed = replay(refusals, [text("I cannot help with that.", arm="tuned"), text("", seq=2, error="too long")])
    assert [(r.text_id, r.arm, r.refused) for r in replayed.outputs] == [
        ("replay-1:1:tuned", "tuned", True),
        ("replay-1:2:base", "base", False),
    ]


@pytest.mark.timeout(200)
def test_refusals_of_a_run(done: RunFolder, start: Start) -> None:
    said, _ = start_there(start, "consume", "examples.consumers.refusals:refusals", done).communicate(timeout=60)
    assert "600 written" in said
    texts = contraflow.read(done.run, "texts", runs=done.path.parent)
    found = contraflow.read(done.run, "refusals", Refusal, runs=done.path.parent)
    assert Counter(r.text_id for r in found) == Counter(t.text_id for t in texts)
    assert {r.text_id for r in found if r.refused} == {t.text_id for t in texts if signs(t.text)}


def start_there(start: Start, command: str, name: str, folder: RunFolder) -> Any:
    return start(command, name, "--run", folder.run, "--runs", folder.path.parent, cwd=ROOT)


KILLED = """
import os, signal
from dataclasses import replace
from examples.consumers.parquet_by_the_hour import parquet_by_the_hour as writer

calls = 0

def dies(batch):
    global calls
    writer(batch)
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # written, and not committed

dying = replace(writer, function=dies, batch=50, gather=0.0)
"""


@pytest.mark.long
@pytest.mark.timeout(200)
def test_texts_by_the_hour_are_each_there_once_though_it_is_killed_between_the_file_and_the_commit(
    done: RunFolder, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTRAFLOW_PARQUET", str(tmp_path / "parquet"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "dying.py").write_text(KILLED)
    for _ in range(2):
        process = start("consume", "dying:dying", "--run", done.run, "--runs", done.path.parent)
        assert process.wait(timeout=80) == -9
    there = pd.read_parquet(tmp_path / "parquet" / done.run)
    assert 0 < len(there) < 600
    said, _ = start_there(
        start, "consume", "examples.consumers.parquet_by_the_hour:parquet_by_the_hour", done
    ).communicate(timeout=60)
    assert "everything is read" in said
    frame = pd.read_parquet(tmp_path / "parquet" / done.run)
    texts = {t.text_id: t for t in contraflow.read(done.run, "texts", runs=done.path.parent)}
    assert Counter(frame["text_id"]) == Counter(list(texts))
    assert all(row.text == texts[row.text_id].text and row.seq == texts[row.text_id].seq for row in frame.itertuples())
    assert all(f"{row.written:%Y-%m-%d %H}" == f"{row.date} {row.hour:>02}" for row in frame.itertuples())


def test_a_text_is_filed_under_the_hour_of_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRAFLOW_PARQUET", str(tmp_path))
    hour = 3_600_000
    now = int(time.time() * 1000) // hour * hour
    stamps = [now - hour, now + 5, now - 1, now]
    batch = contraflow.Batch("read-1", "texts", 2, [text(f"t{i}", seq=i) for i in range(4)], [10, 11, 13, 15], stamps)
    for _ in range(2):  # the repetition replaces
        parquet_by_the_hour(batch)
    files = sorted(
        path.relative_to(tmp_path / "read-1").as_posix().partition("/hour=")[2] for path in tmp_path.rglob("*.parquet")
    )
    before, after = (pd.Timestamp(ms, unit="ms").strftime("%H") for ms in (now - hour, now))
    assert files == sorted([f"{before}/texts-2-000000000010.parquet", f"{after}/texts-2-000000000011.parquet"])
    frame = pd.read_parquet(tmp_path / "read-1").sort_values("offset")
    assert list(frame["offset"]) == [10, 11, 13, 15]
    assert list(frame["text"]) == ["t0", "t1", "t2", "t3"]
    assert os.listdir(tmp_path / "read-1")[0].startswith("date=")
