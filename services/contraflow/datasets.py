"""The files of a data set: one file, a folder as the hub or ``save_to_disk`` lays it out, or a name on the hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from contraflow.errors import ConfigurationError

__all__ = ["HUB", "files_of"]

HUB = "hf:"
"""What a name on the Hugging Face hub begins with: ``hf:org/name``, or ``hf:org/name@revision``."""

_ENDINGS = (".parquet", ".arrow", ".jsonl", ".json", ".csv")
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What lies beside the rows and holds none."""
_SPLITS = ("train", "validation", "test")


def files_of(path: str, base_dir: Path, split: str | None, *, field: str) -> list[Path]:
    """The files that hold the rows of a data set, in their order.

    :raises ConfigurationError: if there are none, they are of several kinds, or they are in several splits and ``split``
        names none of them; ``field`` is the experiment's field that named the path.
    """
    folder = _from_hub(path.removeprefix(HUB), field) if path.startswith(HUB) else base_dir / path
    if not folder.is_dir():
        if split is not None and folder.is_file():
            raise ConfigurationError(f"{field}: {folder} is one file, which has no splits; leave split out")
        return [folder]
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return _saved(folder / _chosen(split, splits, folder, field))
    if (folder / "state.json").is_file():
        return _saved(folder)
    return _of_one_kind(_of_split(_rows_in(folder), folder, split, field), folder, field)


def _saved(folder: Path) -> list[Path]:
    """What ``Dataset.save_to_disk`` wrote."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return [folder / file["filename"] for file in state["_data_files"]]


def _rows_in(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.name not in _ABOUT)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _of_split(files: Sequence[Path], folder: Path, split: str | None, field: str) -> list[Path]:
    """The hub tells splits by the words in a file's path: ``data/train-00000-of-00002.parquet``, ``test.csv``."""
    words = {file: re.split(r"[^a-z0-9]+", str(file.relative_to(folder)).lower()) for file in files}
    there = [name for name in _SPLITS if any(name in words[file] for file in files)]
    if split is None and len(there) < 2:
        return list(files)
    if split is not None and (chosen := [file for file in files if split.lower() in words[file]]):
        return chosen
    name = _chosen(split, there, folder, field)
    return [file for file in files if name in words[file]]


def _chosen(split: str | None, there: Sequence[str], folder: Path, field: str) -> str:
    if split in there:
        return split or ""
    if split is None and len(there) == 1:
        return there[0]
    said = "it has no splits" if not there else f"its splits: {', '.join(there)}"
    asked = "name one of its splits" if split is None else f"it has no split {split!r}"
    raise ConfigurationError(f"{field.rpartition('.')[0]}.split: {folder}: {asked}; {said}".removeprefix("."))


def _of_one_kind(files: Sequence[Path], folder: Path, field: str) -> list[Path]:
    kinds = sorted({file.suffix.lower() for file in files})
    if not kinds:
        raise ConfigurationError(f"{field}: the folder {folder} holds no rows: no file ends in {', '.join(_ENDINGS)}")
    if len(kinds) > 1:
        raise ConfigurationError(f"{field}: the folder {folder} holds {' and '.join(kinds)} files; name one of them")
    return list(files)


def _from_hub(name: str, field: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ConfigurationError(
            f"{field}: {HUB}{name} is on the Hugging Face hub, and its client is not installed ({error}). Run "
            "`pip install huggingface-hub`, or give the path of a local folder."
        ) from error
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
    name, _, revision = name.partition("@")
    try:
        patterns = [f"*{ending}" for ending in _ENDINGS]
        return Path(snapshot_download(name, repo_type="dataset", revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many kinds; each means that it has none for us
        said = (str(error).splitlines() or [""])[0][:200]
        raise ConfigurationError(
            f"{field}: the data set {name!r} could not be had from the Hugging Face hub ({type(error).__name__}: {said}). "
            "Check its name and the connection, or give the path of a local folder."
        ) from error
