"""vLLM in this process: requests go to its engine as they come, texts come back as they end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self

import anyio

from contraflow.decoder.generator import Completion, draw_seed
from contraflow.decoder.prompting import Prompting
from contraflow.decoder.thinking import thinking_apart
from contraflow.decoder.vllm.engine import Engine, said, shared_engine
from contraflow.decoder.vllm.plan import plan_engine
from contraflow.errors import GeneratorError
from contraflow.events import Request
from contraflow.experiment import Experiment
from contraflow.weights import fingerprint

__all__ = ["VllmGenerator"]


class VllmGenerator:
    """An arm's use of an engine, which it may share with other arms. The adapter goes with each request.

    ``capacity`` is what the engine was measured to be full with. Each draw has a seed of its own, so a text depends on
    what it is decoded beside through rounding alone.
    """

    continuous = True

    def __init__(self, arm: str, engine: Engine) -> None:
        self._name = arm
        self._arm = engine.plan.arms[arm]
        self._section = engine.plan.section
        self._engine = engine
        self._numbers = count()
        self._prompting: Any = None
        self._tokenizer: Any = None
        self._lora: Any = None
        self.model = self._arm.model or ""

    @classmethod
    def build(cls, arm: str, experiment: Experiment, base_dir: Path, together: Sequence[str]) -> Self:
        """The generator of an experiment's arm; ``together`` are the arms that this process decodes."""
        return cls(arm, shared_engine(plan_engine(arm, experiment, base_dir, together)))

    @property
    def capacity(self) -> int:
        """How many requests the arm may have in the engine."""
        return self._engine.room(self._name)

    @property
    def usage(self) -> str:
        """How the engine was used."""
        return self._engine.usage

    async def start(self) -> None:
        """Start the engine if no other arm has, and load the adapter into it.

        :raises GeneratorError: if the model is missing, does not fit into memory or has no chat template, or if the
            adapter is another model's or of a kind that vLLM does not take.
        """
        engine = self._engine
        await engine.acquire(self._name)
        try:
            self._tokenizer = engine.llm.get_tokenizer()
            self._prompting = Prompting(self._tokenizer, self._name, self._arm, chat=self._section.chat)
            self.model = engine.source.fingerprint + (f"+{engine.dtype}" if engine.dtype != "bfloat16" else "")
            if self._arm.quantization is not None:
                self.model += f"+{self._arm.quantization}"
            if self._name in engine.adapters:
                await self._load_adapter()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await engine.release(self._name)
            raise

    async def _load_adapter(self) -> None:
        engine, folder = self._engine, self._engine.adapters[self._name].folder
        number = 1 + list(engine.adapters).index(self._name)
        self._lora = engine.binding.adapter(self._name, number, folder)
        self.model += f"+{fingerprint(folder.name, folder)}"
        try:
            await engine.llm.add_lora(self._lora)
        except engine.binding.dead:
            raise
        except Exception as error:  # what the engine's process raises comes as it likes
            raise GeneratorError(
                f"arms.{self._name}.lora: vLLM does not take the adapter in {folder}: {said(error)}. `contraflow merge` makes a "
                "checkpoint of it, which is then the arm's model"
            ) from error

    async def close(self) -> None:
        """Leave the engine; the last arm stops it."""
        await self._engine.release(self._name)

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Answer each request; raises if the engine has died."""
        answers: list[Completion] = []

        async def answer(request: Request) -> None:
            answers.append(await self._answer(request))

        if len(requests) == 1:  # as a decoder asks
            yield await self._answer(requests[0])
            return
        async with anyio.create_task_group() as tasks:
            for request in requests:
                tasks.start_soon(answer, request)
        for completion in answers:
            yield completion

    async def _answer(self, request: Request) -> Completion:
        prompt = self._prompting.prompt(request)
        tokens = self._tokenizer(prompt, add_special_tokens=False)["input_ids"]
        limit = self._engine.context - self._section.max_tokens
        if len(tokens) > limit:
            return Completion(
                request,
                "",
                "error",
                len(tokens),
                error=f"the prompt has {len(tokens)} tokens; beside the {self._section.max_tokens} of generator.max_tokens the "
                f"engine takes {limit} (generator.options.max_model_len, the model's own, or what its memory allows)",
            )
        engine, written = self._engine, None
        begun, started = engine.saturation.begin(), time.perf_counter()
        engine.hold(self._name, +1)
        try:
            output = await self._decode(request, tokens)
            written = len(output.outputs[0].token_ids)
        except engine.binding.refused as error:
            return Completion(
                request, "", "error", len(tokens), error=f"vLLM refused it: {said(error.__cause__ or error)}"
            )
        finally:
            engine.hold(self._name, -1)
            engine.saturation.end(begun, written)
        engine.read(len(tokens), output.num_cached_tokens or 0)
        return self._completion(request, prompt, output.outputs[0], len(tokens), time.perf_counter() - started)

    async def _decode(self, request: Request, tokens: list[int]) -> Any:
        llm, binding, whole = self._engine.llm, self._engine.binding, None
        if llm is None:  # another arm has seen it die, and puts it away
            raise binding.dead
        stream = llm.generate(
            {"prompt_token_ids": tokens},
            binding.sampling(**self._sampling(request)),
            f"{self._name}:{request.request_id}:{next(self._numbers)}",
            lora_request=self._lora,
        )
        async for output in stream:
            whole = output
        return whole

    def _sampling(self, request: Request) -> dict[str, Any]:
        section = self._section
        return {
            "max_tokens": section.max_tokens,
            "min_tokens": section.min_tokens,
            "stop": list(section.stop),
            "temperature": section.temperature,
            "top_p": section.top_p,
            "seed": draw_seed(request, self._name),
            # the markers of thinking are special tokens in some models
            "skip_special_tokens": section.thinking is None,
            **{key: int(value) if key == "top_k" else value for key, value in self._arm.sampling.items()},
        }

    def _completion(self, request: Request, prompt: str, output: Any, asked: int, seconds: float) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            return Completion(request, "", "error", asked, error=f"vLLM ended it with {output.finish_reason!r}")
        thinking, text = thinking_apart(output.text, self._section.thinking, prompt)
        return Completion(request, text, output.finish_reason, asked, len(output.token_ids), seconds, thinking)
