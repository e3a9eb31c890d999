"""How a verdict came about: every answer of every judge in order, and the evidence after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contraflow.errors import RunConflict
from contraflow.events import Hypothesis, Judgment, Verdict
from contraflow.results import Results
from contraflow.statistics.position import PositionBias, position_bias
from contraflow.statistics.statement import log_e_accept

__all__ = ["Audited", "Trial", "audit", "biases", "rows"]


@dataclass(frozen=True, slots=True)
class Audited:
    """One answer. ``log_e`` is the statement's evidence after it (the placebo's answers leave it as it was)."""

    judgment: Judgment
    log_e: float
    prompt: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A statement, its verdict if there is one yet, and every answer."""

    hypothesis: Hypothesis
    verdict: Verdict | None
    answers: tuple[Audited, ...]


def audit(results: Results, hypothesis_id: str) -> Trial:
    """The trial of one statement.

    :raises RunConflict: if the run has no statement of that id; the message lists those there are.
    """
    for hypothesis in results.hypotheses:
        if hypothesis.hypothesis_id == hypothesis_id:
            verdicts = [v for v in results.verdicts if v.hypothesis_id == hypothesis_id]
            return Trial(hypothesis, verdicts[-1] if verdicts else None, tuple(_answers(results, hypothesis_id)))
    there = ", ".join(h.hypothesis_id for h in results.hypotheses) or "none yet"
    raise RunConflict(f"{results.folder.run} has no statement {hypothesis_id!r} (there: {there})")


def _answers(results: Results, hypothesis_id: str) -> Iterator[Audited]:
    counts: dict[str, tuple[int, int]] = {}
    for judgment in results.judgments:
        if judgment.hypothesis_id != hypothesis_id:
            continue
        if judgment.x is not None and not (judgment.placebo or judgment.again or judgment.elsewhere):
            n, s = counts.get(judgment.tier, (0, 0))
            counts[judgment.tier] = n + 1, s + judgment.x
        log_e = sum(log_e_accept(n, s) for n, s in counts.values())
        answers = results.judged.get(judgment.request_id, {})
        texts = [answers[arm].text if arm in answers else "" for arm in judgment.order]
        prompt = next((answer.prompt for answer in answers.values()), "")
        yield Audited(judgment, log_e, prompt, texts[0], texts[1])


def biases(results: Results) -> dict[str, PositionBias]:
    """For each tier that was asked pairs in both orders, whether it prefers a text for where it stands."""
    asked: dict[str, dict[tuple[str, str], list[str]]] = {}
    for judgment in results.judgments:
        if not judgment.placebo and not judgment.elsewhere:
            key = judgment.hypothesis_id, judgment.request_id
            asked.setdefault(judgment.tier, {}).setdefault(key, []).append(judgment.answer)
    twice = {tier: [(a[0], a[1]) for a in answers.values() if len(a) == 2] for tier, answers in asked.items()}
    return {tier: position_bias(answers) for tier, answers in twice.items() if answers}


def rows(trial: Trial) -> Iterator[dict[str, object]]:
    """A row an answer, with everything that is needed to count it again."""
    for number, answer in enumerate(trial.answers, 1):
        judgment = answer.judgment
        yield {
            "hypothesis_id": trial.hypothesis.hypothesis_id,
            "statement": trial.hypothesis.statement,
            "number": number,
            "tier": judgment.tier,
            "prompt_version": judgment.prompt_version,
            "placebo": judgment.placebo,
            "again": judgment.again,
            "elsewhere": judgment.elsewhere,
            "request_id": judgment.request_id,
            "seq": judgment.seq,
            "prompt": answer.prompt,
            "first_arm": judgment.order[0],
            "second_arm": judgment.order[1],
            "first_text": answer.first,
            "second_text": answer.second,
            "answer": judgment.answer,
            "x": judgment.x,
            "log_e": answer.log_e,
            "price": judgment.price,
            "latency": judgment.latency,
            "cached": judgment.cached,
        }
