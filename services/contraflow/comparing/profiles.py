"""What the findings and the clusters of two runs are matched by: where their texts lie, and where they show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.comparing.matching import Profile
from contraflow.embedder.hashed import HashedEncoder
from contraflow.events import Claim, Origin, Request
from contraflow.results import Results

__all__ = ["Common", "Discordant", "Look", "Space", "Vectors", "common_to", "look_at", "prompt_of"]

Vectors = Sequence[tuple[str, str, int, bytes]]
"""As ``results.read_vectors`` gives them."""


class Discordant(NamedTuple):
    """A pair of which exactly one text is in a cluster: the text of ``leading``."""

    request_id: str
    leading: str


@dataclass(frozen=True, slots=True)
class Look:
    """A run with the discordant pairs of each (cluster, arm), the texts of each cluster, and how often what was asked."""

    results: Results
    discordant: Mapping[tuple[int, str], list[Discordant]]
    texts: Mapping[int, list[str]]
    asked: Counter[str]

    def prompts(self, cluster: int, arm: str) -> set[str]:
        """The prompts of the discordant pairs."""
        pairs = self.discordant.get((cluster, arm), ())
        return {prompt_of(self.results.requests[pair.request_id]) for pair in pairs}

    def showing(self, claim: Claim) -> list[str]:
        """The texts that show a claimed difference: in discordant pairs, of the arm that shows it more."""
        leading = claim.arm if claim.direction > 0 else self.results.reference
        pairs = self.discordant.get((claim.cluster_id, claim.arm), ())
        return [self.results.texts[p.request_id][leading].text for p in pairs if p.leading == leading]


def look_at(results: Results) -> Look:
    """A run, read for comparison. Pairs that failed, and those with a forced beginning, count nowhere.

    Of a run that goes on, assignments are newer than what was read before them: those pairs are left out.
    """
    discordant: defaultdict[tuple[int, str], list[Discordant]] = defaultdict(list)
    texts: defaultdict[int, list[str]] = defaultdict(list)
    reference = results.reference
    for a in results.assignments:
        answers = results.texts.get(a.request_id, {})
        known = a.request_id in results.requests and answers.keys() >= a.arms.keys()
        if a.failed or a.origin is Origin.PROBE or not known:
            continue
        base = a.arms[reference].cluster_id
        for arm, there in a.arms.items():
            texts[there.cluster_id].append(answers[arm].text)
            if there.cluster_id != base:
                discordant[there.cluster_id, arm].append(Discordant(a.request_id, arm))
                discordant[base, arm].append(Discordant(a.request_id, reference))
    return Look(results, discordant, texts, Counter(prompt_of(request) for request in results.requests.values()))


def prompt_of(request: Request) -> str:
    """What was asked; nothing where decoding was unconditional."""
    return request.messages[-1].content if request.messages else ""


def _place(request: Request, stored: bool) -> Hashable:
    """What makes a pair of one run the same as one of another: the prompt, and of stored texts the draw too."""
    return (prompt_of(request), request.draw) if stored else prompt_of(request)


class Space:
    """Vectors of texts of two runs, less what an ordinary text of theirs has: unlike texts then have a cosine of 0."""

    def __init__(self, first: Mapping[str, NDArray[np.float32]], second: Mapping[str, NDArray[np.float32]]) -> None:
        self._vectors = {**first, **second}
        means = [np.mean(list(run.values()), axis=0, dtype=np.float64) for run in (first, second) if run]
        self._mean = np.mean(means, axis=0) if means else np.zeros(1)  # of both runs alike, however many texts each has

    def centre(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """The direction in which texts lie, of unit length; zero if there is none."""
        known = [self._vectors[text] for text in texts if text in self._vectors]
        if not known:
            return np.zeros_like(self._mean)
        centre: NDArray[np.float64] = np.mean(known, axis=0, dtype=np.float64) - self._mean
        length = float(np.linalg.norm(centre))
        return centre / length if length else centre


@dataclass(frozen=True, slots=True)
class Common:
    """What both runs have: the space of their texts, and the places that both asked.

    ``encoder`` made the vectors; it is empty where the runs had different ones, and the space is of hashed words.
    """

    space: Space
    encoder: str
    places: frozenset[Hashable]
    stored: bool

    def profile(self, look: Look, kind: Hashable, cluster: int, arm: str, texts: Iterable[str]) -> Profile:
        """What the difference of an arm in a cluster is matched by."""
        requests = (look.results.requests[pair.request_id] for pair in look.discordant.get((cluster, arm), ()))
        places = frozenset(_place(request, self.stored) for request in requests)
        return Profile(kind, self.space.centre(texts), places & self.places)


def common_to(first: Results, vectors: Vectors, second: Results, others: Vectors) -> Common:
    """What two runs can be compared by."""
    experiments = [run.resolved["experiment"] for run in (first, second)]
    names = [experiment["embedder"]["model"] for experiment in experiments]
    sizes = {len(vector) for run in (vectors, others) for *_, vector in run}
    same = names[0] == names[1] and len(sizes) <= 1
    space = Space(*(_by_text(run) if same else _by_words(run) for run in (vectors, others)))
    stored = all(experiment["generator"]["backend"] == "replay" for experiment in experiments)
    asked = [frozenset(_place(r, stored) for r in run.requests.values()) for run in (first, second)]
    return Common(space, names[0] if same else "", asked[0] & asked[1], stored)


def _by_text(vectors: Vectors) -> dict[str, NDArray[np.float32]]:
    return {text: np.frombuffer(vector, "<f4") for _, text, _, vector in vectors}


def _by_words(vectors: Vectors) -> dict[str, NDArray[np.float32]]:
    texts = list(dict.fromkeys(text for _, text, _, _ in vectors))
    return dict(zip(texts, HashedEncoder().encode(texts)[0], strict=True))
