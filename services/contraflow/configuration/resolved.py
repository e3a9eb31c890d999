"""What an experiment left to be chosen, chosen once, when its run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from contraflow.configuration.secrets import redacted
from contraflow.configuration.typed import shown
from contraflow.experiment import Experiment, Prompts
from contraflow.pairs import BLOCK

__all__ = ["Change", "Resolved", "anywhere", "changes", "difference", "resolve", "resumed", "tiers_apart"]

_WARM_START = 320
_LEAST_WARM_START = 64
_AUTO = {"scripted": (32, 2), "replay": (512, 4)}
_ABSENT = object()
# what a resumed run may ask otherwise: none of it is in an answer
_HOW_TO_ASK = ("key", "timeout", "patience", "tries", "concurrency")
_ELSEWHERE = ("devices", "price")
_CHOSEN = ("warm_start", "epoch", "in_flight", "clusters_start")


class Change(NamedTuple):
    """A key in which two configurations differ, with both values as they are shown."""

    key: str
    old: str
    new: str


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment with nothing left open. ``arms`` keep the experiment's order; ``prompts`` counts them.

    ``pairs`` is the budget of texts in pairs, None without a bound. ``warm_start`` (pairs) and ``epoch``
    (requests) are multiples of a block unless the budget is smaller than one; ``clusters_start`` is how many
    clusters the warm start makes. ``draws`` is how often a prompt is asked at most, None without a bound; once if it is
    ``greedy``: every draw is the same text.
    """

    experiment: Experiment
    reference: str
    arms: tuple[str, ...]
    prompts: int
    pairs: int | None
    warm_start: int
    epoch: int
    in_flight: int
    clusters_start: int
    greedy: bool = False
    draws: int | None = None

    def plain(self) -> dict[str, Any]:
        """What a run's ``config.json`` keeps: JSON values, secrets redacted."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {**fields, "experiment": redacted(self.experiment)}


def resolve(
    experiment: Experiment, *, generator_batch: int | None, prompts: int, stored: int | None = None
) -> Resolved:
    """Choose what the experiment left open; ``generator_batch`` is how many requests go through at once.

    ``stored`` is how many pairs there are where texts are replayed.
    """
    sampling = experiment.sampling
    greedy = _greedy(experiment)
    draws = 1 if greedy else _draws(experiment)
    pairs = _pairs(experiment, stored if stored is not None or draws is None else draws * prompts)
    warm_start = _warm_start(sampling.warm_start, pairs)
    auto_epoch, auto_in_flight = _AUTO.get(experiment.generator.backend, (_half(generator_batch), 4))
    start = warm_start // 3 if experiment.clusters.start == "auto" else experiment.clusters.start
    return Resolved(
        experiment=experiment,
        reference=experiment.reference or next(iter(experiment.arms)),
        arms=tuple(experiment.arms),
        prompts=prompts,
        pairs=pairs,
        warm_start=warm_start,
        epoch=auto_epoch if sampling.epoch == "auto" else sampling.epoch,
        in_flight=auto_in_flight if sampling.in_flight == "auto" else sampling.in_flight,
        clusters_start=max(1, min(start, warm_start, experiment.clusters.max)),
        greedy=greedy,
        draws=draws,
    )


def _blocks(pairs: float) -> int:
    return max(1, -int(-pairs // BLOCK)) * BLOCK


def _half(batch: int | None) -> int:
    return _blocks((batch or 0) / 2)


def _greedy(experiment: Experiment) -> bool:
    if experiment.generator.backend == "replay":
        return False
    default = experiment.generator.temperature
    return any(
        arm.sampling.get("temperature", default) == 0 or arm.sampling.get("top_k") == 1
        for arm in experiment.arms.values()
    )


def _draws(experiment: Experiment) -> int | None:
    return experiment.prompts.draws if isinstance(experiment.prompts, Prompts) else None


def _pairs(experiment: Experiment, most: int | None) -> int | None:
    texts = experiment.budget.texts
    bounds = [most, None if texts is None else texts // len(experiment.arms)]
    return min((bound for bound in bounds if bound is not None), default=None)


def _warm_start(asked: int | str, pairs: int | None) -> int:
    if isinstance(asked, int):
        wanted = _blocks(asked)
    else:
        wanted = _WARM_START if pairs is None else _blocks(max(_LEAST_WARM_START, min(_WARM_START, pairs / 10)))
    return wanted if pairs is None else min(wanted, pairs // BLOCK * BLOCK or pairs)


def resumed(kept: Mapping[str, Any], new: Resolved) -> Resolved:
    """``new`` with what was chosen when the run started, which a budget that grew must not move."""
    return msgspec.structs.replace(new, **{name: kept[name] for name in _CHOSEN})


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each key in which two resolved configurations differ; budgets that grew are no difference.

    Both are as ``Resolved.plain`` gives them. What was chosen automatically is not compared: ``resumed``
    keeps it.
    """
    lines = []
    for key, before, after in _changes(_compared(old), _compared(new), ""):
        budget = key.startswith("budget.")
        if not (budget and _grew(before, after)):
            note = " (a budget may grow, not shrink)" if budget else ""
            lines.append(f"{key}: {_said(before)} -> {_said(after)}{note}")
    return lines


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every key in which two resolved configurations differ, budgets and what was chosen automatically too."""
    chosen = {f"{name} (chosen)": name for name in _CHOSEN}
    before, after = (
        {**_compared(resolved), **{label: resolved.get(name) for label, name in chosen.items()}}
        for resolved in (old, new)
    )
    return [Change(key, _said(a), _said(b)) for key, a, b in _changes(before, after, "")]


def _compared(resolved: Mapping[str, Any]) -> dict[str, Any]:
    experiment = anywhere(tiers_apart(_with_defaults(resolved["experiment"])))
    return {**experiment, "order of arms": resolved["arms"], "number of prompts": resolved["prompts"]}


def anywhere(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment without what decodes its arms and what that charges: a run may go on where both are others."""
    arms = {
        name: {key: value for key, value in arm.items() if key not in _ELSEWHERE}
        for name, arm in (experiment.get("arms") or {}).items()
    }
    return {**experiment, "arms": arms}


