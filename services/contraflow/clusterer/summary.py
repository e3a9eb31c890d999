"""What a cluster holds, for people: a uniform sample of its texts by arm, and the words that set it apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any

from contraflow.clusterer.parts import Rows
from contraflow.events import Exemplar
from contraflow.pairs import Pair
from contraflow.words import content_words, distinctive

__all__ = ["Samples"]

KEPT = 8
LONGEST = 600

_Entry = tuple[str, str, str, str]  # hash, request, prompt, text


class Samples:
    """By slot and arm the texts with the smallest hashes: a uniform sample that rarely changes (bottom-k)."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._arms = tuple(arms)
        self._kept: dict[int, list[list[_Entry]]] = {}
        self._rows = Rows("sample")
        # in how many of the sampled texts a word is, so that one rambling text does not name the cluster
        self._counts: dict[int, Counter[str]] = {}
        self._everywhere: Counter[str] = Counter()

    def born(self, slot: int) -> None:
        """Forget what the slot held before."""
        for *_, text in chain.from_iterable(self._kept.get(slot, ())):
            self._uncount(slot, text)
        self._kept[slot] = [[] for _ in self._arms]
        self._counts[slot] = Counter()
        self._rows.touch(slot)

    def add(self, pair: Pair, slots: Iterable[int]) -> None:
        """Offer a pair's texts to the samples of the clusters they fell into."""
        for arm, slot in enumerate(slots):
            digest = blake2b(f"{pair.request_id}:{arm}".encode(), digest_size=8).hexdigest()
            sample = self._kept[slot][arm]
            if len(sample) < KEPT or digest < sample[-1][0]:
                text = pair.texts[arm][:LONGEST]
                sample.append((digest, pair.request_id, pair.prompt_id, text))
                sample.sort()
                self._count(slot, text)
                if len(sample) > KEPT:
                    self._uncount(slot, sample.pop()[-1])
                self._rows.touch(slot)

    def _count(self, slot: int, text: str) -> None:
        found = content_words(text)
        self._counts[slot].update(found)
        self._everywhere.update(found)

    def _uncount(self, slot: int, text: str) -> None:
        for counts in (self._counts[slot], self._everywhere):
            for word in content_words(text):
                counts[word] -= 1
                if not counts[word]:
                    del counts[word]

    def exemplars(self, slot: int) -> dict[str, tuple[Exemplar, ...]]:
        """The sample of a slot by arm."""
        return {
            arm: tuple(Exemplar(request_id=r, prompt_id=p, text=text) for _, r, p, text in sample)
            for arm, sample in zip(self._arms, self._kept[slot], strict=True)
        }

    def keywords(self, slots: Sequence[int], most: int = 8) -> dict[int, tuple[str, ...]]:
        """The words that set each cluster apart (``distinctive``)."""
        average = sum(self._everywhere.values()) / max(1, len(self._counts))
        return {slot: distinctive(self._counts[slot], self._everywhere, average, most) for slot in slots}

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self._rows.dump(lambda slot: self._kept[slot])

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        rows: dict[int, Any] = self._rows.load(dict(parts))
        for slot, samples in rows.items():
            self._kept[slot] = [[(d, r, p, text) for d, r, p, text in sample] for sample in samples]
            self._counts[slot] = Counter()
            for *_, text in chain.from_iterable(samples):
                self._count(slot, text)
