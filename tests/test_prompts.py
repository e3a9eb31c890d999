"""Prompts from a file: single ones, whole conversations, and how often each may be asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import contraflow
from contraflow.errors import ConfigurationError
from contraflow.events import Message
from contraflow.experiment import Prompts
from contraflow.prompts import load_prompts

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Who are you?"},
]


def written(path: Path, *conversations: object) -> Path:
    path.write_text("\n".join(json.dumps({"talk": talk, "kind": "chat"}) for talk in conversations))
    return path


def test_a_conversation_is_asked_whole_and_named_by_its_last_turn(tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", TALK, TALK[1:2])
    first, second = load_prompts(Prompts(path="p.jsonl", messages="talk", category="kind"), tmp_path)
    assert (first.text, first.category) == ("Who are you?", "chat")
    assert first.messages == tuple(Message(**turn) for turn in TALK)
    assert second.messages == (Message(role="user", content="Hello"),)


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        ("Hello", "a conversation is a list of {role, content}.* this is str"),
        ([], "this is an empty list"),
        ([{"role": "user"}], "turn 1 of this conversation is none"),
        ([TALK[1], TALK[0]], "turn 2 of this conversation is none"),
        ([{"role": "bot", "content": "x"}], "a role: user or assistant"),
        (TALK[:3], "ends with the assistant; the last turn is the user's"),
        ([{"role": "user", "content": "cut \ud83d"}], "'talk' has half of a character"),
        ([{"role": "user", "content": "x" * 70_000}], "this prompt has 70,000 bytes"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_line(tmp_path: Path, talk: object, said: str) -> None:
    written(tmp_path / "p.jsonl", TALK, talk)
    with pytest.raises(ConfigurationError, match=rf"p\.jsonl:2: .*{said}"):
        load_prompts(Prompts(path="p.jsonl", messages="talk"), tmp_path)


def test_no_prompt_is_asked_more_often_than_its_draws(
    tmp_path: Path, experiment: Callable[..., dict[str, Any]]
) -> None:
    path = tmp_path / "p.jsonl"
    written(path, *([{"role": "user", "content": f"question {i}"}] for i in range(40)))
    results = contraflow.run(
        experiment(prompts={"path": str(path), "messages": "talk", "draws": 3}), runs=tmp_path / "runs"
    )
    asked = Counter(request.prompt_id for request in results.requests.values())
    assert max(asked.values()) == 3
    assert len(results.requests) > 100
