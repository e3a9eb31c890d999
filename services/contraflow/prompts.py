"""The prompts of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from contraflow.errors import ConfigurationError
from contraflow.events import Message
from contraflow.experiment import Prompts
from contraflow.tables import read_table

__all__ = ["MAX_PROMPT", "Prompt", "load_prompts"]

MAX_PROMPT = 64 * 1024
_ROLES = ("system", "user", "assistant")


class Prompt(NamedTuple):
    """A prompt; ``draws`` is how many stored answers it has in every arm, or None where a model answers.

    ``turns`` are the whole conversation, of which ``text`` is the last turn; empty if that is all of it.
    """

    prompt_id: str
    text: str
    category: str | None = None
    draws: int | None = None
    turns: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is asked, turn by turn; nothing where there is no prompt."""
        return self.turns or ((Message(role="user", content=self.text),) if self.text else ())


def load_prompts(prompts: Prompts | Literal["unconditional"], base_dir: Path) -> list[Prompt]:
    """Every prompt of the file, in its order; one empty prompt if ``unconditional``.

    :raises ConfigurationError: if the file is missing, empty, not UTF-8, lacks a column, holds an oversized prompt, or
        a conversation that is none.
    """
    if prompts == "unconditional":
        return [Prompt("p0", "")]
    path = base_dir / prompts.path
    column = prompts.messages or prompts.text
    wanted = [column] + ([prompts.category] if prompts.category else [])
    found: list[Prompt] = []
    for place, row in read_table(path, wanted, field="prompts.path"):
        turns = _turns(place, row[column]) if prompts.messages else ()
        text = turns[-1].content if turns else str(row[column] or "")
        if not text.strip():
            continue
        size = sum(len(turn.content.encode()) for turn in turns) if turns else len(text.encode())
        if size > MAX_PROMPT:
            raise ConfigurationError(
                f"{place}: this prompt has {size:,} bytes; the limit is {MAX_PROMPT:,}. Shorten it or take it out."
            )
        category = row[prompts.category] if prompts.category else None
        found.append(
            Prompt(f"p{len(found)}", text, None if category is None else str(category), turns=turns),
        )
    if not found:
        raise ConfigurationError(f"prompts.path: {path} holds no prompts; give a file with one prompt a row")
    return found


def _turns(place: str, value: Any) -> tuple[Message, ...]:
    """The turns of a conversation, which ends with the user's."""
    if not isinstance(value, list) or not value:
        raise ConfigurationError(
            f"{place}: a conversation is a list of {{role, content}}, which JSONL and Parquet can hold; this is "
            f"{'an empty list' if value == [] else type(value).__name__}"
        )
    turns = []
    for number, turn in enumerate(value, 1):
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in _ROLES or not isinstance(content, str) or (role == "system" and number > 1):
            raise ConfigurationError(
                f"{place}: turn {number} of this conversation is none: it needs content that is text, and a role: user or "
                "assistant, or for the first turn system"
            )
        turns.append(Message(role=role, content=content))
    if turns[-1].role != "user":
        raise ConfigurationError(
            f"{place}: this conversation ends with the {turns[-1].role}; the last turn is the user's, which the models "
            "answer. What an answer is to begin with is an arm's prefix"
        )
    return tuple(turns)
