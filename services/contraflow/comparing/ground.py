"""What two runs have in common, without which nothing that one found could be looked for in the other."""

from __future__ import annotations

from typing import Any, NamedTuple

from contraflow.comparing.profiles import prompt_of
from contraflow.configuration import changes
from contraflow.errors import NotComparable
from contraflow.results import Results
from contraflow.runs import RunFolder

__all__ = ["Ground", "common_ground", "refuse_itself"]

_MODEL = ("model", "revision", "lora", "system_prompt", "prefix", "quantization", "plants")
"""What makes an arm another model."""
_ASKED = ("prompts", "replay", "generator.backend", "generator.world")


class Ground(NamedTuple):
    """``arms``: the second run's name of each intervened arm of the first; ``prompts``: how many both have asked."""

    arms: dict[str, str]
    prompts: int


def refuse_itself(first: RunFolder, second: RunFolder) -> None:
    """Two names may be one run.

    :raises NotComparable: if they are.
    """
    if first.path.resolve() == second.path.resolve():
        raise NotComparable(
            f"both are {first.run}, and a run has no difference from itself. Name two runs; an experiment's bare name is its "
            "newest run, and `contraflow runs` lists them all."
        )


def common_ground(first: Results, second: Results) -> Ground:
    """The arms and prompts that both runs have.

    :raises NotComparable: if they measure against different models, or have no arm or no prompt in common.
    """
    _refuse_other_references(first, second)
    arms = _arms(first, second)
    asked = [{prompt_of(request) for request in run.requests.values()} for run in (first, second)]
    common = asked[0] & asked[1]
    if all(asked) and not common and first.folder.config["asked"] != second.folder.config["asked"]:
        raise NotComparable(
            f"{first.folder.run} and {second.folder.run} have asked no prompt in common ({len(asked[0]):,} and "
            f"{len(asked[1]):,} prompts), so nothing that one found could show in the other:{_what_differs(first, second)}\n"
            "Compare runs that ask the same prompts, or run one of the experiments with the other's."
        )
    return Ground(arms, len(common))


def _refuse_other_references(first: Results, second: Results) -> None:
    one, other = (_reference(run) for run in (first, second))
    differ = [key for key in _MODEL if one.get(key) != other.get(key)]
    if differ and not any(_stored(run) for run in (first, second)):
        lines = "".join(f"\n  reference {key}: {_said(one.get(key))} -> {_said(other.get(key))}" for key in differ)
        raise NotComparable(
            f"{first.folder.run} and {second.folder.run} measure against different models:{lines}\n"
            "A difference from one is no difference from the other. Compare runs whose reference arm is the same model."
        )


def _reference(run: Results) -> dict[str, Any]:
    arm: dict[str, Any] = run.resolved["experiment"]["arms"][run.reference]
    return arm


def _stored(run: Results) -> bool:
    """Whether the texts came from a file, which does not say of which model."""
    return bool(run.resolved["experiment"]["generator"]["backend"] == "replay")


def _arms(first: Results, second: Results) -> dict[str, str]:
    """By name; the only intervened arm of each run, whatever their names."""
    mine, theirs = ([arm for arm in run.arms if arm != run.reference] for run in (first, second))
    if len(mine) == len(theirs) == 1:
        return {mine[0]: theirs[0]}
    shared = {arm: arm for arm in mine if arm in theirs}
    if not shared:
        raise NotComparable(
            f"{first.folder.run} and {second.folder.run} have no arm in common ({', '.join(mine)}; {', '.join(theirs)}). "
            "Findings are compared arm by arm: give what is the same intervention the same name."
        )
    return shared


def _what_differs(first: Results, second: Results) -> str:
    lines = [c for c in changes(first.resolved, second.resolved) if c.key.startswith(_ASKED)]
    said = "".join(f"\n  {line.key}: {line.old} -> {line.new}" for line in lines)
    return said or "\n  the file of prompts (or stored texts) has changed"


def _said(value: Any) -> str:
    return str(value) if value else "(none)"
