"""Any sentence-transformers model by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError
from contraflow.precision import native
from contraflow.weights import resolve_encoder

__all__ = ["SentenceEncoder"]


class SentenceEncoder:
    """Normalised sentence embeddings; bfloat16 where the processor has it, else float32."""

    def __init__(self, name: str, batch: int = 64) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from sentence_transformers.util import get_device_name
        except ImportError as error:
            raise ConfigurationError(
                f"embedder.model: {name!r} needs sentence-transformers ({error}). Install it with "
                "`pip install 'contraflow[models]'`, or choose `embedder: {model: hashed}`, which needs nothing."
            ) from error
        try:
            resolved = resolve_encoder(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"embedder.model: {error}") from error
        self.source = resolved.source
        dtype = getattr(torch, native("cuda" if torch.cuda.is_available() else "cpu"))
        # most processes of a run encode nothing, and each that is on a GPU takes hundreds of MB of it
        self._model: Any = SentenceTransformer(
            str(resolved.path), device="cpu", trust_remote_code=False, model_kwargs={"torch_dtype": dtype}
        )
        self._device = get_device_name()
        self._batch = batch
        self._limit = int(self._model.max_seq_length or 0)
        self.dim = int(self._model.get_embedding_dimension() or 0)
        self.fingerprint = f"{resolved.fingerprint}-{str(dtype).rpartition('.')[2]}-normalised-v1"

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n, dim) unit rows, sorted by length inside, and which texts were cut."""
        vectors = self._model.encode(
            list(texts),
            batch_size=self._batch,
            device=self._device,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        vectors = np.asarray(vectors, np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32), self._cut(texts)

    def _cut(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        # a token has at least one character, so only long texts need to be counted
        return np.array([len(text) > self._limit and self._tokens(text) > self._limit for text in texts], np.bool_)

    def _tokens(self, text: str) -> int:
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"])
