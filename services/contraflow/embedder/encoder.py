"""What an encoder is, and which one an experiment asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contraflow.experiment import Embedder

__all__ = ["Encoder", "build"]


class Encoder(Protocol):
    """Turns texts into unit vectors. ``fingerprint`` names everything that the vectors depend on."""

    dim: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n, dim) unit rows, and which texts were cut at the encoder's limit. Blocks: call it in a thread."""
        ...


def build(embedder: Embedder) -> Encoder:
    """The encoder of an experiment.

    :raises ConfigurationError: if its packages or its weights are missing.
    """
    if embedder.model == "hashed":
        from contraflow.embedder.hashed import HashedEncoder

        return HashedEncoder(embedder.dim)
    from contraflow.embedder.sentence import SentenceEncoder

    return SentenceEncoder(embedder.model, embedder.batch)
