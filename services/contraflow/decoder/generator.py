"""What a generator is, and which one an experiment asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from contraflow.errors import ConfigurationError
from contraflow.events import Request
from contraflow.experiment import Experiment

__all__ = ["Completion", "Generator", "build", "draw_seed"]


class Completion(NamedTuple):
    """One answer. ``finish_reason`` is ``stop``, ``length`` or ``error``; with ``error`` the text is empty."""

    request: Request
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    thinking: str | None = None
    error: str | None = None


class Generator(Protocol):
    """Answers requests. One that has a text ``usage`` says there how its engine was used, which the report shows."""

    @property
    def model(self) -> str:
        """The fingerprint of the model and the intervention; after ``start`` the last word."""
        ...

    @property
    def capacity(self) -> int:
        """How many requests it likes to hold; a continuous generator may change it at any time."""
        ...

    @property
    def continuous(self) -> bool:
        """Whether it takes more requests while it answers others.

        It is then asked one request a call, up to ``capacity`` calls at once; else a batch, and the next when all of
        that is answered.
        """
        ...

    async def start(self) -> None:
        """Load what is needed.

        :raises GeneratorError: if a model is missing or an adapter does not fit; names the arm and the field.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Answer each request once, in any order.

        A request that fails gets a completion with ``error``; raising means that the engine is dead.
        """
        ...

    async def close(self) -> None:
        """Give the engine's resources back."""
        ...


def draw_seed(request: Request, arm: str) -> int:
    """A 63-bit seed of its own for each request and arm: draws are fresh coins, and the arms independent."""
    digest = blake2b(f"{request.seed}:{arm}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def build(arm: str, experiment: Experiment, base_dir: Path, together: Sequence[str] = ()) -> Generator:
    """The generator of an arm. One that replays is made from its texts, which are read once for all arms.

    ``together`` are the arms that this process decodes, which may share an engine.

    :raises ConfigurationError: if the backend is unknown or lacks what it needs.
    """
    backend = experiment.generator.backend
    if backend == "scripted":
        from contraflow.decoder.scripted import ScriptedGenerator

        return ScriptedGenerator.build(arm, experiment, base_dir)
    if backend == "transformers":
        from contraflow.decoder.transformers.generator import TransformersGenerator

        return TransformersGenerator(arm, experiment.arms[arm], experiment.generator, base_dir)
    if backend == "vllm":
        from contraflow.decoder.vllm.generator import VllmGenerator

        return VllmGenerator.build(arm, experiment, base_dir, together)
    if backend == "openai":
        from contraflow.decoder.openai.generator import OpenAIGenerator

        return OpenAIGenerator(arm, experiment.arms[arm], experiment.generator)
    if ":" in backend:
        from contraflow.decoder.user import UserGenerator

        return UserGenerator(arm, experiment.arms[arm], experiment.generator, base_dir)
    raise ConfigurationError(
        f"generator.backend: unknown backend {backend!r}; choose transformers, vllm, openai, scripted, replay, or your own as "
        "my_module:function"
    )
