"""Stored texts, read column by column, against the definition written out row by row."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contraflow.decoder.replay import ReplayTexts
from contraflow.errors import ConfigurationError
from contraflow.experiment import Replay
from contraflow.tables import read_table

ARMS = ("base", "tuned")
SCHEMA = pa.schema([(name, pa.string()) for name in ("prompt", "arm", "text", "topic")])
SOME = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["p", "q", "r"]),
        "arm": st.sampled_from([*ARMS, "tuned", "another"]),
        "text": st.sampled_from(["a", "b", None, "ü"]),
        "topic": st.sampled_from([None, "t", "u"]),
    }
)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=3)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
            for start in range(0, len(rows), 3):
                stream.write_batch(pa.RecordBatch.from_pylist(rows[start : start + 3], SCHEMA))


def defined(rows: list[dict[str, Any]]) -> dict[str, tuple[str | None, list[tuple[str, ...]]]]:
    """By prompt, in the order in which they first occur: the first category given, and the pairs."""
    found: dict[str, tuple[str | None, list[tuple[str, ...]]]] = {}
    there = [row for row in rows if row["text"] is not None]
    for prompt in dict.fromkeys(row["prompt"] for row in there):
        mine = [row for row in there if row["prompt"] == prompt]
        by_arm = [[row["text"] for row in mine if row["arm"] == arm] for arm in ARMS]
        pairs = list(zip(*by_arm, strict=False))
        category = next((row["topic"] for row in mine if row["topic"] is not None), None)
        if pairs:
            found[prompt] = category, pairs[:1] if len(set(pairs)) == 1 else pairs
    return found


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(SOME, max_size=24))
def test_texts_pair_as_the_definition_says(kind: str, rows: list[dict[str, Any]]) -> None:
    expected = defined(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"texts.{kind}"
        write(path, rows)
        replay = Replay(path=path.name, category="topic", repeats="draws")
        if not expected:
            with pytest.raises(ConfigurationError, match=r"holds no text of arm|nothing can be compared"):
                ReplayTexts.load(replay, ARMS, Path(folder))
            return
        texts = ReplayTexts.load(replay, ARMS, Path(folder))
    assert [(p.text, p.category, p.draws) for p in texts.prompts] == [
        (prompt, category, len(pairs)) for prompt, (category, pairs) in expected.items()
    ]
    for prompt, (_, pairs) in zip(texts.prompts, expected.values(), strict=True):
        for draw, pair in enumerate(pairs):
            assert tuple(texts.text(prompt.prompt_id, arm, draw) for arm in ARMS) == pair
    told = [row for row in rows if row["text"] is not None]
    for column, arm in enumerate(ARMS):
        paired = sum(
            min(sum(r["prompt"] == p and r["arm"] == a for r in told) for a in ARMS)
            for p in {r["prompt"] for r in told}
        )
        assert texts.unpaired[ARMS[column]] == sum(row["arm"] == arm for row in told) - paired


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_the_same_texts_have_the_same_fingerprint_and_others_another(tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": f"p{i}", "arm": arm, "text": f"{arm} {i}", "topic": None} for i in range(9) for arm in ARMS]
    digests = []
    for name, written in (("one", rows), ("two", rows), ("three", [*rows[:-1], {**rows[-1], "text": "another"}])):
        write(tmp_path / f"{name}.{kind}", written)
        digests.append(ReplayTexts.load(Replay(path=f"{name}.{kind}"), ARMS, tmp_path).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("column", ["prompt", "arm"])
def test_a_text_without_a_prompt_or_an_arm_is_told_with_its_row(tmp_path: Path, kind: str, column: str) -> None:
    rows = [{"prompt": f"p{i}", "arm": arm, "text": f"{arm} {i}", "topic": None} for i in range(4) for arm in ARMS]
    write(tmp_path / f"t.{kind}", [*rows[:5], {**rows[5], "text": None, column: None}, {**rows[6], column: None}])
    place = r"t\.jsonl:7" if kind == "jsonl" else rf"t\.{kind}: row 7"
    with pytest.raises(ConfigurationError, match=rf"{place}: '{column}' is empty; fill it in"):
        ReplayTexts.load(Replay(path=f"t.{kind}"), ARMS, tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_text_that_is_not_utf_8_is_told_with_its_file(tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": "p", "arm": arm, "text": f"{arm} {i}", "topic": None} for i in range(2) for arm in ARMS]
    path = tmp_path / f"t.{kind}"
    write(path, rows)
    path.write_bytes(path.read_bytes().replace(b"tuned 1", b"tuned \xff"))
    with pytest.raises(ConfigurationError, match=rf"t\.{kind}: not readable as .*UTF8"):
        ReplayTexts.load(Replay(path=path.name), ARMS, tmp_path)
    with pytest.raises(ConfigurationError, match=rf"t\.{kind}: not readable as .*UTF8"):
        list(read_table(path, ["text"], field="replay.path"))


def test_numbers_are_read_as_python_writes_them(tmp_path: Path) -> None:
    rows = [{"prompt": 7, "arm": arm, "text": 0.5 + i} for i in range(2) for arm in ARMS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    texts = ReplayTexts.load(Replay(path="t.parquet"), ARMS, tmp_path)
    assert (texts.prompts[0].text, texts.text("p0", "base", 1)) == ("7", "1.5")


def test_reading_columns_needs_no_pandas(tmp_path: Path) -> None:
    """It would double the time that each process of a run takes to start."""
    import subprocess
    import sys

    rows = [{"prompt": "p", "arm": arm, "text": f"{arm} {i}", "topic": "t"} for i in range(2) for arm in ARMS]
    write(tmp_path / "t.parquet", rows)
    code = (
        "import sys\nfrom pathlib import Path\nfrom contraflow.decoder.replay import ReplayTexts\n"
        "from contraflow.experiment import Replay\n"
        f"ReplayTexts.load(Replay(path='t.parquet', category='topic'), {ARMS!r}, Path({str(tmp_path)!r})).digest\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
