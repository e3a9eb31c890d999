"""Writes a statement from the discordant pairs of a claimed cluster: what its texts say that their partners do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from contraflow.validator.types import Statement
from contraflow.words import content_words, words

__all__ = ["sentence", "write"]

TERMS = 6
EXEMPLARS = 5
QUOTE = 110


def write(inside: Sequence[str], outside: Sequence[str]) -> Statement:
    """A statement from texts inside the cluster and their partners outside of it.

    Terms are ranked by log-odds with an informative Dirichlet prior (Monroe, Colaresi & Quinn, 2008, equation 22) over
    the number of texts that contain them; one that is in a single text says nothing of the cluster.
    """
    terms = _terms(
        Counter(w for t in inside for w in _vocabulary(t)), Counter(w for t in outside for w in _vocabulary(t))
    )
    exemplars = tuple(sorted(inside, key=lambda text: (-_score(text, terms), text))[:EXEMPLARS])
    return Statement(_property(terms, exemplars), terms, exemplars)


def sentence(statement: Statement, shows: str, other: str) -> str:
    """The statement in words for people, naming the arm that shows it more."""
    return f"Answers of {shows!r} more often than those of {other!r} {statement.property}"


def _vocabulary(text: str) -> frozenset[str]:
    # words that carry no meaning elsewhere may be just what an intervention changed ("ye", "arr")
    return content_words(text)


def _terms(inside: Counter[str], outside: Counter[str]) -> dict[str, float]:
    both = inside + outside
    prior = sum(both.values())
    n_in, n_out = sum(inside.values()), sum(outside.values())
    scores = {}
    for word, count in inside.items():
        if count < 2:
            continue
        a = both[word]
        first = math.log((count + a) / (n_in + prior - count - a + 1e-9))
        second = math.log((outside[word] + a) / (n_out + prior - outside[word] - a + 1e-9))
        scores[word] = (first - second) / math.sqrt(1 / (count + a) + 1 / (outside[word] + a))
    best = sorted((w for w in scores if scores[w] > 0), key=lambda w: (-scores[w], w))[:TERMS]
    return {word: round(scores[word], 6) for word in best}


def _score(text: str, terms: dict[str, float]) -> float:
    present = content_words(text)
    return sum(weight for word, weight in terms.items() if word in present) / math.sqrt(len(words(text)) + 5)


def _property(terms: dict[str, float], exemplars: Sequence[str]) -> str:
    quote = f"sound like: “{_quote(exemplars[0])}”" if exemplars else "differ"
    return f"{quote} (words: {', '.join(terms)})" if terms else quote


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= QUOTE else flat[:QUOTE].rsplit(" ", 1)[0] + " …"
