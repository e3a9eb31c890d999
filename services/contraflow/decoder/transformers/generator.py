"""A Hugging Face model in this process: batches, an adapter merged at load, and a random stream for each request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from contraflow.decoder.generator import Completion, draw_seed
from contraflow.decoder.prompting import Prompting
from contraflow.decoder.stopping import criteria, stop_strings, without_stop
from contraflow.decoder.thinking import thinking_apart
from contraflow.decoder.transformers.loading import context, load
from contraflow.events import Request
from contraflow.experiment import Arm
from contraflow.experiment import Generator as GeneratorSection

__all__ = ["TransformersGenerator"]

logger = logging.getLogger(__name__)

# all arms of a process share its cores (or its card): in turn with every thread is faster than side by side; and
# transformers cannot load two models at once, as it switches torch's default device for the whole process meanwhile
_device = threading.Lock()


class TransformersGenerator:
    """Decodes up to ``batch`` requests at once, or what fits into memory.

    Each token is drawn by inverse CDF from the request's own numbers: a text depends on its batch mates through rounding
    alone.
    """

    continuous = False

    def __init__(self, arm: str, declared: Arm, section: GeneratorSection, base_dir: Path) -> None:
        self.model = declared.model or ""
        self.capacity = section.batch
        self.source = ""
        self._name = arm
        self._arm = declared
        self._section = section
        self._base_dir = base_dir
        self._stopping = threading.Event()
        self._model: Any = None
        self._prompting: Any = None
        self._special: set[int] = set()
        self._stops: Any = None
        self._tokenizer: Any = None

    async def start(self) -> None:
        """Load the model, and merge its adapter.

        :raises GeneratorError: if it is missing, its adapter does not fit, or it has no chat template.
        """
        self._stopping.clear()
        await anyio.to_thread.run_sync(self._load_in_turn)

    async def close(self) -> None:
        """Stop decoding at the next token, and forget the model."""
        self._stopping.set()
        self._model = self._tokenizer = self._prompting = None

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Decode a batch; cancelled, it stops at the next token."""
        try:
            completions = await anyio.to_thread.run_sync(self._batch, requests, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            self._stopping.set()
            raise
        for completion in completions:
            yield completion

    def _load_in_turn(self) -> None:
        with _device:
            loaded = load(self._name, self._arm, self._section, self._base_dir)
        self._prompting = Prompting(loaded.tokenizer, self._name, self._arm, chat=self._section.chat)
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self._stops = stop_strings(loaded.tokenizer, self._section.stop)
        self._special = _dropped(loaded.tokenizer, self._section.thinking or ())
        self.source, self.model = loaded.source, loaded.fingerprint

    # decoding, in a thread

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        import torch

        limit = context(self._model) - self._section.max_tokens
        prompts = [self._prompting.prompt(request) for request in requests]
        lengths = [len(self._tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in prompts]
        fits = [i for i, length in enumerate(lengths) if length <= limit]
        done = [
            Completion(
                requests[i], "", "error", lengths[i], error=f"the prompt has {length} tokens; the model takes {limit}"
            )
            for i, length in enumerate(lengths)
            if length > limit
        ]
        if not fits:
            return done
        with _device, torch.inference_mode():
            return done + self._decode_what_fits([requests[i] for i in fits], [prompts[i] for i in fits])

    def _decode_what_fits(self, requests: Sequence[Request], prompts: Sequence[str]) -> list[Completion]:
        """A batch that does not fit into memory is decoded in halves, and those to come are no larger than a half."""
        import torch

        try:
            return self._decode(requests, prompts)
        except torch.OutOfMemoryError as error:
            said = str(error).partition(". ")[0]
        # apart from the error, whose frames keep what the batch took
        torch.cuda.empty_cache()
        half = len(requests) // 2
        if not half:
            return [Completion(requests[0], "", "error", error=f"out of memory with this request alone: {said}")]
        self.capacity = min(self.capacity, half)
        logger.warning("arm %s: %d at once do not fit into memory (%s); now %d", self._name, len(requests), said, half)
        parts = (self._decode_what_fits(requests[part], prompts[part]) for part in (slice(half), slice(half, None)))
        return [completion for part in parts for completion in part]

    def _decode(self, requests: Sequence[Request], prompts: Sequence[str]) -> list[Completion]:
        from transformers import LogitsProcessorList

        from contraflow.decoder.transformers.draws import own_draws

        section = self._section
        started = time.perf_counter()
        inputs = self._tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        width = inputs["input_ids"].shape[1]
        sampling = {"temperature": section.temperature, "top_p": section.top_p, **self._arm.sampling}
        seeds = [draw_seed(request, self._name) for request in requests]
        generated = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=section.max_tokens,
            min_new_tokens=section.min_tokens or None,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([own_draws(seeds, section.max_tokens, sampling)]),
            stopping_criteria=criteria(self._stopping, self._stops, width, section.min_tokens),
        )
        seconds = (time.perf_counter() - started) / len(requests)
        asked = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(request, prompt, row[width:].tolist(), prompt_tokens, seconds)
            for request, prompt, row, prompt_tokens in zip(requests, prompts, generated, asked, strict=True)
        ]

    def _completion(self, request: Request, prompt: str, tokens: list[int], asked: int, seconds: float) -> Completion:
        tokenizer, section = self._tokenizer, self._section
        ends = self._model.generation_config.eos_token_id
        stops = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id, tokenizer.pad_token_id}
        # a row that ended is padded while the others go on
        end = next((i for i, token in enumerate(tokens) if token in stops), None)
        kept = tokens if end is None else tokens[:end]
        least = len(self._text(kept[: section.min_tokens])) if section.stop else 0
        text, stopped = without_stop(self._text(kept), section.stop, least)
        thinking, text = thinking_apart(text, section.thinking, prompt)
        count = len(kept) + (end is not None and not stopped)
        reason = "length" if end is None and not stopped else "stop"
        return Completion(request, text, reason, asked, count, seconds, thinking)

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode([token for token in tokens if token not in self._special]))


def _dropped(tokenizer: Any, markers: Sequence[str]) -> set[int]:
    """The special tokens, which are no text; but for the markers of thinking, which are special in some models."""
    return {token for token in tokenizer.all_special_ids if tokenizer.decode([token]) not in markers}
