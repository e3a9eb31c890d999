"""A fast encoder that needs no torch: hashed words and word pairs. For tests, and for machines without models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["HashedEncoder"]

_WORD = re.compile(r"\w+")
_MEMO = 200_000
_MIX, _BITS = np.uint64(0x9E3779B1), np.uint64(0x7FFFFFFFFFFF)


class HashedEncoder:
    """Feature hashing (Weinberger et al., arXiv 0902.2206) of lower-cased words and word pairs, signed, unit norm.

    A text's vector depends on the text alone, bit for bit. A text without words gets the first unit vector.
    """

    def __init__(self, dim: int = 384) -> None:
        self.dim = dim
        self.fingerprint = f"hashed-{dim}-v1"
        self._memo: dict[str, int] = {}

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n, dim) unit rows; nothing is ever cut."""
        words = [self._words(text) for text in texts]
        counts = np.fromiter(map(len, words), np.int64, len(words))
        found = np.fromiter(chain.from_iterable(words), np.uint64, int(counts.sum()))
        rows = np.repeat(np.arange(len(texts)), counts)
        # a pair's feature is mixed from its words' features: no second hash
        within = rows[:-1] == rows[1:]
        pairs = ((found[:-1] * _MIX ^ found[1:]) & _BITS)[within]
        features = np.concatenate([found, pairs]).astype(np.int64)
        cells = np.concatenate([rows, rows[:-1][within]]) * self.dim + (features >> 1) % self.dim
        signs = np.where(features & 1, 1.0, -1.0)
        sums = np.bincount(cells, signs, minlength=len(texts) * self.dim).reshape(len(texts), self.dim)
        dampened = np.sign(sums) * np.sqrt(np.abs(sums))
        norms = np.sqrt((dampened**2).sum(axis=1, keepdims=True))
        dampened[norms[:, 0] == 0, 0] = 1.0
        return (dampened / np.where(norms == 0, 1.0, norms)).astype(np.float32), np.zeros(len(texts), np.bool_)

    def _words(self, text: str) -> list[int]:
        memo = self._memo
        return [memo[word] if word in memo else self._hash(word) for word in _WORD.findall(text.lower())]

    def _hash(self, word: str) -> int:
        value = int.from_bytes(blake2b(word.encode(), digest_size=6).digest(), "little") >> 1
        if len(self._memo) < _MEMO:
            self._memo[word] = value
        return value
