"""The deterministic ring in memory: the same cores, without a log. For simulations, notebooks and as a reference.

What a rehearsal finds is what the ring on a log finds, bit for bit; a test holds the two against each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from contraflow.clusterer.core import Clusterer, Step
from contraflow.decoder.generator import Completion
from contraflow.embedder.encoder import Encoder
from contraflow.events import Regions, Request
from contraflow.pairs import BLOCK, Pair
from contraflow.sampler.core import Sampler

__all__ = ["Answer", "pair_of", "rehearse", "rehearse_pairs"]

Answer = Callable[[Request], Completion]


def pair_of(request: Request, answers: Sequence[Completion], encoder: Encoder) -> Pair:
    """A request and what each arm answered."""
    errors = tuple(answer.error for answer in answers)
    texts = tuple(answer.text for answer in answers)
    vectors = None if any(error is not None for error in errors) else encoder.encode(texts)[0]
    return Pair(
        request.seq,
        request.request_id,
        request.prompt_id,
        request.origin,
        vectors,
        texts,
        tuple(answer.completion_tokens for answer in answers),
        errors,
    )


def rehearse(sampler: Sampler, clusterer: Clusterer, arms: Sequence[Answer], encoder: Encoder) -> Iterator[Step]:
    """Run until the sampler is complete; yields what each block gives, and last what the clusterer finishes with."""

    def ask(block: Sequence[Request]) -> list[Pair]:
        return [pair_of(request, [answer(request) for answer in arms], encoder) for request in block]

    return rehearse_pairs(sampler, clusterer, ask)


def rehearse_pairs(
    sampler: Sampler, clusterer: Clusterer, ask: Callable[[Sequence[Request]], list[Pair]]
) -> Iterator[Step]:
    """The same where a block's pairs come from somewhere else, such as a world of vectors."""
    regions: dict[int, Regions] = {}
    waiting: deque[Request] = deque()
    while sampler.complete is None or waiting:
        while sampler.complete is None and ((needs := sampler.needs()) is None or needs in regions):
            waiting.extend(sampler.plan(regions.pop(needs) if needs is not None else None).requests)
        # blocks are cut by seq, as the clusterer cuts them; the last one may be shorter
        size = min(len(waiting), BLOCK - clusterer.processed % BLOCK)
        block = [waiting.popleft() for _ in range(size)]
        step = clusterer.process(ask(block))
        if step.regions is not None:
            regions[step.regions.epoch] = step.regions
        yield step
    yield clusterer.finish()
