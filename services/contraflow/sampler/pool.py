"""What can still be asked: prompts without end when a model decodes, stored draws when texts are replayed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["EndlessPool", "Pool", "ReplayPool", "stream"]


def stream(seed: int, *name: object) -> np.random.Generator:
    """A random stream of its own for each name: what one part draws never shifts another."""
    digest = blake2b(repr((seed, *name)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


class Pool(Protocol):
    """Hands out (prompt, draw)s; state is an int32 array so that it can be kept."""

    asked: NDArray[np.int32]
    """How often each prompt was asked, in flight included."""
    stored: bool
    """Whether draws are stored, and so few; else there always is one more."""

    @property
    def empty(self) -> bool:
        """Whether nothing is left to ask, but to confirm."""
        ...

    def explore(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """A prompt and draw chosen uniformly, whatever is known."""
        ...

    def take(self, prompt: int, *, confirm: bool = False) -> int | None:
        """The next draw of a prompt, or None if there is none for this purpose."""
        ...

    def steerable(self, *, confirm: bool = False) -> NDArray[np.bool_]:
        """The prompts that ``take`` can serve now."""
        ...

    def dump(self) -> bytes:
        """What must be kept to go on after a restart."""
        ...

    def load(self, state: bytes) -> None:
        """Go on from what ``dump`` gave."""
        ...


class EndlessPool:
    """Prompts of which a model can always decode one more draw; ``explore`` draws with replacement."""

    stored = False
    empty = False

    def __init__(self, prompts: int) -> None:
        self.asked = np.zeros(prompts, np.int32)

    def explore(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """A prompt drawn uniformly with replacement."""
        prompt = int(rng.integers(len(self.asked)))
        draw = self.take(prompt)
        return None if draw is None else (prompt, draw)

    def take(self, prompt: int, *, confirm: bool = False) -> int | None:
        """The next draw: there always is one."""
        draw = int(self.asked[prompt])
        self.asked[prompt] += 1
        return draw

    def steerable(self, *, confirm: bool = False) -> NDArray[np.bool_]:
        """Every prompt."""
        return np.ones(len(self.asked), np.bool_)

    def dump(self) -> bytes:
        """The counts."""
        return self.asked.tobytes()

    def load(self, state: bytes) -> None:
        """Restore the counts."""
        self.asked = np.frombuffer(state, np.int32).copy()


class ReplayPool:
    """Stored (prompt, draw)s, each asked at most once.

    A share ``holdout`` of the prompts, by hash, is asked only to confirm. Of the rest a fifth of the (prompt, draw)s,
    by hash, is kept for ``explore`` and never steered to; ``explore`` takes them without replacement in seeded order.
    """

    KEPT = 5
    stored = True

    def __init__(self, draws: Sequence[int], held_out: NDArray[np.bool_], seed: int) -> None:
        self._draws = np.asarray(draws, np.int32)
        self._held_out = held_out
        kept = [
            (prompt, draw)
            for prompt, count in enumerate(draws)
            if not held_out[prompt]
            for draw in range(count)
            if _hash(seed, prompt, draw) % self.KEPT == 0
        ]
        order = stream(seed, "explore-order").permutation(len(kept))
        self._kept = [kept[i] for i in order]
        self._is_kept = set(kept)
        self.asked = np.zeros(len(draws), np.int32)
        self._next = np.zeros(len(draws), np.int32)
        self._explored = 0
        self._skip_kept(range(len(draws)))

    @property
    def explore_population(self) -> int:
        """How many (prompt, draw)s are kept for ``explore``."""
        return len(self._kept)

    def _skip_kept(self, prompts: Sequence[int] | range) -> None:
        for prompt in prompts:
            while (prompt, int(self._next[prompt])) in self._is_kept:
                self._next[prompt] += 1

    def explore(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """The next of the kept fifth, or None when it is used up."""
        if self._explored == len(self._kept):
            return None
        prompt, draw = self._kept[self._explored]
        self._explored += 1
        self.asked[prompt] += 1
        return prompt, draw

    def take(self, prompt: int, *, confirm: bool = False) -> int | None:
        """The next stored draw that is neither kept nor, unless ``confirm``, held out."""
        draw = int(self._next[prompt])
        if draw >= self._draws[prompt] or (self._held_out[prompt] and not confirm):
            return None
        self._next[prompt] += 1
        self._skip_kept([prompt])
        self.asked[prompt] += 1
        return draw

    def steerable(self, *, confirm: bool = False) -> NDArray[np.bool_]:
        """The prompts with stored draws left for this purpose; to confirm, the held-out ones if there are any."""
        left = self._next < self._draws
        if not confirm:
            return left & ~self._held_out
        return left & self._held_out if self._held_out.any() else left

    @property
    def empty(self) -> bool:
        """Whether nothing is left to ask, but to confirm."""
        return self._explored == len(self._kept) and not self.steerable().any()

    def dump(self) -> bytes:
        """Counts and places."""
        return np.concatenate([self.asked, self._next, [self._explored]]).astype(np.int32).tobytes()

    def load(self, state: bytes) -> None:
        """Restore counts and places."""
        values = np.frombuffer(state, np.int32)
        self.asked, self._next = values[: len(self._draws)].copy(), values[len(self._draws) : -1].copy()
        self._explored = int(values[-1])


def _hash(seed: int, prompt: int, draw: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{prompt}:{draw}".encode(), digest_size=8).digest(), "little")
