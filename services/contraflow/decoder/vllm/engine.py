"""A vLLM engine in this process, which arms of the same weights share."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
import msgspec

from contraflow.decoder.adapter import Adapter, read_adapter, refuse_another_base
from contraflow.decoder.arm_model import model_of, refuse_no_place
from contraflow.decoder.vllm.binding import Binding, Vllm
from contraflow.decoder.vllm.ending import Ending
from contraflow.decoder.vllm.plan import EnginePlan, engine_options
from contraflow.decoder.vllm.saturation import Saturation
from contraflow.decoder.vllm.turns import in_turn
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.runtime.beside import beside
from contraflow.weights import ResolvedModel

__all__ = ["Engine", "said", "shared_engine"]

logger = logging.getLogger(__name__)

_engines: WeakValueDictionary[bytes, Engine] = WeakValueDictionary()


def shared_engine(plan: EnginePlan, bind: Callable[[], Binding] = Vllm) -> Engine:
    """The engine of this plan in this process, made when it is first asked for."""
    key = msgspec.json.encode((plan.arms, plan.section, str(plan.base_dir)))
    return _engines.setdefault(key, Engine(plan, bind))


class Engine:
    """Starts with its first user, again when it has died, and ends with its last user.

    ``saturation`` measures how much it is given at once, by all users together. ``llm`` is vLLM's AsyncLLM, ``context``
    the tokens that prompt and answer may have together, ``dtype`` what it computes with.
    """

    def __init__(self, plan: EnginePlan, bind: Callable[[], Binding] = Vllm) -> None:
        self.plan = plan
        self.binding: Binding
        self.saturation = Saturation()
        self.source: ResolvedModel
        self.adapters: dict[str, Adapter] = {}
        self.llm: Any = None
        self.context = 0
        self.dtype = ""
        self._bind = bind
        self._held: dict[str, int] = {}
        self._turn = anyio.Lock()
        self._ending = Ending()
        self._failures: list[tuple[type[ConfigurationError | GeneratorError], str]] = []
        self._read = self._cached = 0

    async def acquire(self, arm: str) -> None:
        """Let an arm use it; it is started if it does not run.

        :raises GeneratorError: if it cannot start; names the arm and the field.
        """
        failures = len(self._failures)
        async with self._turn:
            if len(self._failures) > failures:  # while this arm waited: it would take as long to fail once more
                kind, said = self._failures[-1]
                raise kind(said)
            if self.llm is None or self.llm.errored:
                await self._stop()
                # apart: the import keeps errors of its own with the frames below them, and those must not hold an engine
                self.binding = await anyio.to_thread.run_sync(self._bind)
                await self._begin()
            self._held.setdefault(arm, 0)

    async def release(self, arm: str) -> None:
        """Give it back: the last one stops it, and a dead one is put away."""
        async with self._turn:
            self._held.pop(arm, None)
            if not self._held:
                logger.info("%s", self.usage or "vLLM answered nothing")
            if not self._held or (self.llm is not None and self.llm.errored):
                await self._stop()

    async def _begin(self) -> None:
        try:
            async with in_turn() if self.binding.on_gpu else nullcontext():
                await anyio.to_thread.run_sync(self._ending.begin)
                async with beside(self._ending.watch):
                    self.llm = await anyio.to_thread.run_sync(self._start)
            self._ending.look()
        except BaseException as error:
            if isinstance(error, ConfigurationError | GeneratorError):
                self._failures.append((type(error), str(error)))
            with anyio.CancelScope(shield=True):
                await self._stop()
            raise

    async def _stop(self) -> None:
        held, self.llm = [self.llm], None
        if held[0] is not None:
            # popped there: the thread keeps what it was called with for a moment longer than it runs
            await anyio.to_thread.run_sync(lambda: held.pop().shutdown())
            # its destructor shuts down once more, and at the end of the process what that calls is gone
            gc.collect()
        await anyio.to_thread.run_sync(self._ending.close)

    def room(self, arm: str) -> int:
        """How many requests an arm may hold: its share, or what the others leave."""
        total = self.saturation.capacity
        others = sum(self._held.values()) - self._held.get(arm, 0)
        return max(1, total // max(1, len(self._held)), total - others)

    def hold(self, arm: str, more: int) -> None:
        """An arm gives it so many more requests."""
        if arm in self._held:
            self._held[arm] += more

    def read(self, tokens: int, cached: int) -> None:
        """It has read a prompt of so many tokens, of which so many were in its prefix cache."""
        self._read += tokens
        self._cached += cached

    @property
    def usage(self) -> str:
        """How much it was given at once and what its prefix cache spared, in words; nothing before the first answer."""
        if not self._read:
            return ""
        more = "; it would have taken more: a larger generator.batch makes larger epochs"
        return (
            f"vLLM of {', '.join(self.plan.arms)}: {self.saturation.capacity} requests at once, "
            f"{100 * self._cached / self._read:.0f} % of {self._read} prompt tokens from the prefix cache"
            + (more if self.saturation.starved else "")
        )

    # starting, in a thread

    def _start(self) -> Any:
        plan = self.plan
        self.source = model_of(plan.any, plan.field, plan.base_dir)
        for name, arm in plan.arms.items():
            if arm.lora is not None:
                field = f"arms.{name}.lora"
                self.adapters[name] = read_adapter(plan.base_dir / arm.lora, field)
                refuse_another_base(self.adapters[name], self.source.path, field)
        try:
            defaults = self.binding.defaults(self.source.path, plan.on_card)
            llm = self.binding.start(engine_options(plan, self.source.path, self.adapters, defaults))
        except (ConfigurationError, GeneratorError):
            raise
        except Exception as error:  # vLLM and torch raise whatever they like
            raise GeneratorError(
                f"{plan.field}: vLLM could not start with {self.source.path}: {said(error)}" + _advice(error)
            ) from error
        self.context = llm.vllm_config.model_config.max_model_len
        self.dtype = str(llm.vllm_config.model_config.dtype).removeprefix("torch.")
        self.saturation.bound(llm.vllm_config.scheduler_config.max_num_seqs)
        try:
            refuse_no_place(
                plan.section, self.context, f"the engine of {plan.field}", "lower it, or give it more memory"
            )
        except GeneratorError:
            llm.shutdown()
            del llm  # the error keeps this frame
            raise
        return llm


def _advice(error: BaseException) -> str:
    """What to do about an engine whose process has ended; a wrong option fails before, and says all there is to say."""
    if isinstance(error, ValueError):
        return ""
    return (
        ". What its engine said of it stands above. Where memory is short, lower generator.options.max_model_len or "
        "kv_cache_memory_bytes (on a GPU gpu_memory_utilization), or take a smaller model"
    )


def said(error: BaseException) -> str:
    """The first line of what an error says, without its full stop; of a configuration of vLLM, what is wrong with it."""
    if callable(errors := getattr(error, "errors", None)):  # pydantic's first line is how many there are
        return "; ".join(one["msg"].removeprefix("Value error, ") for one in errors()).rstrip(".")
    return (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
