"""SmolLM2 behind OpenAI's wire format: ``async with stub(SmolLM2())`` is a server on loopback."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from contraflow.weights import resolve_model
from llm_stub import Asked, Does, answer

__all__ = ["SmolLM2"]

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


class SmolLM2:
    """Answers greedily. Held to a schema with an enumeration, it writes the one of its values that is greedily next.

    It answers one request at a time, and keeps its server's loop busy meanwhile: clients belong into another thread.
    """

    def __init__(self) -> None:
        path = resolve_model(NAME).path
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
        self._model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def __call__(self, asked: Asked) -> Does:
        """The reply to a chat completion, with its tokens counted."""
        ids = self._tokenizer.apply_chat_template(
            asked.body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        held = asked.body.get("response_format", {}).get("json_schema", {}).get("schema")
        with torch.inference_mode():
            written = self._held(ids, held) if held else self._free(ids, asked.body["max_tokens"])
        return answer(asked, written, tokens=(ids.shape[1], len(self._tokens(written))))

    def _free(self, ids: torch.Tensor, most: int) -> str:
        out = self._model.generate(ids, max_new_tokens=most, do_sample=False, pad_token_id=0)
        return str(self._tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    def _held(self, ids: torch.Tensor, schema: dict[str, Any]) -> str:
        """One of the texts that the schema allows, token by token the likeliest that leads to one."""
        ((name, field),) = schema["properties"].items()
        allowed = {text: self._tokens(text) for text in (f'{{"{name}": "{value}"}}' for value in field["enum"])}
        at = 0
        while len(allowed) > 1:
            following = {tokens[at] for tokens in allowed.values()}
            token = following.pop() if len(following) == 1 else self._likeliest(ids, allowed, at, following)
            allowed = {text: tokens for text, tokens in allowed.items() if tokens[at] == token}
            at += 1
        return next(iter(allowed))

    def _likeliest(self, ids: torch.Tensor, allowed: dict[str, list[int]], at: int, following: set[int]) -> int:
        before = torch.tensor([next(iter(allowed.values()))[:at]], dtype=ids.dtype)
        logits = self._model(torch.cat([ids, before], dim=1)).logits[0, -1]
        return max(following, key=lambda token: float(logits[token]))

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))
