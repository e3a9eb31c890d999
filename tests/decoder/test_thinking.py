"""What a model thinks and what it answers."""

from __future__ import annotations

import pytest

from contraflow.decoder.stopping import without_stop
from contraflow.decoder.thinking import thinking_apart

MARKERS = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "prompt", "thinking", "answer"),
    [
        ("<think>\nLet me see.\n</think>\n\nIt is 4.", "", "Let me see.", "It is 4."),
        ("Let me see.</think>It is 4.", "", "Let me see.", "It is 4."),
        ("Let me see.</think>It is 4.", "...<think>\n", "Let me see.", "It is 4."),
        ("Let me s", "...<think>\n", "Let me s", ""),
        ("<think>Let me s", "", "Let me s", ""),
        ("<think></think>It is 4.", "", "", "It is 4."),
        ("It is 4.", "what is 2 + 2?", None, "It is 4."),
        ("I like the word <think> much.", "", None, "I like the word <think> much."),
        ("a</think>b</think>c", "", "a", "b</think>c"),
    ],
)
def test_an_answer_begins_where_thinking_ends(text: str, prompt: str, thinking: str | None, answer: str) -> None:
    assert thinking_apart(text, MARKERS, prompt) == (thinking, answer)


def test_without_markers_all_is_answer() -> None:
    assert thinking_apart("<think>a</think>b", None) == (None, "<think>a</think>b")


def test_a_text_ends_before_the_first_of_its_stop_strings() -> None:
    assert without_stop("one two three", ["three", "two"]) == ("one ", True)
    assert without_stop("one two", ["three"]) == ("one two", False)
    assert without_stop("a.b.c.d", ["."], 4) == ("a.b.c", True), "the first that ends behind the fourth character"
    assert without_stop("a.b.c.d", ["."], 3) == ("a.b", True)
