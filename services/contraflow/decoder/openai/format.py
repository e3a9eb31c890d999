"""How a request is asked in OpenAI's wire format, and what its reply says: chat completions, or plain completions."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from contraflow.decoder.generator import Completion, draw_seed
from contraflow.decoder.prompting import begin_of_answer, conversation
from contraflow.decoder.stopping import without_stop
from contraflow.decoder.thinking import thinking_apart
from contraflow.events import Request
from contraflow.experiment import Arm, Generator
from contraflow.llm.provider import Permanent, Refused, Transient
from contraflow.llm.server import count, with_options

__all__ = ["Format"]

_NAMED = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
"""What the format has by name; anything else of an arm's sampling is an extension of some servers."""
_SEEDS = 2**31
"""Some servers read seeds of 32 bits."""


class Format(NamedTuple):
    """The requests and replies of an arm; ``limit`` is how the server calls the most tokens of a chat."""

    name: str
    arm: Arm
    section: Generator
    limit: str

    def fields(self, request: Request) -> dict[str, Any]:
        """The arguments of the client's ``create``."""
        section = self.section
        sampling = {"temperature": section.temperature, "top_p": section.top_p, **self.arm.sampling}
        extensions = {name: value for name, value in sampling.items() if name not in _NAMED}
        if section.min_tokens:
            extensions["min_tokens"] = section.min_tokens
        asked, more = self._turns(request) if section.chat else ({"prompt": self._plain(request)}, {})
        fields = {
            "model": self.arm.model,
            self.limit if section.chat else "max_tokens": section.max_tokens,
            "seed": draw_seed(request, self.name) % _SEEDS,
            "stop": list(section.stop) or None,
            **{name: value for name, value in sampling.items() if name in _NAMED},
            **asked,
            "extra_body": {**extensions, **more},
        }
        return with_options(fields, section.options)

    def completion(self, request: Request, reply: Any, seconds: float) -> Completion:
        """The answer in a reply.

        :raises Transient: if it holds none, or one of another model.
        :raises Refused: if the server filtered it.
        :raises Permanent: if the server does not know ``min_tokens``.
        """
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not choices:  # the SDK checks nothing, and a body may be any JSON
            raise Transient("the reply holds no choice", billed=True)
        self._refuse_another_model(getattr(reply, "model", None))
        thinking, text = self._text(request, choices[0])
        usage = getattr(reply, "usage", None)
        asked, written = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
        reason = "length" if choices[0].finish_reason == "length" else "stop"
        least = self.section.min_tokens
        if written is not None and reason == "stop" and written < least:
            raise Permanent(
                f"generator.min_tokens: it ended an answer after {written} tokens, so it does not know min_tokens; take "
                "that out, or ask a server that does, such as vLLM's"
            )
        text, stopped = (text, False) if least else without_stop(text, self.section.stop)
        return Completion(
            request, text, "stop" if stopped else reason, asked or 0, written or len(text.split()), seconds, thinking
        )

    def _turns(self, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        turns, begin = conversation(request, self.arm), begin_of_answer(request, self.arm)
        if not begin:
            return {"messages": turns}, {}
        continued = {"add_generation_prompt": False, "continue_final_message": True}
        return {"messages": [*turns, {"role": "assistant", "content": begin}]}, continued

    def _plain(self, request: Request) -> str:
        return (request.messages[-1].content if request.messages else "") + begin_of_answer(request, self.arm)

    def _refuse_another_model(self, told: Any) -> None:
        """A dated version of the model that was asked for is that model; many servers do not say."""
        model = self.arm.model or ""
        dated = rf"{re.escape(model.removesuffix('-latest'))}[-@:.]?v?\d[\w.-]*"
        if told and told != model and not re.fullmatch(dated, str(told)):
            raise Transient(
                f"the answer is of the model {told!r}, and {model!r} was asked for; look at what arms.{self.name}.base_url "
                "leads to",
                billed=True,
            )

    def _text(self, request: Request, choice: Any) -> tuple[str | None, str]:
        """(thinking, answer), as the server keeps them apart, or by their markers."""
        if choice.finish_reason == "content_filter":
            raise Refused("the server filtered the answer")
        markers = self.section.thinking
        if not self.section.chat:
            return thinking_apart(str(choice.text or ""), markers, self._plain(request))
        message = choice.message
        if message is None:
            raise Transient("the reply holds no message", billed=True)
        said = str(message.content or getattr(message, "refusal", None) or "")
        apart = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        return (apart, said) if isinstance(apart, str) else thinking_apart(said, markers)
