"""Tokens a second through contraflow's decoder, against the engine's own offline throughput on the same prompts.

    python benchmarks/decoder.py            # needs `make vllm`; about ten minutes on two cores
    python benchmarks/decoder.py --quick    # prompts of their own alone, fewer texts, without transformers

Each row is a decoder on an embedded log: requests are read, decoded and committed, as in a run. Beside it stands vLLM's
LLM.generate, which has all prompts at once and nothing else to do, with the same engine arguments, seeds and lengths, one
engine after the other. Every text has --tokens tokens. Starting is not timed; the first texts, in which the decoder finds
out how much its engine takes, are a warm-up for both. CPU-seconds are those of this process and of its engine's: on a
machine with other work they say more than seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from rich.table import Table

from contraflow.configuration import experiment_from
from contraflow.decoder.generator import Completion, Generator, build, draw_seed
from contraflow.decoder.service import Decoder
from contraflow.decoder.vllm.generator import VllmGenerator
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Experiment
from contraflow.log.embedded import EmbeddedLog
from contraflow.runtime.drain import Drain
from contraflow.topics import specs
from contraflow.wire import Wire, partition_of
from screen import screen

EXAMPLES = Path(__file__).parents[1] / "examples"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SHARED = "You are a careful assistant. " + " ".join(
    f"Rule {i}: keep to what was asked, say what you know, and be brief." for i in range(1, 11)
)
"""A system prompt of about 170 tokens."""
WIRE = Wire("bench-1", 8)


@dataclass
class Spent:
    """What a part took."""

    tokens: int = 0
    seconds: float = 0.0
    cpu: float = 0.0


def cpu_seconds() -> float:
    """Of this process and all its children that live."""
    import psutil

    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(used.user + used.system for used in times))


@contextmanager
def spending(spent: Spent) -> Iterator[None]:
    started, cpu = time.perf_counter(), cpu_seconds()
    yield
    spent.seconds, spent.cpu = time.perf_counter() - started, cpu_seconds() - cpu


def experiment(backend: str, tokens: int, *, shared: bool, cache: bool) -> Experiment:
    arm: dict[str, Any] = {"model": MODEL} | ({"system_prompt": SHARED} if shared else {})
    options = {"enable_prefix_caching": cache} if backend == "vllm" else {}
    generator = {"backend": backend, "max_tokens": tokens, "min_tokens": tokens, "batch": 64, "options": options}
    return experiment_from(
        {"experiment": "bench", "arms": {"base": arm, "same": arm}, "generator": generator, "prompts": "unconditional"}
    )


def requests(count: int, first: int = 1) -> list[Request]:
    lines = (EXAMPLES / "kitchen" / "prompts.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    return [
        Request(
            seq=seq,
            request_id=f"bench-1:{seq}",
            prompt_id=f"p{seq % len(prompts)}",
            messages=(Message(role="user", content=prompts[seq % len(prompts)]),),
            draw=seq,
            seed=seq,
            epoch=1,
            origin=Origin.EXPLORE,
        )
        for seq in range(first, first + count)
    ]


class Started:
    """A generator that runs already, and counts what it answers."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.model, self.continuous = generator.model, generator.continuous
        self.answers = self.tokens = 0

    @property
    def capacity(self) -> int:
        """As the generator's."""
        return self._generator.capacity

    async def start(self) -> None:
        """It runs."""

    async def close(self) -> None:
        """It is needed again."""

    async def generate(self, asked: Sequence[Request]) -> AsyncIterator[Completion]:
        """As the generator's, counted."""
        async for answer in self._generator.generate(asked):
            assert answer.error is None, answer.error
            self.answers += 1
            self.tokens += answer.completion_tokens
            yield answer


async def decode(generator: Generator, asked: Sequence[Request]) -> Spent:
    """All of them through a decoder on a log of their own, until the last text is committed."""
    spent, started = Spent(), Started(generator)
    with tempfile.TemporaryDirectory() as folder:
        log = await EmbeddedLog.open(Path(folder) / "log")
        await log.create_topics(specs("bench-1", WIRE.partitions))
        producer = await log.producer("bench")
        await producer.commit(
            [WIRE.out("requests", r.request_id, r, partition=partition_of(r.seq, WIRE.partitions)) for r in asked]
        )
        await producer.close()
        drain = Drain()
        with spending(spent):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Decoder(log, WIRE, "base", started, drain).run)
                while started.answers < len(asked):  # noqa: ASYNC110 - the generator tells nobody
                    await anyio.sleep(0.02)
                drain.request("done")
        await log.close()
    spent.tokens = started.tokens
    return spent


