"""How a request becomes what a model reads: a conversation through a chat template, or plain text."""

from __future__ import annotations

from typing import Any

from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm

__all__ = ["Prompting", "begin_of_answer", "conversation"]


def conversation(request: Request, arm: Arm) -> list[dict[str, str]]:
    """The turns of a request behind the arm's system prompt, which goes before a system prompt of the conversation's own."""
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    if arm.system_prompt is None:
        return turns
    own = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else ""
    return [{"role": "system", "content": "\n\n".join(filter(None, (arm.system_prompt, own)))}, *turns]


def begin_of_answer(request: Request, arm: Arm) -> str:
    """What the answer is made to begin with; the text that comes back is what follows it."""
    return (arm.prefix or "") + (request.answer_prefix or "")


class Prompting:
    """What a ``tokenizer`` of transformers makes of the requests of an arm, named ``name`` in messages.

    With ``chat`` they go through its chat template; without, it is their text as it is, behind the token that the
    tokenizer begins every text with, if it has one.

    :raises GeneratorError: if it has no chat template, or that has no place for a system prompt.
    """

    def __init__(self, tokenizer: Any, name: str, arm: Arm, *, chat: bool) -> None:
        self._tokenizer = tokenizer
        self._arm = arm
        self._chat = chat
        if chat:
            self._try(name)

    def prompt(self, request: Request) -> str:
        """What the model reads, to be tokenized without special tokens: all that it needs are in it."""
        turns = conversation(request, self._arm)
        if not turns:  # nothing to answer: the model writes what it likes
            tokenizer = self._tokenizer
            return (tokenizer.bos_token or tokenizer.eos_token or "") + begin_of_answer(request, self._arm)
        if not self._chat:
            return self._first + turns[-1]["content"] + begin_of_answer(request, self._arm)
        chat: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return chat + begin_of_answer(request, self._arm)

    @property
    def _first(self) -> str:
        begins = self._tokenizer("")["input_ids"][:1] == [self._tokenizer.bos_token_id]
        return str(self._tokenizer.bos_token) if begins else ""

    def _try(self, name: str) -> None:
        import jinja2

        if self._tokenizer.chat_template is None:
            raise GeneratorError(
                f"arms.{name}.model: its tokenizer has no chat template. Write generator.chat: false to give it prompts "
                "as plain text, which is what a base model continues, or take a model that is made for chat"
            )
        try:
            self.prompt(_TRIAL)
        except jinja2.TemplateError as error:
            field = "model" if self._arm.system_prompt is None else "system_prompt"
            raise GeneratorError(
                f"arms.{name}.{field}: the chat template of its model refuses it: {error}. Put what it says into the "
                "prompts or into a prefix, or take another model"
            ) from error


_TRIAL = Request(
    seq=1,
    request_id="trial",
    prompt_id="p0",
    messages=(Message(role="user", content="Hello"),),
    draw=0,
    seed=0,
    epoch=1,
    origin=Origin.PROBE,
)
