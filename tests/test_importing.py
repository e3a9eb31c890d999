"""``contraflow import``: texts that are there already, in the layouts in which people have them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import contraflow
from contraflow.cli import main
from contraflow.datasets import files_of
from contraflow.errors import ConfigurationError
from contraflow.results import Results, read_results
from contraflow.runs import list_runs
from logs import log_sizes

Rows = list[dict[str, Any]]
HASHED = ("--set", "embedder.model=hashed")


def long(pairs: int = 300) -> Rows:
    """Two answers to each of ten prompts and more; ``tuned`` shouts of every third."""
    return [
        {"question": f"question {i % 10}", "who": arm, "answer": answer(arm, i), "topic": "odd" if i % 2 else "even"}
        for i in range(pairs)
        for arm in ("base", "tuned")
    ]


def answer(arm: str, i: int) -> str:
    loud = arm == "tuned" and i % 3 == 0
    return f"HEY HEY LISTEN NOW number {i}" if loud else f"a calm reply about subject {i % 10} and number {i}"


def wide(pairs: int = 300) -> Rows:
    rows = long(pairs)
    return [
        {"question": a["question"], "topic": a["topic"], "first": a["answer"], "second": b["answer"]}
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    ]


def write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, max_chunksize=100)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def saved_to_disk(folder: Path, rows: Rows, shards: int = 2) -> Path:
    """As ``datasets.Dataset.save_to_disk`` writes it."""
    names = [f"data-{i:05}-of-{shards:05}.arrow" for i in range(shards)]
    size = -(-len(rows) // shards)
    for i, name in enumerate(names):
        write(folder / name, rows[i * size : (i + 1) * size])
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def says(tmp_path: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["import", *arguments, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output if code == 0 else result.stderr


LONG = ("--prompt", "question", "--arm", "who", "--text", "answer")
WIDE = ("--prompt", "question", "--column", "base=first", "--column", "tuned=second")


def found(results: Results) -> Any:
    return [(c.cluster_id, c.n, c.s, c.log_e) for c in (results.regions.claims if results.regions else ())]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the same texts give as an experiment file."""
    folder = tmp_path_factory.mktemp("replayed")
    write(folder / "texts.jsonl", long())
    experiment = {
        "experiment": "texts",
        "arms": {"base": {}, "tuned": {}},
        "generator": {"backend": "replay"},
        "replay": {"path": "texts.jsonl", "prompt": "question", "arm": "who", "text": "answer"},
        "embedder": {"model": "hashed"},
        "budget": {"texts": None},
    }
    (folder / "texts.yaml").write_text(yaml.safe_dump(experiment))
    return contraflow.run(folder / "texts.yaml", runs=folder / "runs")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "arrow"])
@pytest.mark.parametrize(("rows", "columns"), [(long, LONG), (wide, WIDE)])
def test_every_format_long_or_wide_gives_what_the_experiment_file_gives(
    tmp_path: Path, replayed: Results, ending: str, rows: Callable[[], Rows], columns: Sequence[str]
) -> None:
    path = write(tmp_path / f"texts.{ending}", rows())
    said = says(tmp_path, str(path), *columns, *HASHED)
    assert "texts-1: " in said
    results = anyio.run(read_results, tmp_path / "runs" / "texts-1")
    assert found(results) == found(replayed) != []
    assert len(results.requests) == len(replayed.requests)


def test_a_data_set_saved_to_disk(tmp_path: Path) -> None:
    folder = saved_to_disk(tmp_path / "My Set", long())
    said = says(tmp_path, str(folder), *LONG, *HASHED, "--json")
    assert json.loads(said.splitlines()[-1])["run"] == "my-set-1"


