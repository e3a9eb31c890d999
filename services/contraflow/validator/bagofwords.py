"""The control beside every verdict: how well words alone tell the two arms apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contraflow.words import words

if TYPE_CHECKING:
    from river.naive_bayes import MultinomialNB

__all__ = ["words_alone"]


def words_alone(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> float | None:
    """Accuracy of a bag-of-words classifier that says which text of a pair is the arm's.

    Pairs are (the arm's text, the reference's). Trained on the author's pairs, tested on the judged ones; None without
    pairs to train or to test on.
    """
    if not train or not test:
        return None
    from river.naive_bayes import MultinomialNB  # as in clusterer.drift, it brings much along

    model = MultinomialNB(alpha=0.5)
    for arm, reference in train:
        model.learn_one(Counter(words(arm)), True)
        model.learn_one(Counter(words(reference)), False)
    right = sum(_leaning(model, arm) > _leaning(model, reference) for arm, reference in test)
    return round(right / len(test), 4)


def _leaning(model: MultinomialNB, text: str) -> float:
    scores = model.joint_log_likelihood(Counter(words(text)))
    return float(scores.get(True, 0.0) - scores.get(False, 0.0))
