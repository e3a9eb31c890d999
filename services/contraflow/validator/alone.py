"""A user's own statements and texts through the tiers, without a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from contraflow.decoder.replay import ReplayTexts
from contraflow.errors import ConfigurationError
from contraflow.events import Hypothesis, Judgment, Origin, Verdict, VerdictStatus
from contraflow.tables import read_table
from contraflow.validator.case import Case, Tally
from contraflow.validator.docket import Docket
from contraflow.validator.judging import Judging
from contraflow.validator.store import PairStore
from contraflow.validator.types import Judge, Statement, Step, TextPair, ValidatorConfig
from contraflow.words import content_words

__all__ = ["Judged", "Proposed", "pairs_of", "read_statements", "validate"]


class Proposed(msgspec.Struct, frozen=True):
    """A statement: a property that one text can show or not, the arm that is said to show it more, and the other arm.

    One of both arms is the reference.
    """

    name: str
    statement: str
    shows: str
    other: str


class Judged(msgspec.Struct, frozen=True):
    """What came of it: a verdict for each statement, every answer of a judge, and what open statements wait for."""

    hypotheses: tuple[Hypothesis, ...]
    verdicts: tuple[Verdict, ...]
    judgments: tuple[Judgment, ...]
    waits: str


def read_statements(path: Path, arms: Sequence[str], reference: str) -> list[Proposed]:
    """The statements of a file: ``statement``, and if need be ``shows`` and ``against`` (arms) and ``name``.

    Without ``shows`` it is the first arm that is not the reference.

    :raises ConfigurationError: if there is none, one names no arm or is empty, or two have the same name.
    """
    found = [
        _proposed(place, row, arms, reference) for place, row in read_table(path, ["statement"], field="HYPOTHESES")
    ]
    if not found:
        raise ConfigurationError(f"HYPOTHESES: {path} has no statement; write one JSON object a line")
    names = Counter(one.name for one in found)
    names.subtract(set(names))
    if twice := [name for name, more in names.items() if more]:
        raise ConfigurationError(f"HYPOTHESES: {path} has more than one statement named {twice[0]!r}")
    return found


def _proposed(place: str, row: dict[str, object], arms: Sequence[str], reference: str) -> Proposed:
    statement = str(row["statement"] or "").strip()
    if not statement:
        raise ConfigurationError(f"{place}: 'statement' is empty; say what a text shows, such as: uses rhymes")
    others = [arm for arm in arms if arm != reference]
    shows = str(row.get("shows") or others[0])
    against = str(row.get("against") or (reference if shows != reference else others[0]))
    for field, arm in (("shows", shows), ("against", against)):
        if arm not in arms:
            raise ConfigurationError(f"{place}: {field!r} is {arm!r}, which is no arm; arms: {', '.join(arms)}")
    if (shows == reference) == (against == reference):
        raise ConfigurationError(
            f"{place}: {shows!r} against {against!r}: one of 'shows' and 'against' must be the reference, {reference!r}"
        )
    return Proposed(str(row.get("name") or place.rpartition("/")[2]), statement, shows, against)


def pairs_of(texts: ReplayTexts, arms: Sequence[str], seed: int) -> list[TextPair]:
    """Every stored pair once, in an order drawn from the seed: judging stops early, and the file's order may mean things."""
    every = [(prompt, draw) for prompt in texts.prompts for draw in range(prompt.draws or 0)]
    order = np.random.default_rng([seed, 0x76]).permutation(len(every))
    return [
        TextPair(
            seq=seq,
            request_id=f"{prompt.prompt_id}:{draw}",
            prompt_id=prompt.prompt_id,
            origin=Origin.EXPLORE,
            texts={arm: texts.text(prompt.prompt_id, arm, draw) for arm in arms},
            clusters=dict.fromkeys(arms, 0),
        )
        for seq, (prompt, draw) in enumerate((every[i] for i in order), 1)
    ]


async def validate(
    statements: Sequence[Proposed], pairs: Sequence[TextPair], config: ValidatorConfig, judges: Sequence[Judge]
) -> Judged:
    """Judge every statement until it is accepted, rejected, or out of pairs; its placebo is another of the statements.

    Pairs that a judge finds alike settle nothing, so pairs in which nothing differs need not be sorted out before.

    :raises ConfigurationError: without a judge or a pair.
    """
    if not judges or not pairs:
        raise ConfigurationError(
            "there is nothing to judge on: no prompt has texts of all arms"
            if judges
            else "validation.tiers: there is nothing to judge with; name a tier, such as keywords"
        )
    docket, store = Docket(config, [judge.name for judge in judges]), PairStore()
    for case in _cases(statements, config.reference, judges[0].name):
        case.pending.extend(store.hold(pair) for pair in pairs[: docket.room(case)])
        docket.add(case)
    judging = Judging(config, judges, docket, store)
    step = Step([], [], [])
    await judging.run(step)
    for case in docket:
        if case.status is VerdictStatus.OPEN:
            unable = judging.unable.get(case.key)
            docket.settle(
                case, VerdictStatus.UNDECIDED, str(unable) if unable else f"all {len(pairs)} pairs are judged"
            )
    verdicts = tuple(docket.verdict(case) for case in docket)
    return Judged(tuple(case.hypothesis for case in docket), verdicts, tuple(step.judgments), judging.waits)


def _cases(statements: Sequence[Proposed], reference: str, tier: str) -> Iterator[Case]:
    written = [_statement(one.statement) for one in statements]
    for order, (one, statement) in enumerate(zip(statements, written, strict=True)):
        others = [other for other in written if other.property != statement.property] or [_GENERIC]
        # the one that says the least of the same
        placebo = min(others, key=lambda other: len(statement.terms.keys() & other.terms.keys()))
        hypothesis = Hypothesis(
            hypothesis_id=one.name,
            cluster_id=order,
            arm=one.other if one.shows == reference else one.shows,
            shows=one.shows,
            statement=f"Answers of {one.shows!r} more often than those of {one.other!r}: {one.statement}",
            author="user",
            order=order,
            claimed_at=0,
            written_from=(),
            keywords=tuple(statement.terms),
        )
        yield Case(hypothesis, statement, placebo, [], [], [Tally(tier)], order)


def _statement(said: str) -> Statement:
    return Statement(said, {word: 1.0 for word in sorted(content_words(said))}, ())


_GENERIC = _statement("mentions the weather, the season or the time of day")
"""The placebo of a statement that is alone."""
