from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worlds.corpus import Corpus, load_corpus

LABELS, TEXTS = 30, 160


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Corpus]]:
    """A small corpus of one's own: thirty labels, each with words of its own, through the hashed encoder."""
    rng = random.Random(0)
    rows = []
    for label in range(LABELS):
        own = [f"w{label}x{i}" for i in range(12)]
        rows += [f"label{label:02}\t{' '.join(rng.sample(own, 5))} {i}" for i in range(TEXTS)]
    rng.shuffle(rows)
    (tmp_path / "corpus.tsv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setenv("CONTRAFLOW_CORPUS", str(tmp_path / "corpus.tsv"))
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    load_corpus.cache_clear()
    yield lambda: load_corpus("hashed")
    load_corpus.cache_clear()
