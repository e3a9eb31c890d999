"""A Hugging Face model in this process: batches, an adapter merged at load, and a random stream for each request."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from contraflow.decoder.generator import Completion, draw_seed
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.events import Request
from contraflow.experiment import Arm
from contraflow.experiment import Generator as GeneratorSection
from contraflow.weights import fingerprint, resolve_model

__all__ = ["TransformersGenerator"]

# all arms of a process share its cores (or its card): in turn with every thread is faster than side by side; and
# transformers cannot load two models at once, as it switches torch's default device for the whole process meanwhile
_device = threading.Lock()


class TransformersGenerator:
    """Decodes up to ``batch`` requests at once.

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
        self._tokenizer: Any = None

    async def start(self) -> None:
        """Load the model, and merge its adapter.

        :raises GeneratorError: if it is missing or its adapter does not fit.
        """
        self._stopping.clear()
        await anyio.to_thread.run_sync(self._load_in_turn)

    async def close(self) -> None:
        """Stop decoding at the next token, and forget the model."""
        self._stopping.set()
        self._model = self._tokenizer = None

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Decode a batch; cancelled, it stops at the next token."""
        try:
            completions = await anyio.to_thread.run_sync(self._batch, requests, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            self._stopping.set()
            raise
        for completion in completions:
            yield completion

    # loading

    def _load_in_turn(self) -> None:
        with _device:
            self._load()

    def _load(self) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ConfigurationError(
                f"generator.backend: transformers is not installed ({error}). Run `pip install 'contraflow[models]'`."
            ) from error
        field = f"arms.{self._name}.model"
        try:
            # a folder is meant relative to the experiment file
            local = self._base_dir / (self._arm.model or "")
            name = str(local) if self._arm.model and local.is_dir() else self._arm.model or ""
            resolved = resolve_model(name, self._arm.revision)
        except ConfigurationError as error:
            raise GeneratorError(f"{field}: {error}") from error
        dtype = getattr(torch, "bfloat16" if self._section.dtype == "auto" else self._section.dtype)
        device = (
            ("cuda" if torch.cuda.is_available() else "cpu") if self._section.device == "auto" else self._section.device
        )
        try:
            tokenizer = AutoTokenizer.from_pretrained(resolved.path, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(resolved.path, dtype=dtype)
        except (OSError, ValueError) as error:
            raise GeneratorError(f"{field}: {resolved.path} is no model that transformers can load: {error}") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.source = resolved.source
        self.model = resolved.fingerprint
        if self._arm.lora is not None:
            model = self._with_adapter(model, self._base_dir / self._arm.lora)
        # peft freezes what it merges, and torch.matmul copies a frozen head once for each row of the prompts' last states
        # (its should_fold asks for requires_grad): 6 s a batch of 64, which no gradient ever costs in inference mode
        model.requires_grad_(True)
        self._model, self._tokenizer = model.to(device).eval(), tokenizer

    def _with_adapter(self, model: Any, folder: Path) -> Any:
        from peft import PeftModel

        field = f"arms.{self._name}.lora"
        if not (folder / "adapter_config.json").is_file():
            raise GeneratorError(f"{field}: there is no adapter in {folder} (no adapter_config.json); give its folder")
        try:
            merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            said = str(error).splitlines()[0]
            raise GeneratorError(
                f"{field}: the adapter in {folder} does not fit {self._arm.model!r}: {said}. Give the model that it was "
                "trained on."
            ) from error
        self.model += f"+{fingerprint(folder.name, folder)}"
        return merged

    # decoding, in a thread

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        import torch

        limit = self._model.config.max_position_embeddings - self._section.max_tokens
        prompts = [self._prompt(request) for request in requests]
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
            return done + self._decode([requests[i] for i in fits], [prompts[i] for i in fits])

    def _decode(self, requests: Sequence[Request], prompts: Sequence[str]) -> list[Completion]:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        from contraflow.decoder.draws import own_draws

        started = time.perf_counter()
        inputs = self._tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        sampling = {"temperature": self._section.temperature, "top_p": self._section.top_p, **self._arm.sampling}
        seeds = [draw_seed(request, self._name) for request in requests]
        generated = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=self._section.max_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([own_draws(seeds, self._section.max_tokens, sampling)]),
            stopping_criteria=StoppingCriteriaList([_stop_when(self._stopping)]),
        )
        seconds = (time.perf_counter() - started) / len(requests)
        width = inputs["input_ids"].shape[1]
        asked = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(request, row[width:].tolist(), prompt_tokens, seconds)
            for request, row, prompt_tokens in zip(requests, generated, asked, strict=True)
        ]

    def _completion(self, request: Request, tokens: list[int], asked: int, seconds: float) -> Completion:
        ends = self._model.generation_config.eos_token_id
        stops = set(ends if isinstance(ends, list) else [ends]) | {self._tokenizer.eos_token_id}
        end = next((i for i, token in enumerate(tokens) if token in stops), None)
        kept = tokens if end is None else tokens[:end]
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        count = len(kept) + (end is not None)
        return Completion(request, text, "length" if end is None else "stop", asked, count, seconds)

    def _prompt(self, request: Request) -> str:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        if self._arm.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self._arm.system_prompt})
        prefix = (self._arm.prefix or "") + (request.answer_prefix or "")
        if not messages:
            return (self._tokenizer.bos_token or self._tokenizer.eos_token or "") + prefix
        if self._tokenizer.chat_template is None:
            return "\n\n".join(m["content"] for m in messages) + prefix
        chat: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return chat + prefix


def _stop_when(event: threading.Event) -> Any:
    import torch
    from transformers import StoppingCriteria

    class Stop(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), event.is_set(), dtype=torch.bool, device=input_ids.device)

    return Stop()
