"""Existing texts instead of a model: a file of decoded texts is compared without decoding anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Self

import anyio.lowlevel
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contraflow.datasets import files_of
from contraflow.decoder.generator import Completion
from contraflow.errors import ConfigurationError
from contraflow.events import Request
from contraflow.experiment import Replay
from contraflow.prompts import Prompt
from contraflow.tables import read_table

__all__ = ["ReplayGenerator", "ReplayTexts"]

_REPEATED = 0.1
"""The share of pairs that may repeat another: short answers do come out alike."""


class ReplayTexts:
    """Stored texts by prompt, arm and draw. Several texts of a prompt pair by their order within the arm.

    ``prompts`` in order of first appearance, each with the number of complete pairs; ``held_out`` (prompts,) which are
    kept for confirmation, by a hash of the prompt (none where that would be all); ``unpaired`` how many texts of each arm
    found no partner. Where all pairs of a prompt are alike (greedy decoding) they are one draw: the same coin is not
    counted twice.
    """

    def __init__(
        self, rows: dict[str, dict[str, list[str]]], categories: dict[str, str], arms: Sequence[str], share: float
    ) -> None:
        self._arms = tuple(arms)
        texts: list[str] = []
        self._first: list[dict[str, int]] = []
        self.unpaired = dict.fromkeys(self._arms, 0)
        self.prompts: list[Prompt] = []
        self._repeated: dict[str, int] = {}
        for prompt, by_arm in rows.items():
            pairs = self._pairs(by_arm)
            if not pairs:
                continue
            if repeated := len(pairs) - len(set(pairs)):
                self._repeated[prompt] = repeated
            first = {}
            for column, arm in enumerate(self._arms):
                first[arm] = len(texts)
                texts += [pair[column] for pair in pairs]
            self._first.append(first)
            self.prompts.append(Prompt(f"p{len(self.prompts)}", prompt, categories.get(prompt), len(pairs)))
        self._texts = pa.array(texts, pa.large_string())
        self._index = {prompt.prompt_id: i for i, prompt in enumerate(self.prompts)}
        self.held_out: NDArray[np.bool_] = np.array([_uniform(p.text) < share for p in self.prompts], np.bool_)
        if self.held_out.all():  # of one prompt or two; there would be nothing left to find anything in
            self.held_out[:] = False

    @property
    def digest(self) -> str:
        """A fingerprint of the texts: a run is not resumed with others."""
        digest = blake2b(digest_size=16)
        for buffer in filter(None, self._texts.buffers()):
            digest.update(buffer)
        return digest.hexdigest()

    def refuse_repeats(self, path: Path) -> None:
        """Refuse a file that holds the same draws twice: a coin that is counted again makes every claim false.

        :raises ConfigurationError: if more than a tenth of the pairs are repeats.
        """
        repeated = sum(self._repeated.values())
        if repeated > _REPEATED * len(self._texts) / len(self._arms):
            worst = max(self._repeated, key=lambda prompt: self._repeated[prompt])
            raise ConfigurationError(
                f"replay.path: {repeated:,} of the {len(self._texts) // len(self._arms):,} pairs in {path} repeat another "
                f"pair of their prompt, text by text (of {worst[:60]!r} {self._repeated[worst]:,}). A draw that is stored "
                "twice would count twice, which makes claims false. Keep each draw once; if the models did answer so "
                "alike, write replay.repeats: draws"
            )

    def _pairs(self, by_arm: dict[str, list[str]]) -> list[tuple[str, ...]]:
        columns = [by_arm.get(arm, []) for arm in self._arms]
        shortest = min(map(len, columns))
        for arm, column in zip(self._arms, columns, strict=True):
            self.unpaired[arm] += len(column) - shortest
        pairs = list(zip(*columns, strict=False))
        return pairs[:1] if len(set(pairs)) == 1 else pairs

    @classmethod
    def load(cls, replay: Replay, arms: Sequence[str], base_dir: Path) -> Self:
        """The texts of a file.

        :raises ConfigurationError: if it cannot be read, lacks a column, or holds no text of an arm.
        """
        path = Path(replay.path)
        rows: dict[str, dict[str, list[str]]] = {}
        categories: dict[str, str] = {}
        read = _wide if replay.columns else _long
        files = files_of(replay.path, base_dir, replay.split, field="replay.path")
        for prompt, category, arm, text in chain.from_iterable(read(replay, file, arms) for file in files):
            rows.setdefault(prompt, {}).setdefault(arm, []).append(text)
            if category is not None:
                categories.setdefault(prompt, category)
        for arm in arms:
            if not any(arm in by_arm for by_arm in rows.values()):
                found = sorted({name for by_arm in rows.values() for name in by_arm})
                raise ConfigurationError(
                    f"replay.path: {path} holds no text of arm {arm!r}; it has {', '.join(found) or 'no texts at all'}. "
                    "A comparison needs texts of every arm: name the arms as the file does, or add what is missing"
                )
        texts = cls(rows, categories, arms, replay.holdout)
        if replay.repeats == "refuse":
            texts.refuse_repeats(path)
        if not texts.prompts:
            raise ConfigurationError(
                f"replay.path: in {path} no prompt has a text of every arm; nothing can be compared"
            )
        return texts

    def text(self, prompt_id: str, arm: str, draw: int) -> str:
        """One stored text."""
        text: str = self._texts[self._first[self._index[prompt_id]][arm] + draw].as_py()
        return text


def _long(replay: Replay, path: Path, arms: Sequence[str]) -> Any:
    columns = [replay.prompt, replay.arm, replay.text] + ([replay.category] if replay.category else [])
    for place, row in read_table(path, columns, field="replay.path"):
        if row[replay.text] is not None:
            prompt, arm = _said(place, row, replay.prompt), _said(place, row, replay.arm)
            yield prompt, _category(replay, row), arm, str(row[replay.text])


def _wide(replay: Replay, path: Path, arms: Sequence[str]) -> Any:
    for arm in arms:
        if arm not in replay.columns:
            raise ConfigurationError(f"replay.columns: arm {arm!r} has no column; write {arm}: <column>")
    columns = [replay.prompt, *replay.columns.values()] + ([replay.category] if replay.category else [])
    for place, row in read_table(path, columns, field="replay.path"):
        prompt, category = _said(place, row, replay.prompt), _category(replay, row)
        for arm in arms:
            cell = row[replay.columns[arm]]
            for text in cell if isinstance(cell, list) else [cell]:
                if text is not None:
                    yield prompt, category, arm, str(text)


def _said(place: str, row: dict[str, Any], column: str) -> str:
    if row[column] is None:
        raise ConfigurationError(f"{place}: {column!r} is empty; fill it in, or take the row out")
    return str(row[column])


def _category(replay: Replay, row: dict[str, Any]) -> str | None:
    value = row[replay.category] if replay.category else None
    return None if value is None else str(value)


def _uniform(text: str) -> float:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") / 2**64


class ReplayGenerator:
    """Answers requests with an arm's stored texts."""

    capacity = 2048
    continuous = False

    def __init__(self, arm: str, texts: ReplayTexts) -> None:
        self.model = "replay"
        self._arm = arm
        self._texts = texts

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """The stored texts."""
        for i, request in enumerate(requests):
            if i % 64 == 0:
                await anyio.lowlevel.checkpoint()
            text = self._texts.text(request.prompt_id, self._arm, request.draw)
            yield Completion(request, text, "stop", 0, text.count(" ") + 1)
