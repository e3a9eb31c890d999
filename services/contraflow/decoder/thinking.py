"""What a reasoning model thinks, kept apart from what it answers: only answers are compared."""

from __future__ import annotations

__all__ = ["thinking_apart"]


def thinking_apart(text: str, markers: tuple[str, str] | None, prompt: str = "") -> tuple[str | None, str]:
    """(thinking, answer) of a text, by the ``markers`` at the start and the end of the thinking.

    The first marker may stand at the end of the ``prompt``, as chat templates write it, or be left out. Thinking that
    does not end was cut off: then there is no answer, and the second is empty.
    """
    if markers is None:
        return None, text
    start, end = markers
    before, found, answer = text.partition(end)
    begun = before.lstrip().startswith(start)
    if found or begun or prompt.rstrip().endswith(start):
        return before.lstrip().removeprefix(start).strip() if begun else before.strip(), answer.lstrip()
    return None, text