async def through_contraflow(asked: Experiment, warm: int, count: int) -> tuple[Spent, str]:
    generator = build("base", asked, EXAMPLES)
    await generator.start()
    try:
        await decode(generator, requests(warm, 1_000_001))
        spent = await decode(generator, requests(count))
        return spent, f"{generator.capacity} at once" if isinstance(generator, VllmGenerator) else ""
    finally:
        await generator.close()


def prompts_of(asked: Experiment, options: dict[str, Any], count: int, first: int = 1) -> tuple[list[Any], list[Any]]:
    """(prompts, parameters) for LLM.generate, as the generator gives them to its engine."""
    from transformers import AutoTokenizer
    from vllm import SamplingParams

    from contraflow.decoder.prompting import Prompting

    section, tokenizer = asked.generator, AutoTokenizer.from_pretrained(options["model"])
    prompting = Prompting(tokenizer, "base", asked.arms["base"], chat=True)
    lengths = {"max_tokens": section.max_tokens, "min_tokens": section.min_tokens}
    listed = requests(count, first)
    prompts = [
        {"prompt_token_ids": tokenizer(prompting.prompt(r), add_special_tokens=False)["input_ids"]} for r in listed
    ]
    return prompts, [SamplingParams(**lengths, temperature=1.0, seed=draw_seed(r, "base")) for r in listed]


def offline(asked: Experiment, warm: int, count: int) -> Spent:
    """vLLM's LLM.generate."""  # noqa: D403 - it is its name
    from contraflow.decoder.vllm.binding import Vllm
    from contraflow.decoder.vllm.plan import engine_options, plan_engine
    from contraflow.weights import resolve_model

    binding, model = Vllm(), resolve_model(MODEL).path
    from vllm import LLM

    options = engine_options(plan_engine("base", asked, EXAMPLES), model, {}, binding.defaults(model, 1))
    llm, spent = LLM(**options), Spent()
    try:
        llm.generate(*prompts_of(asked, options, warm, 1_000_001), use_tqdm=False)
        prompts, parameters = prompts_of(asked, options, count)
        with spending(spent):
            answers = llm.generate(prompts, parameters, use_tqdm=False)
    finally:
        llm.llm_engine.engine_core.shutdown()
    spent.tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
    return spent


def row(prompts: str, who: str, spent: Spent, against: Spent | None, note: str = "") -> dict[str, Any]:
    rate, by_cpu = spent.tokens / spent.seconds, spent.tokens / spent.cpu
    share = None if against is None else rate / (against.tokens / against.seconds)
    share_cpu = None if against is None else by_cpu / (against.tokens / against.cpu)
    return {
        "prompts": prompts,
        "who": who,
        "tokens": spent.tokens,
        "tokens_per_second": rate,
        "share": share,
        "tokens_per_cpu_second": by_cpu,
        "share_by_cpu": share_cpu,
        "note": note,
    }


def measure(texts: int, tokens: int, warm: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    cases = [("their own", False, True)]
    if not quick:
        cases += [("170 tokens shared, cached", True, True), ("170 tokens shared, not cached", True, False)]
    for prompts, shared, cache in cases:
        asked = experiment("vllm", tokens, shared=shared, cache=cache)
        own = offline(asked, warm, texts)
        yield row(prompts, "vLLM, LLM.generate", own, None)
        spent, note = anyio.run(through_contraflow, asked, warm, texts)
        yield row(prompts, "contraflow, vllm", spent, own, note)
        if not quick and not shared:
            asked = experiment("transformers", tokens, shared=False, cache=False)
            spent, note = anyio.run(through_contraflow, asked, 64, texts)
            yield row(prompts, "contraflow, transformers", spent, own, "64 a batch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=40, help="of each text")
    parser.add_argument("--warm", type=int, default=256, help="texts before")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    texts = min(arguments.texts, 256) if arguments.quick else arguments.texts
    table = Table("prompts", "decoder", "tokens/s", "of LLM.generate", "tokens/CPU-s", "of LLM.generate", "")
    for found in measure(texts, arguments.tokens, arguments.warm, quick=arguments.quick):
        if arguments.json:
            print(json.dumps(found), flush=True)
        shares = ["" if found[key] is None else f"{found[key]:.0%}" for key in ("share", "share_by_cpu")]
        rates = [f"{found[key]:,.0f}" for key in ("tokens_per_second", "tokens_per_cpu_second")]
        table.add_row(found["prompts"], found["who"], rates[0], shares[0], rates[1], shares[1], found["note"])
    if not arguments.json:
        screen().print(table)


if __name__ == "__main__":
    main()
