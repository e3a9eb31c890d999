"""An experiment over existing texts, described from what their files hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from contraflow.datasets import HUB, files_of
from contraflow.errors import ConfigurationError
from contraflow.tables import read_table

__all__ = ["Columns", "described"]

_MOST = 32
"""A column with more different values than that names no arms."""


class Columns(NamedTuple):
    """Which columns hold what; ``by_arm`` maps an arm to its column, where there is one an arm."""

    prompt: str = "prompt"
    arm: str = "arm"
    text: str = "text"
    category: str | None = None
    by_arm: Mapping[str, str] = {}


def described(
    path: str, arms: Sequence[str], columns: Columns, *, name: str | None = None, split: str | None = None
) -> dict[str, Any]:
    """The experiment as a file would describe it: every text there is, by default.

    Without ``arms`` they are the values of the arm's column, in the order in which they first occur; the first is the
    reference.

    :raises ConfigurationError: if the files cannot be read, or do not show which text is whose.
    """
    files = files_of(path, Path(), split, field="TEXTS")
    _, row = next(chain.from_iterable(read_table(file, [], field="TEXTS") for file in files), ("", {}))
    if not row:
        raise ConfigurationError(f"TEXTS: {path} holds no rows")
    by_arm = dict(columns.by_arm) or ({arm: arm for arm in arms} if arms and all(arm in row for arm in arms) else {})
    if not by_arm and not (columns.arm in row and columns.text in row):
        raise ConfigurationError(_unclear(path, arms, columns, row))
    known = list(arms) or list(by_arm) or _arms_in(files, columns)
    replay: dict[str, Any] = {"path": path if path.startswith(HUB) else str(Path(path).absolute())}
    replay |= {"prompt": columns.prompt, "category": columns.category, "split": split}
    replay |= {"columns": by_arm} if by_arm else {"arm": columns.arm, "text": columns.text}
    return {
        "experiment": name or _name(path),
        "arms": {arm: {} for arm in known},
        "generator": {"backend": "replay"},
        "replay": {key: value for key, value in replay.items() if value is not None},
        "budget": {"texts": None},
    }


def _unclear(path: str, arms: Sequence[str], columns: Columns, row: Mapping[str, Any]) -> str:
    lacks = " and ".join(repr(c) for c in (columns.arm, columns.text) if c not in row)
    named = "" if not arms else f", nor one for each of {', '.join(arms)}"
    return (
        f"TEXTS: {path} has no column {lacks}{named}; its columns: {', '.join(row)}. For a row a text say which column "
        "names the model and which has the text: --arm COLUMN --text COLUMN. For a column a model: "
        "--column base=COLUMN --column tuned=COLUMN."
    )


def _arms_in(files: Sequence[Path], columns: Columns) -> list[str]:
    rows = chain.from_iterable(read_table(file, [columns.arm], field="TEXTS") for file in files)
    there = dict.fromkeys(str(row[columns.arm]) for _, row in rows if row[columns.arm] is not None)
    shown = ", ".join(repr(value[:40]) for value in islice(there, 4))
    if len(there) < 2:
        raise ConfigurationError(
            f"TEXTS: {files[0]}: column {columns.arm!r} names {f'one arm only, {shown}' if there else 'no arm'}; a comparison "
            "needs the texts of two. Add the other's rows, or name another column with --arm."
        )
    if len(there) > _MOST:
        raise ConfigurationError(
            f"TEXTS: {files[0]}: column {columns.arm!r} has {len(there):,} different values ({shown} ...), more than an "
            "experiment has arms. Name the column of the model with --arm, or two of the values with --arms A,B."
        )
    return list(there)


def _name(path: str) -> str:
    """Of an experiment: at most 48 of a-z, 0-9 and -."""
    plain = re.sub(r"[^a-z0-9]+", "-", Path(path.removeprefix(HUB)).stem.lower()).strip("-")
    return plain[:48] or "texts"
