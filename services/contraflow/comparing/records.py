"""The result of comparing two runs, as plain values."""

from __future__ import annotations

from typing import Literal

import msgspec

from contraflow.events import Effect

__all__ = ["Absent", "Cost", "Found", "Nearest", "RunComparison", "Setting", "Stable"]


class Setting(msgspec.Struct, frozen=True):
    """A key in which the configurations differ, or what ran in another version, and both values as they are shown."""

    key: str
    first: str
    second: str


class Cost(msgspec.Struct, frozen=True):
    """What a run is and what it took. ``arms`` are those that it compares with its reference.

    ``why`` says why it stopped, and is empty of one that is unfinished. ``seconds`` of running are all of them unless
    ``seconds_whole`` is false. ``answers`` are the dollars that the arms' servers took, None where no server answers, and
    all of them unless ``answers_whole`` is false. ``first_claim`` is after how many pairs the first difference was claimed.
    ``failing`` counts the failed requests of arms with more than 1 % of them: they may explain its claims.
    """

    run: str
    arms: list[str]
    why: str
    texts: int
    pairs: int
    seconds: float | None
    seconds_whole: bool
    dollars: float
    answers: float | None
    answers_whole: bool
    claims: int
    first_claim: int | None
    failing: dict[str, int]


class Found(msgspec.Struct, frozen=True):
    """A finding as one run has it: ``s`` of ``n`` discordant pairs, at the claim, were of the arm ``shows``.

    ``effect`` is the share of ``arm`` less that of the reference, on uniformly asked prompts.
    """

    cluster_id: int
    arm: str
    shows: str
    statement: str
    s: int
    n: int
    log_e: float
    claimed_at: int
    generalises: bool
    verdict: str
    effect: Effect | None


class Stable(msgspec.Struct, frozen=True):
    """A difference that both runs claim. ``prompts`` counts those on which both found it."""

    score: float
    prompts: int
    verdict_changed: bool
    first: Found
    second: Found


class Nearest(msgspec.Struct, frozen=True):
    """The cluster of the other run that comes nearest to a finding.

    ``claim``: ``same`` if the other run claims it too (and it is matched to another finding), ``reversed`` if it claims
    that the other arm shows it more, ``none`` if it is not claimed: of those that are alike the one with the most
    evidence. ``s`` of its ``n`` discordant pairs are of the arm that shows the finding more; ``needed`` is the log E of
    a claim there.
    """

    cluster_id: int
    claim: Literal["same", "reversed", "none"]
    score: float
    s: int
    n: int
    log_e: float
    needed: float


class Absent(msgspec.Struct, frozen=True):
    """A finding of ``run`` that is matched to none of the other run, and what came nearest there.

    ``asked`` is how many pairs the other run asked on its prompts: with few, it could not have been found.
    """

    run: str
    finding: Found
    nearest: Nearest | None
    asked: int


class RunComparison(msgspec.Struct, frozen=True):
    """Two runs side by side. Findings keep the order of their runs, strongest first.

    ``stable`` are in both; ``gone`` are in the first alone, ``new`` in the second alone; ``parts`` are matched to none
    although the other run claims what they show, in a finding that another one matches better. ``arms`` maps the
    intervened arms of the first run to those of the second; other arms are left out. ``common_prompts`` were asked by
    both. ``encoder`` has the texts' vectors; it is empty where the runs had different ones, and texts were compared by
    their words.
    """

    first: Cost
    second: Cost
    settings: list[Setting]
    arms: dict[str, str]
    common_prompts: int
    encoder: str
    stable: list[Stable]
    gone: list[Absent]
    new: list[Absent]
    parts: list[Absent]
