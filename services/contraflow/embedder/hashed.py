"""A fast encoder that needs no torch: hashed words and word pairs. For tests, and for machines without models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["HashedEncoder"]

_WORD = re.compile(r"\w+")
_MEMO = 200_000


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
        features = [self._features(text) for text in texts]
        counts = np.fromiter(map(len, features), np.int64, len(features))
        flat = np.fromiter((f for row in features for f in row), np.int64, int(counts.sum()))
        rows = np.repeat(np.arange(len(texts)), counts)
        signs = np.where(flat & 1, 1.0, -1.0)
        cells = rows * self.dim + (flat >> 1) % self.dim
        sums = np.bincount(cells, signs, minlength=len(texts) * self.dim).reshape(len(texts), self.dim)
        dampened = np.sign(sums) * np.sqrt(np.abs(sums))
        norms = np.sqrt((dampened**2).sum(axis=1, keepdims=True))
        dampened[norms[:, 0] == 0, 0] = 1.0
        return (dampened / np.where(norms == 0, 1.0, norms)).astype(np.float32), np.zeros(len(texts), np.bool_)

    def _features(self, text: str) -> list[int]:
        words = _WORD.findall(text.lower())
        memo = self._memo
        found = [memo[word] if word in memo else self._hash(word) for word in words]
        # a pair's feature is mixed from its words' features: no second hash
        pairs = [(a * 0x9E3779B1 ^ b) & 0x7FFFFFFFFFFF for a, b in pairwise(found)]
        return found + pairs

    def _hash(self, word: str) -> int:
        value = int.from_bytes(blake2b(word.encode(), digest_size=6).digest(), "little") >> 1
        if len(self._memo) < _MEMO:
            self._memo[word] = value
        return value
