"""Callers share batches; one that gives up, or a batch that fails, harms nobody else."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import anyio
import numpy as np
import pytest

from contraflow.embedder.batcher import Batcher, open_batcher
from contraflow.embedder.cache import Embedded
from contraflow.embedder.hashed import HashedEncoder


class Encoder:
    """Waits at a gate, so that calls pile up behind the first."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Embedded:
        assert self.gate.wait(5)
        self.batches.append(list(texts))
        if "bad" in texts:
            raise ValueError("cannot encode")
        vectors, cut = HashedEncoder(16).encode(texts)
        return Embedded(vectors, np.zeros(len(texts), bool), cut)


async def test_what_arrives_while_the_encoder_is_busy_is_one_batch() -> None:
    encoder, found = Encoder(), {}

    async def ask(batcher: Batcher, number: int) -> None:
        found[number] = (await batcher.embed([f"{number} a", f"{number} b"])).vectors

    async with open_batcher(encoder) as batcher, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(ask, batcher, number)
        await anyio.wait_all_tasks_blocked()
        encoder.gate.set()
    assert len(encoder.batches) <= 2
    for number, vectors in found.items():
        assert (vectors == HashedEncoder(16).encode([f"{number} a", f"{number} b"])[0]).all()


async def test_a_cancelled_caller_leaves_the_others_their_answers() -> None:
    encoder = Encoder()
    async with open_batcher(encoder) as batcher, anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.05) as gave_up:
            await batcher.embed(["impatient"])
        assert gave_up.cancelled_caught
        tasks.start_soon(batcher.embed, ["patient"])
        await anyio.wait_all_tasks_blocked()
        encoder.gate.set()
    assert ["patient"] in encoder.batches


async def test_an_error_reaches_the_callers_of_its_batch_and_the_next_batch_works() -> None:
    encoder = Encoder()
    encoder.gate.set()
    async with open_batcher(encoder) as batcher:
        with pytest.raises(ValueError, match="cannot encode"):
            await batcher.embed(["bad"])
        assert (await batcher.embed(["good"])).vectors.shape == (1, 16)


def test_the_hashed_encoder_gives_unit_vectors_that_depend_on_the_text_alone() -> None:
    texts = ["", "one", "one two", "Ünïcödé wörds", "a" * 10_000, "one two three " * 50]
    alone = np.vstack([HashedEncoder().encode([text])[0] for text in texts])
    together = HashedEncoder().encode(texts)[0]
    assert (alone == together).all()
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)
    similar = HashedEncoder().encode(["the cat sat on the mat", "the cat sat on a mat", "quarterly revenue rose"])[0]
    assert similar[0] @ similar[1] > 0.5 > similar[0] @ similar[2]
