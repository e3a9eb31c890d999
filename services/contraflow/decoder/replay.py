"""Existing texts instead of a model: a file of decoded texts is compared without decoding anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Self

import anyio.lowlevel
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contraflow.decoder.generator import Completion
from contraflow.decoder.stored import Stored, codes, places_of, read_stored, take
from contraflow.errors import ConfigurationError
from contraflow.events import Request
from contraflow.experiment import Replay
from contraflow.prompts import Prompt

__all__ = ["ReplayGenerator", "ReplayTexts"]

Integers = NDArray[np.int64]

_REPEATED = 0.1
"""The share of pairs that may repeat another: short answers do come out alike."""


class ReplayTexts:
    """Stored texts by prompt, arm and draw. Several texts of a prompt pair by their order within the arm.

    ``prompts`` in order of first appearance, each with the number of complete pairs; ``held_out`` (prompts,) which are
    kept for confirmation, by a hash of the prompt (none where that would be all); ``unpaired`` how many texts of each arm
    found no partner. Where all pairs of a prompt are alike (greedy decoding) they are one draw: the same coin is not
    counted twice.
    """

    def __init__(self, stored: Stored, arms: Sequence[str], share: float) -> None:
        self._arms = tuple(arms)
        prompt, names = codes(stored.prompts)
        paired, pairs, unpaired = _pair(prompt, _places(stored.arms, arms), (len(names), len(arms)))
        self.unpaired = dict(zip(self._arms, unpaired.tolist(), strict=True))
        every, draw = _draws(pairs)
        different = _different(every, codes(stored.texts)[0][paired], len(pairs))
        draws = np.where(different == 1, 1, pairs)
        self._repeated = dict(zip(names, (draws - np.minimum(draws, different)).tolist(), strict=True))
        self._texts = take(stored.texts, paired[draw < draws[every]].ravel())
        categories = _first_given(stored.categories, prompt)
        there = np.flatnonzero(draws).tolist()
        self.prompts = [
            Prompt(f"p{i}", names[code], categories.get(code), int(draws[code])) for i, code in enumerate(there)
        ]
        self._first = dict(
            zip((p.prompt_id for p in self.prompts), (draws.cumsum() - draws)[there].tolist(), strict=True)
        )
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

    @classmethod
    def load(cls, replay: Replay, arms: Sequence[str], base_dir: Path) -> Self:
        """The texts of a file.

        :raises ConfigurationError: if it cannot be read, lacks a column, or holds no text of an arm.
        """
        path, stored = Path(replay.path), read_stored(replay, arms, base_dir)
        found = stored.arms.unique().to_pylist()
        for arm in arms:
            if arm not in found:
                raise ConfigurationError(
                    f"replay.path: {path} holds no text of arm {arm!r}; it has {', '.join(sorted(found)) or 'no texts at all'}. "
                    "A comparison needs texts of every arm: name the arms as the file does, or add what is missing"
                )
        texts = cls(stored, arms, replay.holdout)
        if replay.repeats == "refuse":
            texts.refuse_repeats(path)
        if not texts.prompts:
            raise ConfigurationError(
                f"replay.path: in {path} no prompt has a text of every arm; nothing can be compared"
            )
        return texts

    def text(self, prompt_id: str, arm: str, draw: int) -> str:
        """One stored text."""
        place = (self._first[prompt_id] + draw) * len(self._arms) + self._arms.index(arm)
        text: str = self._texts[place].as_py()
        return text


def _places(values: pa.Array, among: Sequence[str]) -> Integers:
    """(n,) places of the values ``among`` others; -1 where there is none."""
    numbers, there = codes(values)
    return np.array([among.index(value) if value in among else -1 for value in there], np.int64)[numbers]


def _pair(prompt: Integers, arm: Integers, shape: tuple[int, int]) -> tuple[Integers, Integers, Integers]:
    """Pairs the texts of each prompt by their order within the arm.

    (pairs, arms) places of the texts, prompt by prompt; (prompts,) how many pairs; (arms,) how many texts are in none.
    """
    known = np.flatnonzero(arm >= 0)
    slot = prompt[known] * shape[1] + arm[known]
    counts = np.bincount(slot, minlength=shape[0] * shape[1])
    ordered, starts = known[np.argsort(slot, kind="stable")], (counts.cumsum() - counts).reshape(shape)
    counts = counts.reshape(shape)
    pairs = counts.min(axis=1)
    every, draw = _draws(pairs)
    return ordered[starts[every] + draw[:, None]], pairs, (counts - pairs[:, None]).sum(axis=0)


def _draws(pairs: Integers) -> tuple[Integers, Integers]:
    """Of every pair, prompt by prompt, which prompt and which draw of it, from (prompts,) how many pairs each has."""
    every = np.repeat(np.arange(len(pairs)), pairs)
    return every, np.arange(len(every)) - (pairs.cumsum() - pairs)[every]


def _different(prompt: Integers, texts: Integers, prompts: int) -> Integers:
    """(prompts,) how many different ones there are among the (pairs, arms) ``texts`` of each ``prompt`` (pairs,)."""
    rows = np.column_stack([prompt, texts])
    rows = rows[np.lexsort(rows.T[::-1])]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return np.bincount(rows[first, 0], minlength=prompts)


def _first_given(values: pa.Array, prompt: Integers) -> dict[int, str]:
    """The first value of each prompt that has one."""
    given = places_of(values.is_valid())
    asked, first = np.unique(prompt[given], return_index=True)
    return dict(zip(asked.tolist(), take(values, given[first]).to_pylist(), strict=True))


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
