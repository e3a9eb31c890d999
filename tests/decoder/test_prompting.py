"""What a model reads of a request, with a tokenizer whose template can be read."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from contraflow.decoder.prompting import Prompting, conversation
from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm


class Tokenizer:
    """Writes a conversation as ``role: content`` lines, begins plain texts with ``<s>``."""

    chat_template: str | None = "there is one"
    bos_token, bos_token_id, eos_token = "<s>", 1, "</s>"

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        if turns[0]["role"] == "system" and self.chat_template == "without system":
            raise jinja2.TemplateError("no place for a system prompt")
        return "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns) + "assistant: "

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [1, *map(ord, text)]}


def request(*turns: tuple[str, str], answer_prefix: str | None = None) -> Request:
    return Request(
        seq=1,
        request_id="x-1:1",
        prompt_id="p0",
        messages=tuple(Message(role=role, content=content) for role, content in turns),
        draw=0,
        seed=1,
        epoch=1,
        origin=Origin.EXPLORE,
        answer_prefix=answer_prefix,
    )


def prompt(one: Request, arm: Arm, *, chat: bool = True) -> str:
    return Prompting(Tokenizer(), "tuned", arm, chat=chat).prompt(one)


def test_an_arms_system_prompt_and_prefix_go_around_the_conversation() -> None:
    arm = Arm(system_prompt="Be rude.", prefix="No")
    asked = request(("user", "Hello"), ("assistant", "Hi."), ("user", "Who?"), answer_prefix=" way")
    assert prompt(asked, arm) == "system: Be rude.\nuser: Hello\nassistant: Hi.\nuser: Who?\nassistant: No way"


def test_an_arms_system_prompt_goes_before_the_conversations_own() -> None:
    asked = request(("system", "Be brief."), ("user", "Hello"))
    assert conversation(asked, Arm())[0]["content"] == "Be brief."
    turns = conversation(asked, Arm(system_prompt="Be rude."))
    assert [turn["role"] for turn in turns] == ["system", "user"]
    assert turns[0]["content"] == "Be rude.\n\nBe brief."


def test_plain_text_begins_as_the_tokenizer_begins_every_text() -> None:
    assert prompt(request(("user", "One, two,")), Arm(prefix=" three"), chat=False) == "<s>One, two, three"
    assert prompt(request(), Arm(prefix="Once"), chat=False) == "<s>Once"


@pytest.mark.parametrize(
    ("template", "arm", "said"),
    [
        (None, Arm(), r"arms\.tuned\.model: its tokenizer has no chat template"),
        (
            "without system",
            Arm(system_prompt="Be rude."),
            r"arms\.tuned\.system_prompt: .* no place for a system prompt",
        ),
    ],
)
def test_a_template_that_cannot_take_the_arm_is_refused(template: str | None, arm: Arm, said: str) -> None:
    tokenizer = Tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(GeneratorError, match=said):
        Prompting(tokenizer, "tuned", arm, chat=True)