def tiers_apart(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment with the budgets of its tiers among the budgets, and without what changes no answer.

    That is how a server is asked, whether it judges or decodes.
    """
    validation = experiment.get("validation") or {}
    budgets, tiers = dict(experiment.get("budget") or {}), []
    for i, tier in enumerate(validation.get("tiers") or ()):
        if isinstance(tier, Mapping):
            tier = {name: _asked_of(settings) for name, settings in tier.items()}
            budgets[f"tier {i + 1}"] = next((settings.pop("budget", None) for settings in tier.values()), None)
        tiers.append(tier)
    arms = {name: _asked_of(arm) for name, arm in (experiment.get("arms") or {}).items()}
    generator = _asked_of(experiment.get("generator") or {})
    validation = {**validation, "tiers": tiers}
    return {**experiment, "arms": arms, "generator": generator, "budget": budgets, "validation": validation}


def _asked_of(settings: Any) -> dict[str, Any]:
    given = settings if isinstance(settings, Mapping) else {"model": settings}
    return {name: value for name, value in given.items() if name not in _HOW_TO_ASK}


def _with_defaults(experiment: Any) -> Any:
    try:
        return redacted(msgspec.convert(experiment, Experiment))
    except msgspec.ValidationError:  # kept by another version: compared as it is
        return experiment


def _changes(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{name}.{key}" if name else key)
    elif old != new:
        yield name, old, new


def _grew(old: Any, new: Any) -> bool:
    return new is None or (isinstance(old, int | float) and isinstance(new, int | float) and new >= old)


def _said(value: Any) -> str:
    return "(not set)" if value is _ABSENT else shown(value)
