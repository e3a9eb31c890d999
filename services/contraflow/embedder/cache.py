"""An LMDB cache of embeddings, shared by every run on the machine: a text is encoded once in its life."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import lmdb
import numpy as np
from numpy.typing import NDArray

from contraflow import keyvalue
from contraflow.embedder.encoder import Encoder
from contraflow.errors import LogError
from contraflow.weights import cache_folder

__all__ = ["CacheStatistics", "Embedded", "EmbeddingCache"]

logger = logging.getLogger(__name__)

_FORMAT = 1
_MAP = 64 << 20


class Embedded(NamedTuple):
    """``vectors`` (n, dim) float32, and for each text whether it came from the cache and whether it was cut."""

    vectors: NDArray[np.float32]
    cached: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


@dataclass(slots=True)
class CacheStatistics:
    """What the cache did since it was opened; ``damaged`` counts values that were encoded again."""

    hits: int = 0
    encoded: int = 0
    truncated: int = 0
    damaged: int = 0


class EmbeddingCache:
    """Embeddings of an encoder, kept in ``folder`` (by default in the user's cache folder).

    A value is the raw float32 vector, a flag and a checksum. Writes are not synced one by one: LMDB without a writable
    map keeps its file whole through a crash of the process, and what a power cut takes is encoded again. A damaged file
    is set aside and rebuilt.

    :raises LogError: here and from every look-up, if the folder cannot be read or written: its disk is full, or it is not ours.

    Example::

        with EmbeddingCache(HashedEncoder()) as cache:
            vectors = cache.get_embeddings(["one text", "another"])  # (2, 384) float32
    """

    def __init__(self, encoder: Encoder, folder: Path | None = None, *, map_size: int = _MAP) -> None:
        self._encoder = encoder
        self._salt = encoder.fingerprint.encode() + b"\0"
        digest = blake2b(self._salt, digest_size=6).hexdigest()
        root = Path(os.environ.get("CONTRAFLOW_EMBEDDINGS") or cache_folder() / "embeddings")
        self.folder = folder or root / f"{encoder.dim}-{digest}"
        self._map_size = map_size
        self._bytes = 4 * encoder.dim
        self.dim = encoder.dim
        self.fingerprint = encoder.fingerprint
        self.statistics = CacheStatistics()
        with self._in_words():
            self._environment = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sync and close; what could not be synced is only encoded again, and said in a warning."""
        try:
            self._environment.sync(True)
        except lmdb.Error as error:  # raised, it would hide the error that a caller is closing for
            logger.warning("the embedding cache %s could not be synced: %s", self.folder, error)
        self._environment.close()

    def get_embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 in the order of ``texts``; what is not in the cache is encoded, each text once."""
        return self.embed(texts).vectors

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors, and for each text whether it was cached and whether it was cut."""
        keys = [self._key(text) for text in texts]
        with self._in_words():
            found = self._read_or_rebuild(keys)
        missing = {key: text for key, text, hit in zip(keys, texts, found.cached, strict=True) if not hit}
        if missing:
            self._fill(found, keys, self._encode(missing))
        self.statistics.hits += int(found.cached.sum())
        self.statistics.truncated += int(found.truncated.sum())
        return found

    def _key(self, text: str) -> bytes:
        return blake2b(self._salt + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Makes what LMDB or the disk says a LogError: it is the folder's fault, and no text's."""
        try:
            yield
        except (lmdb.Error, OSError) as error:
            raise LogError(
                f"the embedding cache {self.folder} cannot be used ({error}). Free some space on its disk, or choose "
                "another folder with embedder.cache, and run the same command again."
            ) from error

    def _read_or_rebuild(self, keys: Sequence[bytes]) -> Embedded:
        try:
            return self._read(keys)
        except lmdb.CorruptedError:
            self._set_aside()
            return self._read(keys)

    def _read(self, keys: Sequence[bytes]) -> Embedded:
        found = Embedded(
            np.zeros((len(keys), self._encoder.dim), np.float32), np.zeros(len(keys), bool), np.zeros(len(keys), bool)
        )
        rows = found.vectors.view(np.uint8).reshape(len(keys), self._bytes)
        with keyvalue.begin(self._environment, write=False) as transaction:
            for i, key in enumerate(keys):
                value = transaction.get(key)
                if value is not None and self._whole(value):
                    rows[i] = np.frombuffer(value, np.uint8, self._bytes)
                    found.truncated[i] = value[self._bytes] == 1
                    found.cached[i] = True
        return found

    def _whole(self, value: bytes | memoryview) -> bool:
        size = self._bytes + 1
        if len(value) == size + 4 and zlib.crc32(value[:size]) == int.from_bytes(value[size:], "little"):
            return True
        self.statistics.damaged += 1
        return False

    def _encode(self, missing: dict[bytes, str]) -> dict[bytes, tuple[NDArray[np.float32], bool]]:
        vectors, truncated = self._encoder.encode(list(missing.values()))
        if not (finite := np.isfinite(vectors).all(axis=1)).all():  # one would take every text into its cluster
            text = list(missing.values())[int(np.argmin(finite))]
            raise ValueError(f"the encoder gave no number for a part of the vector of {text[:80]!r}")
        self.statistics.encoded += len(missing)
        fresh = {key: (vectors[i], bool(truncated[i])) for i, key in enumerate(missing)}
        with self._in_words():
            self._write([(key, self._value(vector, cut)) for key, (vector, cut) in fresh.items()])
        return fresh

    def _value(self, vector: NDArray[np.float32], truncated: bool) -> bytes:
        body = np.ascontiguousarray(vector, "<f4").tobytes() + bytes([truncated])
        return body + zlib.crc32(body).to_bytes(4, "little")

    def _fill(
        self, found: Embedded, keys: Sequence[bytes], fresh: dict[bytes, tuple[NDArray[np.float32], bool]]
    ) -> None:
        for i in np.flatnonzero(~found.cached).tolist():
            found.vectors[i], found.truncated[i] = fresh[keys[i]]

    def _write(self, items: list[tuple[bytes, bytes]]) -> None:
        keyvalue.put(self._environment, items)

    def _open(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._open_checked()
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
            self._move_away(str(error))
            return self._open_checked()

    def _open_checked(self) -> Any:
        # never below what the file has grown to: LMDB takes the larger of the two
        return keyvalue.open_checked(
            self.folder,
            _FORMAT,
            told=f"the embedding cache {self.folder} was",
            instead="choose another folder with embedder.cache",
            map_size=self._map_size,
            metasync=False,
            sync=False,
        )

    def _set_aside(self) -> None:
        self._environment.close()
        self._move_away("a read failed")
        self._environment = self._open_checked()

    def _move_away(self, why: str) -> None:
        data = self.folder / "data.mdb"
        number = next(n for n in range(1, 10_000) if not data.with_name(f"data.damaged-{n}").exists())
        data.rename(data.with_name(f"data.damaged-{number}"))
        (self.folder / "lock.mdb").unlink(missing_ok=True)
        logger.warning("the embedding cache %s was damaged (%s); set aside and built again", self.folder, why)