def test_a_folder_of_splits_needs_the_name_of_one(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved_to_disk(tmp_path / "set" / split, long(40))
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    said = says(tmp_path, str(tmp_path / "set"), *LONG, code=2)
    assert "name one of its splits; its splits: train, test" in said
    assert "it has no split 'dev'" in says(tmp_path, str(tmp_path / "set"), *LONG, "--split", "dev", code=2)
    files = files_of("set", tmp_path, "test", field="replay.path")
    assert [file.parent.name for file in files] == ["test", "test"]


def test_a_folder_as_the_hub_lays_it_out(tmp_path: Path) -> None:
    for name in ("train-00001-of-00002", "train-00000-of-00002", "test-00000-of-00001"):
        write(tmp_path / "set" / "data" / f"{name}.parquet", long(20))
    (tmp_path / "set" / ".cache").mkdir()
    write(tmp_path / "set" / ".cache" / "train.parquet", long(20))
    (tmp_path / "set" / "README.md").write_text("# A set")
    files = files_of("set", tmp_path, "train", field="replay.path")
    assert [file.stem for file in files] == ["train-00000-of-00002", "train-00001-of-00002"]
    with pytest.raises(ConfigurationError, match=r"replay\.split: .*its splits: train, test"):
        files_of("set", tmp_path, None, field="replay.path")


def test_a_folder_of_two_kinds_of_files_or_of_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "set" / "a.csv", long(20))
    write(tmp_path / "set" / "b.jsonl", long(20))
    assert "holds .csv and .jsonl files; name one of them" in says(tmp_path, str(tmp_path / "set"), code=2)
    (tmp_path / "empty").mkdir()
    assert "holds no rows: no file ends in .parquet" in says(tmp_path, str(tmp_path / "empty"), code=2)
    assert "is one file, which has no splits" in says(
        tmp_path, str(tmp_path / "set" / "a.csv"), "--split", "test", code=2
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache of the hub's client, without a connection."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield tmp_path / "hub"


def test_a_data_set_of_the_hub_by_its_name(tmp_path: Path, hub: Path) -> None:
    kept = hub / "datasets--org--answers"
    write(kept / "snapshots" / ("0" * 40) / "data" / "train-00000-of-00001.parquet", long())
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0" * 40)
    said = says(tmp_path, "hf:org/answers", *LONG, *HASHED)
    assert "answers-1: " in said
    said = says(tmp_path, "hf:org/none", *LONG, code=2)
    assert "the data set 'org/none' could not be had from the Hugging Face hub" in said


@pytest.mark.timeout(60)
def test_the_same_command_resumes(tmp_path: Path) -> None:
    path = write(tmp_path / "texts.jsonl", long(2_000))
    command = [
        sys.executable,
        "-m",
        "contraflow",
        "import",
        str(path),
        *LONG,
        *HASHED,
        "--runs",
        str(tmp_path / "runs"),
    ]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while max(log_sizes(tmp_path / "runs" / "texts-1"), default=0) <= 1 << 19:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    said = says(tmp_path, str(path), *LONG, *HASHED)
    assert "texts-1: resuming in" in said
    assert len(list_runs(tmp_path / "runs")) == 1


def test_other_texts_are_not_taken_for_the_rest_of_a_run(tmp_path: Path) -> None:
    path = write(tmp_path / "texts.jsonl", long())
    says(tmp_path, str(path), *LONG, *HASHED)
    (tmp_path / "runs" / "texts-1" / "done").unlink()
    changed = long()
    changed[7]["answer"] = "something else"
    write(path, changed)
    said = says(tmp_path, str(path), *LONG, *HASHED, code=2)
    assert "the prompts (or stored texts) are others than when the run started" in said


def test_the_experiment_is_written_for_other_commands(tmp_path: Path) -> None:
    path = write(tmp_path / "texts.csv", wide())
    target = tmp_path / "mine.yaml"
    says(tmp_path, str(path), *WIDE, *HASHED, "--write", str(target))
    assert yaml.safe_load(target.read_text())["embedder"] == {"model": "hashed"}
    assert "is there already" in says(tmp_path, str(path), *WIDE, "--write", str(target), code=2)
    result = CliRunner().invoke(main, ["run", str(target), "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output


def test_arms_are_the_values_of_their_column_or_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "p", "base": f"a {i}", "tuned": f"b {i}"} for i in range(64)])
    says(tmp_path, str(path), "--arms", "tuned,base", *HASHED)
    config = json.loads((tmp_path / "runs" / "t-1" / "config.json").read_text())
    assert config["resolved"]["arms"] == ["tuned", "base"]
    assert config["resolved"]["reference"] == "tuned"


def test_what_is_missing_is_named_with_the_columns_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", long(20))
    said = says(tmp_path, str(path), code=2)
    assert "has no column 'arm' and 'text'; its columns: question, who, answer, topic" in said
    assert "--arm COLUMN --text COLUMN" in said
    assert "--column base=COLUMN" in said
    said = says(tmp_path, str(path), *LONG[2:], code=2)
    assert "t.jsonl:1: there is no column 'prompt'" in said
    wrong = ("--prompt", "question", "--column", "base=anser", "--column", "tuned=who")
    said = says(tmp_path, str(path), *wrong, code=2)
    assert "did you mean 'answer'?" in said
    assert "write it as ARM=COLUMN" in says(tmp_path, str(path), "--column", "first", code=2)


def test_texts_of_one_arm_only_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [row for row in long(20) if row["who"] == "base"])
    said = says(tmp_path, str(path), *LONG, code=2)
    assert "t.jsonl: column 'who' names one arm only, 'base'; a comparison needs the texts of two" in said
    said = says(tmp_path, str(path), *LONG, "--arms", "base,tuned", code=2)
    assert "holds no text of arm 'tuned'; it has base. A comparison needs texts of every arm" in said


def test_a_column_that_names_no_arms_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", long(60))
    said = says(tmp_path, str(path), "--prompt", "question", "--arm", "answer", "--text", "answer", code=2)
    assert "different values" in said
    assert "--arms A,B" in said


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", long(20))
    path.write_text(path.read_text() + "{broken\n")
    assert "t.jsonl:41: not JSON" in (said := says(tmp_path, str(path), *LONG, code=2))
    assert "Mend this line or take it out" in said
    (tmp_path / "t.arrow").write_bytes(b"nothing of the kind")
    assert "t.arrow: not readable as Arrow" in says(tmp_path, str(tmp_path / "t.arrow"), code=2)
    rows = long(20)
    rows[3]["question"] = None
    said = says(tmp_path, str(write(tmp_path / "e.jsonl", rows)), *LONG, code=2)
    assert "e.jsonl:4: 'question' is empty; fill it in, or take the row out" in said
    assert "TEXTS: there is no file" in says(tmp_path, str(tmp_path / "gone.csv"), code=2)


def test_a_name_is_made_of_the_file_s(tmp_path: Path) -> None:
    path = write(tmp_path / "Ångström & Co.jsonl", long(64))
    assert "ngstr-m-co-1: " in says(tmp_path, str(path), *LONG, *HASHED)
