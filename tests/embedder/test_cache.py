"""A text is encoded once in its life: by one run or by several at once, also after damage."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import lmdb
import numpy as np
import pytest

from contraflow.embedder.cache import EmbeddingCache
from contraflow.embedder.hashed import HashedEncoder
from contraflow.errors import FormatTooNew, LogError
from contraflow.keyvalue import begin

TEXTS = [f"text number {i}" for i in range(300)]


class Counting(HashedEncoder):
    """Remembers what it was asked to encode."""

    def __init__(self, dim: int = 384, fingerprint: str | None = None) -> None:
        super().__init__(dim)
        self.fingerprint = fingerprint or self.fingerprint
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.encoded += texts
        return super().encode(texts)


def test_every_text_is_encoded_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    with EmbeddingCache(first, tmp_path) as cache:
        fresh = cache.get_embeddings([*TEXTS, *TEXTS[:50]])
        again = cache.embed(TEXTS)
    with EmbeddingCache(second, tmp_path) as cache:
        later = cache.get_embeddings(TEXTS[::-1])
        assert cache.statistics.hits == len(TEXTS)
    assert first.encoded == TEXTS
    assert second.encoded == []
    assert again.cached.all()
    assert (fresh[:300] == later[::-1]).all()
    assert (fresh[300:] == fresh[:50]).all()
    assert (fresh == HashedEncoder().encode([*TEXTS, *TEXTS[:50]])[0]).all()


def test_another_encoder_shares_the_folder_and_no_vector(tmp_path: Path) -> None:
    with EmbeddingCache(Counting(), tmp_path) as cache:
        cache.get_embeddings(TEXTS)
    other = Counting(fingerprint="hashed-384-v2")
    with EmbeddingCache(other, tmp_path) as cache:
        cache.get_embeddings(TEXTS)
    assert other.encoded == TEXTS


def test_each_encoder_has_a_folder_of_its_own_by_default() -> None:
    with EmbeddingCache(HashedEncoder(384)) as a, EmbeddingCache(HashedEncoder(64)) as b:
        assert a.folder != b.folder
        assert a.get_embeddings(["x"]).shape == (1, 384)
        assert b.get_embeddings(["x"]).shape == (1, 64)


def test_the_map_grows_as_texts_come(tmp_path: Path) -> None:
    with EmbeddingCache(HashedEncoder(), tmp_path, map_size=1 << 17) as cache:
        vectors = cache.get_embeddings([f"{i} and more" for i in range(2000)])
        assert (cache.get_embeddings(["1999 and more"])[0] == vectors[-1]).all()


def test_a_damaged_value_is_encoded_again(tmp_path: Path) -> None:
    with EmbeddingCache(HashedEncoder(), tmp_path) as cache:
        cache.get_embeddings(TEXTS)
        key = cache._key(TEXTS[7])
        with cache._environment.begin(write=True) as transaction:
            value = bytearray(transaction.get(key))
            value[100] ^= 0xFF
            transaction.put(key, bytes(value))
    encoder = Counting()
    with EmbeddingCache(encoder, tmp_path) as cache:
        vectors = cache.get_embeddings(TEXTS)
        assert cache.statistics.damaged == 1
    assert encoder.encoded == [TEXTS[7]]
    assert (vectors == HashedEncoder().encode(TEXTS)[0]).all()


@pytest.mark.parametrize("damage", [b"this is no database" * 1000, b""])
def test_a_damaged_file_is_set_aside_and_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    with EmbeddingCache(HashedEncoder(), tmp_path) as cache:
        cache.get_embeddings(TEXTS)
    (tmp_path / "data.mdb").write_bytes(damage)
    with caplog.at_level(logging.WARNING), EmbeddingCache(HashedEncoder(), tmp_path) as cache:
        assert cache.get_embeddings(TEXTS).shape == (300, 384)
    if damage:
        assert "was damaged" in caplog.text
        assert (tmp_path / "data.damaged-1").read_bytes() == damage


def test_a_cache_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with EmbeddingCache(HashedEncoder(), tmp_path) as cache, cache._environment.begin(write=True) as transaction:
        transaction.put(b"contraflow-format", b"99")
    with pytest.raises(FormatTooNew, match=r"format 99.*embedder\.cache"):
        EmbeddingCache(HashedEncoder(), tmp_path)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow past ``size``, as a full disk would."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


FAILED = r"embedding cache {}.* cannot be used .*Free some space.*embedder\.cache.*run the same command again"


def test_a_full_disk_is_no_texts_fault_and_the_cache_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with EmbeddingCache(HashedEncoder(), tmp_path) as cache:
        cache.get_embeddings(TEXTS[:10])
        with no_file_beyond(1 << 17), pytest.raises(LogError, match=FAILED.format(tmp_path)):
            cache.get_embeddings(TEXTS)
        assert cache.embed(TEXTS[:10]).cached.all()
        assert not cache.embed(TEXTS).cached.all()
        assert cache.embed(TEXTS).cached.all()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogError, match=FAILED.format(tmp_path / "file")):
        EmbeddingCache(HashedEncoder(), tmp_path / "file")


def test_a_folder_that_lmdb_cannot_open_is_said(tmp_path: Path) -> None:
    (tmp_path / "lock.mdb").mkdir()
    with pytest.raises(LogError, match=FAILED.format(tmp_path)):
        EmbeddingCache(HashedEncoder(), tmp_path)


def test_a_cache_that_was_closed_says_so_and_closes_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(HashedEncoder(), tmp_path)
    cache.close()
    with pytest.raises(LogError, match=FAILED.format(tmp_path)):
        cache.get_embeddings(["x"])
    cache.close()


_WRITE = """
import sys
from pathlib import Path
from contraflow.embedder.cache import EmbeddingCache
from contraflow.keyvalue import begin
from contraflow.embedder.hashed import HashedEncoder
with EmbeddingCache(HashedEncoder(), Path(sys.argv[1]), map_size=1 << 17) as cache:
    for start in range(0, 1500, 50):
        cache.get_embeddings([f"text {i}" for i in range(start, start + 50)])
"""


def test_several_processes_fill_one_cache_at_once(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", _WRITE, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(timeout=20) for process in running] == [0, 0, 0]
    encoder = Counting()
    with EmbeddingCache(encoder, tmp_path) as cache:
        cache.get_embeddings([f"text {i}" for i in range(1500)])
    assert encoder.encoded == []


def test_a_map_that_grows_again_and_again_under_a_reader_is_followed() -> None:
    class Growing:
        sizes: ClassVar[list[int]] = []

        def begin(self, *, write: bool, buffers: bool) -> str:
            if len(self.sizes) < 3:
                raise lmdb.MapResizedError("another process has grown it")
            return "transaction"

        def set_mapsize(self, size: int) -> None:
            self.sizes.append(size)

    assert begin(Growing(), write=False) == "transaction"
    assert Growing.sizes == [0, 0, 0]


def test_a_vector_that_is_no_number_is_refused_and_not_kept(tmp_path: Path) -> None:
    class Torn(Counting):
        def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            vectors, cut = super().encode(texts)
            vectors[[text == "torn" for text in texts]] = np.nan
            return vectors, cut

    with EmbeddingCache(Torn(), tmp_path) as cache:
        with pytest.raises(ValueError, match=r"no number .* of 'torn'"):
            cache.embed(["whole", "torn"])
        assert np.isfinite(cache.get_embeddings(["whole"])).all()
        with pytest.raises(ValueError, match="no number"):
            cache.embed(["torn"])
