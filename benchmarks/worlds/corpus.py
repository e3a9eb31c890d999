"""Real short texts with natural labels, and their embeddings, which are made once and kept.

Two sources that anybody with Debian or Ubuntu has. The figures are those of Debian 12 (main, amd64):

- 60,004 one-line descriptions of packages with their Section, 58 in all, from ``apt-cache dumpavail``. Each is free under
  the licence of its package.
- 164,878 definitions and examples of use from WordNet 3.0 with their lexicographer file (``noun.05`` are animals), 45 in
  all, from the package ``wordnet-base``. Licence: WordNet 3.0, which lets everybody use, copy and change it.

``CONTRAFLOW_CORPUS`` names a file of your own instead, with a label, a tab and a text in each line. Of equal texts the
first is kept. With all-MiniLM-L6-v2 the embeddings take some minutes on two cores, and then 170 MB in the cache folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.embedder.encoder import build
from contraflow.errors import ConfigurationError
from contraflow.experiment import Embedder
from contraflow.weights import cache_folder, resolve_encoder

__all__ = ["Corpus", "encoded", "load_corpus", "save"]

NEAR = 16
"""How many of the nearest texts of the same label are kept for each text, itself among them."""
_CHUNK = 16_384
_ABSENT = (
    "the sentences world needs texts, and {what}. On Debian or Ubuntu run `apt-get update && apt-get install "
    "wordnet-base`; elsewhere set CONTRAFLOW_CORPUS to a file with a label, a tab and a text in each line."
)


class Corpus(NamedTuple):
    """``n`` texts: the label of each (an index of ``names``), unit vectors, and the nearest texts of the same label.

    ``vectors`` (n, dim) are float16, mapped from the cache folder: make what is used float32 and of unit length.
    ``near`` (n, 16) has indices of texts; where a label has fewer texts, they come again.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    vectors: NDArray[np.float16]
    near: NDArray[np.int32]


@cache
def load_corpus(model: str = "all-MiniLM-L6-v2") -> Corpus:
    """The corpus embedded with a model; the first time it is encoded.

    :raises ConfigurationError: if there are no texts; the message says where to get them.
    """
    rows = _rows()
    names = tuple(sorted(set(rows.values())))
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[name] for name in rows.values()])
    folder = cache_folder() / "corpora" / _digest(rows, model)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "vectors.npy").exists():
        save(folder / "vectors.npy", encoded(list(rows), model))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    if not (folder / "near.npy").exists():
        save(folder / "near.npy", _nearest(vectors, labels))
    return Corpus(labels, names, vectors, np.load(folder / "near.npy", mmap_mode="r"))


def _digest(rows: dict[str, str], model: str) -> str:
    digest = blake2b((model if model == "hashed" else resolve_encoder(model).fingerprint).encode(), digest_size=8)
    for text, label in rows.items():
        digest.update(f"{label}\t{text}\n".encode())
    return digest.hexdigest()


def save(path: Path, array: NDArray[np.float16] | NDArray[np.int32]) -> None:
    """Write an array, whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, array)
    temporary.replace(path)


def _rows() -> dict[str, str]:
    """The texts with their labels."""
    rows: dict[str, str] = {}
    own = os.environ.get("CONTRAFLOW_CORPUS")
    for label, text in _own(Path(own)) if own else (*_descriptions(), *_wordnet()):
        rows.setdefault(text, label)
    return rows


def _own(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"CONTRAFLOW_CORPUS: {path} cannot be read: {error.strerror}") from None
    rows = [line.partition("\t")[::2] for line in lines]
    for number, (label, text) in enumerate(rows, 1):
        if not label or not text.strip():
            raise ConfigurationError(f"CONTRAFLOW_CORPUS: {path}, line {number}: expected a label, a tab and a text")
    return rows


def _descriptions() -> Iterator[tuple[str, str]]:
    try:
        listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout.decode("utf-8")
    except (OSError, subprocess.CalledProcessError):
        listed = ""
    if "\nDescription" not in listed:
        raise ConfigurationError(_ABSENT.format(what="`apt-cache dumpavail` lists no packages here"))
    for package in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in package.splitlines() if ": " in line and line[0] != " ")
        text = fields.get("Description") or fields.get("Description-en")
        if text and "Section" in fields:
            yield fields["Section"].rpartition("/")[2], text


def _wordnet() -> Iterator[tuple[str, str]]:
    # the variable is WordNet's own
    folder = Path(os.environ.get("WNSEARCHDIR", "/usr/share/wordnet"))
    if not (folder / "data.noun").exists():
        raise ConfigurationError(_ABSENT.format(what=f"there is no WordNet in {folder} (or set WNSEARCHDIR)"))
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            synset, bar, gloss = line.partition(" | ")
            if bar and not line.startswith(" "):
                label = f"{part}.{synset.split()[1]}"
                for text in (gloss.split('; "')[0].strip(), *re.findall(r'"([^"]+)"', gloss)):
                    yield label, text


def encoded(texts: Sequence[str], model: str) -> NDArray[np.float16]:
    """(n, dim) embeddings; prints how far it is."""
    encoder = build(Embedder(model=model))
    vectors = np.zeros((len(texts), encoder.dim), np.float16)
    # longest first, so that a batch holds texts of one length
    order = np.argsort([-len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), _CHUNK):
        print(f"encoding, once: {start:,} of {len(texts):,} texts", file=sys.stderr)
        chunk = order[start : start + _CHUNK]
        vectors[chunk] = encoder.encode([texts[i] for i in chunk])[0]
    return vectors


def _nearest(vectors: NDArray[np.float16], labels: NDArray[np.int64]) -> NDArray[np.int32]:
    near = np.zeros((len(vectors), NEAR), np.int32)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        here = vectors[members].astype(np.float32)
        for start in range(0, len(members), 1024):
            scores = here[start : start + 1024] @ here.T
            best = np.argpartition(-scores, min(NEAR, len(members)) - 1, axis=1)[:, :NEAR]
            near[members[start : start + 1024]] = members[np.resize(best.T, (NEAR, len(scores))).T]
    return near
