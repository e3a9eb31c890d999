"""One token a row by inverse CDF, held against the warpers of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contraflow.decoder.transformers.draws import draw

pytestmark = pytest.mark.models


def logits(rows: int, vocabulary: int, spread: float) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0)) * spread


def warped(scores: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    return torch.softmax(warpers(None, scores.clone()), dim=-1)


@pytest.mark.parametrize(
    ("spread", "temperature", "top_k", "top_p"),
    [(3.0, 1.0, 0, 1.0), (3.0, 0.7, 0, 0.9), (0.3, 1.5, 0, 0.95), (3.0, 1.0, 40, 1.0), (2.0, 1.0, 40, 0.8)],
    ids=["all", "a small nucleus", "a nucleus wider than what is sorted first", "top k", "top k, then top p"],
)
def test_tokens_come_as_often_as_the_warpers_of_transformers_say(
    spread: float, temperature: float, top_k: int, top_p: float
) -> None:
    row = logits(1, 2000, spread)
    expected = warped(row, temperature, top_k, top_p)[0].numpy()
    # the numbers sweep [0, 1) evenly, so each token is taken as often as its probability says, to one part in 20,000
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    chosen = torch.cat(
        [
            draw(row.expand(500, -1), uniform[i : i + 500], temperature=temperature, top_k=top_k, top_p=top_p)
            for i in range(0, 20_000, 500)
        ]
    )
    share = np.bincount(chosen.numpy(), minlength=2000) / 20_000
    assert np.abs(share - expected).max() <= 1.01 / 20_000
    assert not share[expected == 0].any()


def test_at_temperature_zero_the_likeliest_is_taken() -> None:
    scores = logits(5, 100, 1.0)
    assert torch.equal(draw(scores, torch.rand(5), temperature=0.0), scores.argmax(dim=1))


def test_rows_do_not_see_each_other() -> None:
    scores, uniform = logits(6, 3000, 0.5), torch.rand(6, generator=torch.Generator().manual_seed(1))
    scores[2] *= 20  # one sharp row among flat ones
    together = draw(scores, uniform, top_p=0.9)
    alone = [int(draw(scores[i : i + 1], uniform[i : i + 1], top_p=0.9)) for i in range(6)]
    assert together.tolist() == alone
