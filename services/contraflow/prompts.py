"""The prompts of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from contraflow.errors import ConfigurationError
from contraflow.experiment import Prompts
from contraflow.tables import read_table

__all__ = ["MAX_PROMPT", "Prompt", "load_prompts"]

MAX_PROMPT = 64 * 1024


class Prompt(NamedTuple):
    """A prompt; ``draws`` is how many stored answers it has in every arm, or None where a model answers."""

    prompt_id: str
    text: str
    category: str | None = None
    draws: int | None = None


def load_prompts(prompts: Prompts | Literal["unconditional"], base_dir: Path) -> list[Prompt]:
    """Every prompt of the file, in its order; one empty prompt if ``unconditional``.

    :raises ConfigurationError: if the file is missing, empty, not UTF-8, lacks a column or holds an oversized prompt.
    """
    if prompts == "unconditional":
        return [Prompt("p0", "")]
    path = base_dir / prompts.path
    wanted = [prompts.text] + ([prompts.category] if prompts.category else [])
    found: list[Prompt] = []
    for place, row in read_table(path, wanted, field="prompts.path"):
        text = str(row[prompts.text] or "")
        if not text.strip():
            continue
        if len(text.encode()) > MAX_PROMPT:
            raise ConfigurationError(
                f"{place}: this prompt has {len(text.encode()):,} bytes; the limit is {MAX_PROMPT:,}. Shorten it or take it out."
            )
        category = row[prompts.category] if prompts.category else None
        found.append(Prompt(f"p{len(found)}", text, None if category is None else str(category)))
    if not found:
        raise ConfigurationError(f"prompts.path: {path} holds no prompts; give a file with one prompt a row")
    return found
