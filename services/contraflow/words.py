"""Words of a text, without those that say nothing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["STOP_WORDS", "content_words", "distinctive", "words"]

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")

# fmt: off
STOP_WORDS = frozenset((  # noqa: SIM905 - a list of 170 strings would fill two screens
    "a about above after again all also am an and any are as at be because been before being below between both but by "
    "can could did do does doing down during each else ever every few for from further get got had has have having he "
    "her here hers him his how however i if in into is it its itself just let like made make makes many may me might "
    "more most much must my myself need no nor not now of off often on once one only or other our out over own part per "
    "put quite rather really s same shall she should since so some such t take than that the their them then there "
    "these they thing things this those though through to too two under until up upon us use used using usually very "
    "want was way we well were what when where whether which while who whom why will with within without would yes yet "
    "you your yours i'm i've it's don't can't you're there's here's let's that's they're we're isn't won't doesn't"
).split())
# fmt: on


def words(text: str) -> list[str]:
    """Every word, lower-cased, in order."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]


@lru_cache(maxsize=1 << 12)
def content_words(text: str) -> frozenset[str]:
    """The different words of a text that carry meaning."""
    return frozenset(word for word in words(text) if len(word) > 1 and word not in STOP_WORDS)


def distinctive(counts: Mapping[str, int], everywhere: Counter[str], average: float, most: int) -> tuple[str, ...]:
    """The words that set a class of texts apart, the best first: class-based TF-IDF (Grootendorst, arXiv 2203.05794).

    ``counts`` are the words of the class, ``everywhere`` those of all classes together, ``average`` the number of words
    in a class on average. A word must be there twice.
    """
    scored = {word: n * math.log(1 + average / everywhere[word]) for word, n in counts.items() if n > 1}
    return tuple(sorted(scored, key=lambda word: (-scored[word], word))[:most])
