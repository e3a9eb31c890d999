"""When decoding ends before its last token: because somebody asks for it, or because a text holds a stop string."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["criteria", "stop_strings", "without_stop"]


def stop_strings(tokenizer: Any, strings: Sequence[str]) -> Any:
    """Tells of token ids whether they end in one of the strings; None where there are none.

    It looks through the whole vocabulary when it is made, which takes a second: make it once.
    """
    from transformers import StopStringCriteria

    return StopStringCriteria(tokenizer, list(strings)) if strings else None


def criteria(asked: threading.Event, strings: Any, prompt: int, least: int) -> Any:
    """Stopping criteria for transformers: all rows where ``asked``, and each row where its answer ends in a stop string.

    The answer begins behind the ``prompt`` tokens; its first ``least`` tokens end nothing.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Stop(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            answers = input_ids[:, prompt:]
            if strings is not None and not asked.is_set() and answers.shape[1] > least:
                return strings(answers, scores)
            return torch.full((input_ids.shape[0],), asked.is_set(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Stop()])


def without_stop(text: str, strings: Sequence[str], start: int = 0) -> tuple[str, bool]:
    """The text before the first of the stop strings that ends behind ``start`` characters, and whether there is one."""
    places = [place for string in strings if (place := text.find(string, max(0, start - len(string) + 1))) >= 0]
    return (text[: min(places)], True) if places else (text, False)
