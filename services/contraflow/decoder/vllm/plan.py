"""Which arms share a vLLM engine, and what it is started with: decided before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contraflow.decoder.adapter import Adapter
from contraflow.errors import GeneratorError
from contraflow.experiment import Arm, Experiment, Generator

__all__ = ["EnginePlan", "engine_options", "plan_engine"]

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as ``max_lora_rank``."""


class EnginePlan(NamedTuple):
    """One engine, and the arms that share it by name. ``on_card`` engines of the experiment may be on its card."""

    arms: dict[str, Arm]
    section: Generator
    base_dir: Path
    on_card: int = 1

    @property
    def any(self) -> Arm:
        """An arm that names the model, the revision and the quantisation of all of them."""
        return next(iter(self.arms.values()))

    @property
    def field(self) -> str:
        """Where the model stands in the experiment."""
        return f"arms.{next(iter(self.arms))}.model"


def plan_engine(arm: str, experiment: Experiment, base_dir: Path, together: Sequence[str] = ()) -> EnginePlan:
    """The engine of ``arm``: shared with those of ``together`` (what this process decodes) that have the same weights.

    Adapter, system prompt, prefix and sampling belong to a request; model, revision and quantisation to an engine.
    """
    own = _weights(experiment.arms[arm])
    sharing = [name for name in experiment.arms if name in together and _weights(experiment.arms[name]) == own]
    names = sharing if arm in sharing else [arm]
    arms = {name: experiment.arms[name] for name in names}
    return EnginePlan(arms, experiment.generator, base_dir, _on_card(arm, experiment, {arm, *together}))


def _on_card(arm: str, experiment: Experiment, here: Collection[str]) -> int:
    """Engines that may be on a card of ``arm``: those of this process, and of the others that may have the same."""
    own = _cards(experiment.arms[arm])
    elsewhere = sum(bool(own & _cards(other)) for name, other in experiment.arms.items() if name not in here)
    return len({_weights(experiment.arms[name]) for name in here}) + elsewhere


def _cards(arm: Arm) -> set[str]:
    """Where nothing is said, vLLM takes the first."""
    return {*(arm.devices or ("cuda:0",))}


def _weights(arm: Arm) -> tuple[str | None, ...]:
    return arm.model, arm.revision, arm.quantization


def engine_options(
    plan: EnginePlan, model: Path, adapters: Mapping[str, Adapter], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Engine arguments of vLLM: the ``defaults``, what the arms need, then what stands under ``generator.options``.

    :raises GeneratorError: if an adapter's rank is above what vLLM takes.
    """
    options: dict[str, Any] = {"dtype": "auto", **defaults, "model": str(model)}
    if plan.section.dtype != "auto":
        options["dtype"] = plan.section.dtype
    if plan.any.quantization is not None:  # whose kernels have a type of their own
        options |= {"quantization": plan.any.quantization, "dtype": plan.section.dtype}
    if adapters:
        # one place more than there are adapters stays empty: on a CPU, vLLM 0.32 gives what the last place holds to
        # requests without an adapter if another request of the batch has one
        options |= {"enable_lora": True, "max_loras": len(adapters) + 1, "max_lora_rank": _rank(adapters)}
    options |= plan.section.options
    for name, adapter in adapters.items():
        if adapter.rank > options["max_lora_rank"]:
            raise GeneratorError(
                f"arms.{name}.lora: its rank is {adapter.rank}, above generator.options.max_lora_rank "
                f"{options['max_lora_rank']}; raise that, or leave it out: it is taken from the adapters then"
            )
    return options


def _rank(adapters: Mapping[str, Adapter]) -> int:
    name = max(adapters, key=lambda arm: adapters[arm].rank)
    rank = adapters[name].rank
    for at_most in _RANKS:
        if rank <= at_most:
            return at_most
    raise GeneratorError(
        f"arms.{name}.lora: its rank is {rank}, and vLLM takes {_RANKS[-1]} at most. `contraflow merge` makes a checkpoint "
        "of it, which is then the arm's model"
    )
