"""An engine with the interface of vLLM's AsyncLLM, as far as contraflow uses it, that writes numbers instead of words."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio


class Dead(Exception):
    """As vLLM's EngineDeadError."""


class Refused(Exception):
    """As vLLM's VLLMValidationError."""


class FakeTokenizer:
    """A token a word."""

    chat_template: str | None = "yes"
    bos_token = "<s>"
    eos_token = "</s>"
    bos_token_id = 1

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return " ".join(f"{m['role']}: {m['content']}" for m in messages) + " assistant: "


class FakeLLM:
    """Answers after ten milliseconds; dies when told, and then raises for all. Only the collector of cycles frees it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.itself = self
        self.options = options
        self.errored = False
        self.stopped = False
        self.tokenizer = FakeTokenizer()
        self.asked: list[SimpleNamespace] = []
        self.loaded: list[Any] = []
        self._death = anyio.Event()
        length = options.get("max_model_len", -1)
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                max_model_len=100 if length == -1 else length,
                dtype="torch.bfloat16" if options["dtype"] == "auto" else f"torch.{options['dtype']}",
            ),
            scheduler_config=SimpleNamespace(max_num_seqs=options.get("max_num_seqs", 256)),
        )

    def get_tokenizer(self) -> FakeTokenizer:
        return self.tokenizer

    async def add_lora(self, lora: Any) -> bool:
        if lora.name == "refused":
            raise RuntimeError("DoRA is not supported\nTraceback ...")
        self.loaded.append(lora)
        return True

    def die(self) -> None:
        self.errored = True
        self._death.set()

    def shutdown(self) -> None:
        self.stopped = True

    async def generate(self, prompt: Any, sampling: Any, request_id: str, *, lora_request: Any) -> AsyncIterator[Any]:
        if self.errored:
            raise Dead
        if sampling.temperature > 2:
            raise Refused("temperature is too high")
        self.asked.append(SimpleNamespace(prompt=prompt, sampling=sampling, id=request_id, lora=lora_request))
        with anyio.move_on_after(0.01):
            await self._death.wait()
        if self.errored:
            raise Dead
        said = f"{lora_request.name if lora_request else 'base'} {sampling.seed}"
        tokens = min(sampling.max_tokens, 4)
        output = SimpleNamespace(text=said, token_ids=list(range(tokens)), finish_reason="stop")
        yield SimpleNamespace(outputs=[output], num_cached_tokens=1, finished=True)


class FakeVllm:
    """Binds the fake engine; keeps every engine that it started, and how many started at once."""

    dead: type[Exception] = Dead
    refused: tuple[type[Exception], ...] = (Refused,)

    def __init__(self, on_gpu: bool = False) -> None:
        self.on_gpu = on_gpu
        self.started: list[FakeLLM] = []
        self.fails: Exception | None = None
        self.tries = 0
        self.starting: list[int] = []
        self._starts = 0
        self.slow = False
        self.dtype = "auto"

    def defaults(self, model: Path, on_card: int) -> dict[str, Any]:
        return {"max_model_len": -1, "on_card": on_card, "dtype": self.dtype}

    def start(self, options: dict[str, Any]) -> FakeLLM:
        self._starts += 1
        self.starting.append(self._starts)
        time.sleep(0.3 if self.slow else 0)
        self._starts -= 1
        self.tries += 1
        if self.fails is not None:
            raise self.fails
        self.started.append(FakeLLM(options))
        return self.started[-1]

    def sampling(self, **parameters: Any) -> Any:
        return SimpleNamespace(**parameters)

    def adapter(self, name: str, number: int, folder: Path) -> Any:
        return SimpleNamespace(name=name, number=number, folder=folder)


def write_safetensors(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros, in bfloat16."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(offset))


def write_model(folder: Path, width: int = 8) -> Path:
    """A model of one layer."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write_safetensors(
        folder / "model.safetensors",
        {"model.q_proj.weight": (width, width), "model.v_proj.weight": (width // 2, width), "norm": (width,)},
    )
    return folder


def write_adapter(folder: Path, width: int = 8, rank: int = 4, **settings: Any) -> Path:
    """A LoRA of that model."""
    folder.mkdir()
    kept = {"r": rank, "base_model_name_or_path": "org/small", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    write_safetensors(
        folder / "adapter_model.safetensors",
        {
            "base_model.model.model.q_proj.lora_A.weight": (rank, width),
            "base_model.model.model.q_proj.lora_B.weight": (width, rank),
            "base_model.model.model.v_proj.lora_A.weight": (rank, width),
            "base_model.model.model.v_proj.lora_B.weight": (width // 2, rank),
        },
    )
    return folder
