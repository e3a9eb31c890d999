"""One token for each row of logits, by inverse CDF: each row spends a uniform number of its own.

So a text depends on its batch mates through rounding alone. Only what carries the nucleus is sorted: sorting the whole
vocabulary at each step took as long as the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["draw", "own_draws"]

_HEAD = 512
"""Most nuclei are smaller; rows with a larger one are sorted whole."""


def draw(
    scores: torch.Tensor, uniform: torch.Tensor, *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0
) -> torch.Tensor:
    """(rows, vocabulary) logits and (rows,) numbers in [0, 1) to (rows,) token ids.

    ``top_k`` (0: all) cuts first, then ``top_p`` keeps the fewest tokens that together reach it (Holtzman et al.,
    arXiv 1904.09751). Temperature 0 takes the likeliest.
    """
    if temperature == 0:
        return scores.argmax(dim=-1)
    probabilities = torch.softmax(scores.float() / temperature, dim=-1)
    if top_k:
        kept, ids = probabilities.topk(min(top_k, probabilities.shape[1]))
        return _pick(kept / kept.sum(dim=-1, keepdim=True), uniform, top_p, ids)
    if top_p >= 1:
        return _pick(probabilities, uniform, 1.0)
    kept, ids = probabilities.topk(min(_HEAD, probabilities.shape[1]))
    chosen = _pick(kept, uniform, top_p, ids)
    wide = kept.sum(dim=-1) < top_p
    if wide.any():
        kept, ids = probabilities[wide].sort(dim=-1, descending=True)
        chosen[wide] = _pick(kept, uniform[wide], top_p, ids)
    return chosen


def _pick(
    probabilities: torch.Tensor, uniform: torch.Tensor, top_p: float, ids: torch.Tensor | None = None
) -> torch.Tensor:
    """Where each row's number falls in its cumulative sum, which ends with the token that reaches ``top_p``."""
    mass = probabilities.cumsum(dim=-1, dtype=torch.float64)
    ends = mass[:, -1:]
    if top_p < 1:
        last = (mass < top_p).sum(dim=-1, keepdim=True).clamp_(max=mass.shape[1] - 1)
        ends = mass.gather(1, last)
    place = torch.searchsorted(mass, uniform[:, None].double() * ends, right=True)
    # a token of probability 0 behind the last one that counts is never taken
    place = place.clamp_(max=mass.shape[1] - 1)
    return (place if ids is None else ids.gather(1, place)).squeeze(1)


def own_draws(seeds: Sequence[int], steps: int, sampling: dict[str, float]) -> Any:
    """A logits processor that leaves, at each of ``steps``, the one token that each row's stream picks."""
    from transformers import LogitsProcessor

    uniforms = torch.from_numpy(np.stack([np.random.default_rng(seed).random(steps) for seed in seeds]))
    how = {"temperature": float(sampling["temperature"]), "top_p": float(sampling.get("top_p", 1.0))}

    class OwnDraws(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
        def __init__(self) -> None:
            self._step = 0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            uniform = uniforms[:, self._step].to(scores.device)
            self._step += 1
            chosen = draw(scores, uniform, **how, top_k=int(sampling.get("top_k", 0)))
            return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    return OwnDraws()
