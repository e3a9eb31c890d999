"""What every backend asks of an arm's model: where its weights are, and whether an answer has a place in its context."""

from __future__ import annotations

from pathlib import Path

from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.experiment import Arm, Generator
from contraflow.weights import ResolvedModel, resolve_model

__all__ = ["model_of", "refuse_no_place"]


def model_of(arm: Arm, field: str, base_dir: Path) -> ResolvedModel:
    """The weights of an arm's model; a folder is meant relative to ``base_dir``, that of the experiment file.

    :raises GeneratorError: if no source has it; names ``field``.
    """
    local = base_dir / (arm.model or "")
    try:
        return resolve_model(str(local) if arm.model and local.is_dir() else arm.model or "", arm.revision)
    except ConfigurationError as error:
        raise GeneratorError(f"{field}: {error}") from error


def refuse_no_place(section: Generator, context: int, taker: str, remedy: str = "lower it") -> None:
    """Refuse answers that are as long as all that ``taker`` takes, in tokens, prompt and answer together.

    :raises GeneratorError: if no token is left for a prompt.
    """
    if section.max_tokens >= context:
        raise GeneratorError(
            f"generator.max_tokens: {section.max_tokens:,} leave no place for a prompt in the {context:,} tokens that {taker} "
            f"takes; {remedy}"
        )
