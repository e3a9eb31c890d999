"""Where vLLM is imported, and what of it is used. A test binds a fake engine of the same interface here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.precision import native
from contraflow.runtime.peaks import free_memory

__all__ = ["Binding", "Vllm"]

_GIB = 2**30
_CARD = 90
"""Percent of a card's memory that engines on it take together; the encoder has its place in the rest."""
_CONTEXT = 8192
"""Tokens that a prompt and its answer may have on a CPU; generator.options.max_model_len says otherwise."""
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # nothing leaves the machine that the experiment does not name
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for --json
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of a process with threads may hang
}


class Binding(Protocol):
    """What the generator uses of vLLM. ``dead`` is raised by an engine that has died, ``refused`` for one request.

    ``on_gpu``: an engine measures what its card has left while it starts, so that no other may start meanwhile.
    """

    dead: type[Exception]
    refused: tuple[type[Exception], ...]
    on_gpu: bool

    def defaults(self, model: Path, on_card: int) -> dict[str, Any]:
        """Engine arguments where the experiment names none, for a model and so many engines on its card."""
        ...

    def start(self, options: dict[str, Any]) -> Any:
        """An AsyncLLM with these engine arguments; blocks for as long as that takes."""
        ...

    def sampling(self, **parameters: Any) -> Any:
        """SamplingParams of a text that comes whole."""
        ...

    def adapter(self, name: str, number: int, folder: Path) -> Any:
        """A LoRARequest."""
        ...


class Vllm:
    """The installed vLLM.

    :raises ConfigurationError: if it is missing, or cannot be imported.
    """

    def __init__(self) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from vllm import AsyncEngineArgs, SamplingParams
            from vllm.exceptions import VLLMValidationError
            from vllm.lora.request import LoRARequest
            from vllm.platforms import current_platform
            from vllm.sampling_params import RequestOutputKind
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM
            from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
        except Exception as error:  # a wrong installation fails with whatever its libraries raise
            raise ConfigurationError(
                f"generator.backend: vllm cannot be imported ({type(error).__name__}: {error}). Without a GPU run "
                "`make vllm`, with one `pip install 'contraflow[vllm]'`; `contraflow doctor` says what is wrong with it"
            ) from error
        self.dead: type[Exception] = EngineDeadError
        self.refused: tuple[type[Exception], ...] = (VLLMValidationError, ValueError, EngineGenerateError)
        self._llm, self._arguments = AsyncLLM, AsyncEngineArgs
        self._sampling, self._whole, self._adapter = SamplingParams, RequestOutputKind.FINAL_ONLY, LoRARequest
        # by it vLLM chooses how much an engine takes at once where nobody says: for a GPU of 80 GB 1,024 requests as a batch
        # has it, and 128 as it is called by default, which is too little to fill it
        self._use = UsageContext.LLM_CLASS
        self.on_gpu = not current_platform.is_cpu()

    def defaults(self, model: Path, on_card: int) -> dict[str, Any]:
        """Engine arguments where the experiment names none: the context as long as the memory takes; for a CPU more.

        Engines on one card get equal parts of it: by itself each takes .92, and the second does not start.

        :raises GeneratorError: if there is no memory for the weights.
        """
        if self.on_gpu:
            return {"max_model_len": -1, "gpu_memory_utilization": _CARD // on_card / 100}
        free = free_memory()
        if free is not None:
            _refuse_too_large(model, free)
        settings = json.loads((model / "config.json").read_text())
        return {
            "enforce_eager": True,
            "kv_cache_memory_bytes": min(8 * _GIB, max(_GIB // 4, (free or 0) // 16)),
            "max_model_len": min(settings.get("max_position_embeddings", _CONTEXT), _CONTEXT),
            # vLLM itself takes the model's, which is bfloat16 as a rule, whatever the processor computes with
            "dtype": "float32" if native("cpu") == "float32" and "quantization_config" not in settings else "auto",
            # a prompt read in pieces kills the engine if its request has a seed ("CPU Generator does not use offset")
            "enable_chunked_prefill": False,
        }

    def start(self, options: dict[str, Any]) -> Any:
        """An AsyncLLM with these engine arguments.

        :raises ConfigurationError: if vLLM has no such argument.
        """
        try:
            arguments = self._arguments(**options)
        except TypeError as error:
            raise ConfigurationError(f"generator.options: no engine argument of vLLM: {error}") from error
        return self._llm.from_engine_args(arguments, usage_context=self._use)

    def sampling(self, **parameters: Any) -> Any:
        """SamplingParams of a text that comes whole."""
        return self._sampling(**parameters, output_kind=self._whole)

    def adapter(self, name: str, number: int, folder: Path) -> Any:
        """A LoRARequest."""
        return self._adapter(name, number, str(folder))


def _refuse_too_large(model: Path, free: int) -> None:
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    if weights > free:
        raise GeneratorError(
            f"the weights in {model} take {weights / _GIB:.1f} GiB, and {free / _GIB:.1f} GiB of memory are free; close what "
            "uses it, or take a smaller model"
        )
