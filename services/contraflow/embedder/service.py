"""The embedder: every text gets its vector, once in its life."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contraflow.embedder.batcher import Batcher
from contraflow.events import Embedding, Text, decode
from contraflow.log.protocol import Outgoing, Record
from contraflow.wire import Wire, arm_of, failed_text

__all__ = ["EmbedderService"]


class EmbedderService:
    """Turns Texts into Embeddings; lanes share the batches of one encoder."""

    def __init__(self, wire: Wire, batcher: Batcher, fingerprint: str) -> None:
        self._wire = wire
        self._batcher = batcher
        self._fingerprint = fingerprint

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        """One Embedding a Text, to the same partition; a Text with an error passes on without a vector."""
        texts = [decode(record.value or b"", Text) for record in records]
        answered = [text for text in texts if text.error is None]
        vectors, cached, truncated = await self._batcher.embed([text.text for text in answered])
        rows = iter(zip(np.ascontiguousarray(vectors, dtype="<f4"), cached, truncated, strict=True))
        return [
            self._out(record, self._failed(text) if text.error is not None else self._embedded(text, *next(rows)))
            for record, text in zip(records, texts, strict=True)
        ]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        """Closes the pair of a record that could not be embedded."""
        failed = failed_text(record.key, arm_of(record), f"the text could not be embedded: {error}")
        return [self._out(record, self._failed(failed))]

    def _out(self, record: Record, event: Embedding) -> Outgoing:
        return self._wire.out("embeddings", record.key, event, partition=record.partition, arm=event.arm)

    def _embedded(self, text: Text, vector: np.ndarray, cached: bool, truncated: bool) -> Embedding:
        return self._embedding(text, vector.tobytes(), vector.shape[0], bool(cached), bool(truncated))

    def _failed(self, text: Text) -> Embedding:
        return self._embedding(text, b"", 0, False, False)

    def _embedding(self, text: Text, vector: bytes, dim: int, cached: bool, truncated: bool) -> Embedding:
        return Embedding(
            seq=text.seq,
            request_id=text.request_id,
            text_id=text.text_id,
            arm=text.arm,
            prompt_id=text.prompt_id,
            text=text.text,
            origin=text.origin,
            finish_reason=text.finish_reason,
            prompt_tokens=text.prompt_tokens,
            completion_tokens=text.completion_tokens,
            error=text.error,
            vector=vector,
            dim=dim,
            encoder=self._fingerprint,
            cached=cached,
            truncated=truncated,
        )
