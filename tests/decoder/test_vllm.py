"""The vLLM generator on a fake engine of the same interface; test_vllm_real.py has the real one."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest

from contraflow.configuration import experiment_from
from contraflow.decoder.generator import Completion, draw_seed
from contraflow.decoder.service import Decoder
from contraflow.decoder.vllm.binding import Vllm
from contraflow.decoder.vllm.engine import shared_engine
from contraflow.decoder.vllm.generator import VllmGenerator
from contraflow.decoder.vllm.plan import plan_engine
from contraflow.decoder.vllm.turns import in_turn
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.events import Message, Origin, Request, Text, decode
from contraflow.experiment import Experiment
from contraflow.log.embedded import EmbeddedLog
from contraflow.packages import is_installed
from contraflow.results import read_topic
from contraflow.runtime.drain import Drain
from contraflow.topics import specs
from contraflow.wire import Wire, partition_of
from fake_vllm import Dead, FakeTokenizer, FakeVllm, write_adapter, write_model

Declared = dict[str, Any]
BASE: Declared = {"model": "small"}
TUNED: Declared = {"model": "small", "lora": "adapter"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "small")
    write_adapter(tmp_path / "adapter")
    return tmp_path


@pytest.fixture
def fake() -> FakeVllm:
    return FakeVllm()


def experiment(arms: dict[str, Declared], **generator: Any) -> Experiment:
    return experiment_from(
        {
            "experiment": "x",
            "arms": arms,
            "generator": {"backend": "vllm", "max_tokens": 10, **generator},
            "prompts": "unconditional",
        }
    )


def generators(
    fake: FakeVllm, folder: Path, asked: Experiment, together: Sequence[str] | None = None
) -> dict[str, VllmGenerator]:
    names = tuple(asked.arms) if together is None else together
    return {
        name: VllmGenerator(name, shared_engine(plan_engine(name, asked, folder, names), lambda: fake))
        for name in asked.arms
    }


def request(seq: int, prompt: str = "how do I cook rice") -> Request:
    return Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        messages=(Message(role="user", content=prompt),),
        draw=seq,
        seed=seq,
        epoch=1,
        origin=Origin.EXPLORE,
    )


async def answers(generator: VllmGenerator, *requests: Request) -> list[Completion]:
    return [completion async for completion in generator.generate(requests)]


async def why_it_does_not_start(generator: VllmGenerator) -> str:
    with pytest.raises(GeneratorError) as caught:
        await generator.start()
    return str(caught.value)


async def test_arms_that_differ_by_adapter_prompt_or_sampling_share_one_engine(fake: FakeVllm, folder: Path) -> None:
    arms: dict[str, Declared] = {
        "base": BASE,
        "tuned": TUNED,
        "polite": BASE | {"system_prompt": "be polite"},
        "cold": BASE | {"sampling": {"temperature": 0.1, "top_k": 5.0}, "prefix": "Well,"},
    }
    made = generators(fake, folder, experiment(arms))
    async with anyio.create_task_group() as tasks:
        for generator in made.values():
            tasks.start_soon(generator.start)
    (llm,) = fake.started
    said = {name: (await answers(generator, request(1)))[0].text for name, generator in made.items()}
    assert said == {name: f"{'tuned' if name == 'tuned' else 'base'} {draw_seed(request(1), name)}" for name in arms}
    by_arm = {asked.id.partition(":")[0]: asked for asked in llm.asked}
    assert [len(by_arm[name].prompt["prompt_token_ids"]) for name in arms] == [7, 7, 10, 8]
    assert by_arm["cold"].sampling.temperature == 0.1
    assert by_arm["cold"].sampling.top_k == 5
    assert isinstance(by_arm["cold"].sampling.top_k, int)
    assert llm.options["max_loras"] == 2  # and one of them stays empty
    for generator in made.values():
        assert not llm.stopped
        await generator.close()
    assert llm.stopped


async def test_an_engine_that_was_given_back_is_gone_and_not_left_for_the_end_of_the_process(
    fake: FakeVllm, folder: Path
) -> None:
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))
    for generator in made.values():
        await generator.start()
        await answers(generator, request(1))
    llm = weakref.ref(fake.started.pop())
    for generator in made.values():
        assert llm() is not None
        await generator.close()
    assert llm() is None


async def test_an_engine_is_gone_although_the_import_keeps_errors_with_the_frames_that_led_to_it(
    fake: FakeVllm, folder: Path
) -> None:
    kept: list[ImportError] = []

    def bind() -> FakeVllm:
        try:
            raise ImportError("no triton")
        except ImportError as error:
            kept.append(error)
        return fake

    asked = experiment({"base": BASE, "tuned": TUNED})
    generator = VllmGenerator("base", shared_engine(plan_engine("base", asked, folder, ("base",)), bind))
    await generator.start()
    llm = weakref.ref(fake.started.pop())
    await generator.close()
    assert llm() is None
    assert kept[0].__traceback__ is not None


async def test_an_engine_that_is_of_no_use_is_gone_although_its_error_is_kept(fake: FakeVllm, folder: Path) -> None:
    asked = experiment({"base": BASE, "tuned": TUNED}, options={"max_model_len": 10})
    with pytest.raises(GeneratorError, match=r"generator\.max_tokens") as kept:
        await generators(fake, folder, asked)["base"].start()
    llm = weakref.ref(fake.started.pop())
    gc.collect()
    assert llm() is None
    assert kept.tb is not None


async def test_arms_of_other_weights_have_an_engine_each(fake: FakeVllm, folder: Path) -> None:
    write_model(folder / "other")
    made = generators(fake, folder, experiment({"base": BASE, "tuned": {"model": "other"}}))
    for generator in made.values():
        await generator.start()
    assert [Path(llm.options["model"]).name for llm in fake.started] == ["small", "other"]
    assert ["enable_lora" in llm.options for llm in fake.started] == [False, False]
    assert made["base"].model != made["tuned"].model
    for generator in made.values():
        await generator.close()


async def test_where_nobody_said_weights_that_are_not_quantised_are_computed_as_the_processor_does(
    fake: FakeVllm, folder: Path
) -> None:
    fake.dtype = "float32"  # of a processor without bfloat16
    made = generators(fake, folder, experiment({"base": BASE, "small": BASE | {"quantization": "fp8"}}))
    said = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}, dtype="bfloat16"))
    for generator in (*made.values(), *said.values()):
        await generator.start()
    assert [llm.options["dtype"] for llm in fake.started] == ["float32", "auto", "bfloat16"]
    assert made["base"].model == said["base"].model + "+float32"
    for generator in (*made.values(), *said.values()):
        await generator.close()


async def test_another_quantisation_is_another_engine(fake: FakeVllm, folder: Path) -> None:
    made = generators(fake, folder, experiment({"base": BASE, "small": BASE | {"quantization": "fp8"}}))
    for generator in made.values():
        await generator.start()
    assert [llm.options.get("quantization") for llm in fake.started] == [None, "fp8"]
    assert made["small"].model == made["base"].model + "+fp8"
    for generator in made.values():
        await generator.close()


async def test_a_process_that_decodes_one_arm_prepares_its_engine_for_that_alone(fake: FakeVllm, folder: Path) -> None:
    asked = experiment({"base": BASE, "tuned": TUNED})
    generator = generators(fake, folder, asked, together=["base"])["base"]
    await generator.start()
    assert "enable_lora" not in fake.started[0].options
    await generator.close()


async def test_what_a_text_cost_and_why_it_ended_is_told(fake: FakeVllm, folder: Path) -> None:
    generator = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["tuned"]
    await generator.start()
    first, second = await answers(generator, request(1), request(2))
    assert {first.request.seq, second.request.seq} == {1, 2}
    assert (first.prompt_tokens, first.completion_tokens, first.finish_reason) == (7, 4, "stop")
    assert first.seconds > 0
    assert generator.model.startswith("small-")
    assert "+adapter-" in generator.model
    await generator.close()


async def test_a_context_too_long_fails_its_request_and_is_never_cut(fake: FakeVllm, folder: Path) -> None:
    generator = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["base"]
    await generator.start()
    fits, long = request(1, "word " * 88), request(2, "word " * 89)
    by_seq = {answer.request.seq: answer for answer in await answers(generator, fits, long)}
    assert by_seq[1].error is None
    assert by_seq[2].error is not None
    assert "the prompt has 91 tokens; beside the 10 of generator.max_tokens the engine takes 90" in by_seq[2].error
    await generator.close()


async def test_a_request_that_the_engine_refuses_fails_alone(fake: FakeVllm, folder: Path) -> None:
    arms: dict[str, Declared] = {"base": BASE, "hot": BASE | {"sampling": {"temperature": 3.0}}}
    made = generators(fake, folder, experiment(arms))
    for generator in made.values():
        await generator.start()
    (refused,) = await answers(made["hot"], request(1))
    assert refused.error == "vLLM refused it: temperature is too high"
    (well,) = await answers(made["base"], request(1))
    assert well.error is None
    for generator in made.values():
        await generator.close()


async def test_the_arms_of_an_engine_share_its_room_and_take_what_others_leave(fake: FakeVllm, folder: Path) -> None:
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))
    base, tuned = made.values()
    await base.start()
    assert base.capacity == 64
    await tuned.start()
    assert (base.capacity, tuned.capacity) == (64, 64)
    engine = base._engine
    engine.hold("base", 48)
    assert (base.capacity, tuned.capacity) == (64, 32)
    engine.hold("tuned", 32)
    assert (base.capacity, tuned.capacity) == (32, 32)
    engine.hold("base", -48)
    engine.hold("tuned", -32)
    await tuned.close()
    await base.close()


async def test_a_dead_engine_is_started_once_for_all_its_arms(fake: FakeVllm, folder: Path) -> None:
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))
    for generator in made.values():
        await generator.start()
    fake.started[0].die()
    for generator in made.values():
        with pytest.raises(Dead):
            await answers(generator, request(1))
    for generator in made.values():
        await generator.close()
        await generator.start()
    assert len(fake.started) == 2
    assert fake.started[0].stopped
    assert [lora.name for lora in fake.started[1].loaded] == ["tuned"]
    for generator in made.values():
        assert (await answers(generator, request(1)))[0].error is None
        await generator.close()
    assert fake.started[1].stopped


# what is refused when it starts


@pytest.mark.parametrize(
    ("rank", "options", "expected"),
    [(4, {}, 8), (64, {}, 64), (65, {}, 128), (4, {"max_lora_rank": 16}, 16)],
)
async def test_the_rank_of_the_engine_is_that_of_the_adapter(
    fake: FakeVllm, folder: Path, rank: int, options: dict[str, int], expected: int
) -> None:
    write_adapter(folder / "ranked", rank=rank)
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED | {"lora": "ranked"}}, options=options))
    await made["tuned"].start()
    assert fake.started[0].options["max_lora_rank"] == expected
    await made["tuned"].close()


async def test_a_rank_above_the_engines_is_refused(fake: FakeVllm, folder: Path) -> None:
    write_adapter(folder / "ranked", rank=4, rank_pattern={"q_proj": 24})
    arms: dict[str, Declared] = {"base": BASE, "tuned": TUNED | {"lora": "ranked"}}
    said = await why_it_does_not_start(
        generators(fake, folder, experiment(arms, options={"max_lora_rank": 8}))["tuned"]
    )
    assert "arms.tuned.lora: its rank is 24, above generator.options.max_lora_rank 8" in said
    write_adapter(folder / "huge", rank=600)
    arms["tuned"] = TUNED | {"lora": "huge"}
    said = await why_it_does_not_start(generators(fake, folder, experiment(arms))["tuned"])
    assert "arms.tuned.lora: its rank is 600, and vLLM takes 512 at most. `contraflow merge`" in said
    assert not fake.started


async def test_an_adapter_of_another_base_is_refused_before_the_engine_starts(fake: FakeVllm, folder: Path) -> None:
    write_adapter(folder / "wide", width=16)
    arms: dict[str, Declared] = {"base": BASE, "tuned": TUNED | {"lora": "wide"}}
    said = await why_it_does_not_start(generators(fake, folder, experiment(arms))["tuned"])
    assert "arms.tuned.lora: the adapter in" in said
    assert "changes model.q_proj, 16 x 16, which is 8 x 8 in the model. It was trained on 'org/small'" in said
    assert not fake.started


async def test_a_folder_without_an_adapter_is_refused(fake: FakeVllm, folder: Path) -> None:
    arms: dict[str, Declared] = {"base": BASE, "tuned": TUNED | {"lora": "small"}}
    said = await why_it_does_not_start(generators(fake, folder, experiment(arms))["tuned"])
    assert "arms.tuned.lora: there is no adapter in" in said
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 20)
    said = await why_it_does_not_start(generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["tuned"])
    assert "arms.tuned.lora: the adapter in" in said
    assert "cannot be read" in said


async def test_an_adapter_that_the_engine_does_not_take_is_refused(fake: FakeVllm, folder: Path) -> None:
    arms: dict[str, Declared] = {"base": BASE, "refused": TUNED}
    generator = generators(fake, folder, experiment(arms))["refused"]
    said = await why_it_does_not_start(generator)
    assert "arms.refused.lora: vLLM does not take the adapter" in said
    assert "DoRA is not supported. `contraflow merge`" in said
    assert fake.started[0].stopped


async def test_a_model_that_is_not_there_is_named(fake: FakeVllm, folder: Path) -> None:
    arms: dict[str, Declared] = {"base": {"model": "org/none", "revision": "0"}, "tuned": TUNED}
    said = await why_it_does_not_start(generators(fake, folder, experiment(arms))["base"])
    assert said.startswith("arms.base.model: model 'org/none' was not found")


async def test_a_tokenizer_without_a_chat_template_is_refused(
    fake: FakeVllm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTokenizer, "chat_template", None)
    said = await why_it_does_not_start(generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["base"])
    assert "arms.base.model: its tokenizer has no chat template. Write generator.chat: false" in said
    assert fake.started[0].stopped


async def test_what_an_answer_must_be_goes_into_its_sampling(fake: FakeVllm, folder: Path) -> None:
    asked = experiment({"base": BASE, "tuned": TUNED}, stop=["###"], min_tokens=3, thinking=["<think>", "</think>"])
    generator = generators(fake, folder, asked)["base"]
    await generator.start()
    await answers(generator, request(1))
    sampling = fake.started[0].asked[0].sampling
    assert (sampling.stop, sampling.min_tokens, sampling.skip_special_tokens) == (["###"], 3, False)
    await generator.close()


async def test_an_engine_that_cannot_start_says_what_to_lower(fake: FakeVllm, folder: Path) -> None:
    fake.fails = RuntimeError("Engine core initialization failed.\nmore")
    said = await why_it_does_not_start(generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["base"])
    assert said.startswith("arms.base.model: vLLM could not start with")
    assert "Engine core initialization failed. What its engine said of it stands above" in said
    assert "generator.options.max_model_len" in said


async def test_a_configuration_that_vllm_refuses_is_told_whole_and_blames_no_memory(
    fake: FakeVllm, folder: Path
) -> None:
    class Wrong(ValueError):
        """As pydantic's, whose first line is how many there are."""

        def errors(self) -> list[dict[str, str]]:
            return [{"msg": "Value error, World size (2) is larger than the number of GPUs (1)"}, {"msg": "and more."}]

    fake.fails = Wrong("1 validation error for ParallelConfig\n  Value error, World size ...")
    said = await why_it_does_not_start(generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["base"])
    assert said.endswith("World size (2) is larger than the number of GPUs (1); and more")


async def test_an_engine_that_cannot_start_is_tried_once_for_all_arms_that_wait_for_it(
    fake: FakeVllm, folder: Path
) -> None:
    fake.fails = RuntimeError("no memory")
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))
    said: list[str] = []

    async def start(generator: VllmGenerator) -> None:
        said.append(await why_it_does_not_start(generator))

    async with anyio.create_task_group() as tasks:
        for generator in made.values():
            tasks.start_soon(start, generator)
    assert len(set(said)) == 1 and "no memory" in said[0]
    assert fake.tries == 1, "it takes as long to fail once more"
    fake.fails = None
    await made["tuned"].start()
    await made["tuned"].close()


async def test_answers_that_leave_no_place_for_a_prompt_are_refused(fake: FakeVllm, folder: Path) -> None:
    asked = experiment({"base": BASE, "tuned": TUNED}, options={"max_model_len": 10})
    said = await why_it_does_not_start(generators(fake, folder, asked)["base"])
    assert said.startswith("generator.max_tokens: 10 leave no place for a prompt in the 10 tokens")
    assert fake.started[0].stopped


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the modules of a vLLM for GPUs, put in place of the installed ones, are told that they are for."""
    uses: list[str] = []
    engine = SimpleNamespace(from_engine_args=lambda _, *, usage_context="ENGINE_CONTEXT": uses.append(usage_context))
    said: dict[str, dict[str, Any]] = {
        "vllm": {"AsyncEngineArgs": SimpleNamespace, "SamplingParams": SimpleNamespace},
        "vllm.exceptions": {"VLLMValidationError": ValueError},
        "vllm.lora.request": {"LoRARequest": SimpleNamespace},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: False)},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY=2)},
        "vllm.usage.usage_lib": {"UsageContext": SimpleNamespace(LLM_CLASS="LLM_CLASS")},
        "vllm.v1.engine.async_llm": {"AsyncLLM": engine},
        "vllm.v1.engine.exceptions": {"EngineDeadError": Dead, "EngineGenerateError": Dead},
    }
    for name, names in said.items():
        module = ModuleType(name)
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, module)
    return uses


def test_an_engine_takes_as_much_at_once_as_vllm_gives_a_batch(uses: list[str]) -> None:
    Vllm().start({"model": "small"})
    assert uses == ["LLM_CLASS"], "its own default is an engine of 128 requests, whatever the GPU"


@pytest.mark.usefixtures("uses")
@pytest.mark.parametrize(("engines", "share"), [(1, 0.9), (2, 0.45), (3, 0.3), (4, 0.22)])
def test_engines_on_one_card_get_equal_parts_of_it(folder: Path, engines: int, share: float) -> None:
    assert Vllm().defaults(folder / "small", engines)["gpu_memory_utilization"] == share


@pytest.mark.usefixtures("uses")
@pytest.mark.parametrize(
    ("computes", "config", "dtype"),
    [("bfloat16", {}, "auto"), ("float32", {}, "float32"), ("float32", {"quantization_config": {}}, "auto")],
)
def test_on_a_processor_without_bfloat16_an_engine_computes_with_float32(
    folder: Path, computes: str, config: dict[str, Any], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.decoder.vllm.binding.native", lambda device: computes)
    (folder / "plain").mkdir()
    (folder / "plain" / "config.json").write_text(json.dumps(config))
    binding = Vllm()
    binding.on_gpu = False
    assert binding.defaults(folder / "plain", 1)["dtype"] == dtype


@pytest.mark.parametrize(
    ("devices", "together", "on_card"),
    [
        # in one process: base and tuned share an engine, other has one of its own
        (((), (), ()), ("base", "tuned", "other"), (2, 2, 2)),
        # a process an arm, and nothing said of their cards
        (((), (), ()), (), (3, 3, 3)),
        ((("cuda:0",), ("cuda:1",), ("cuda:0",)), (), (2, 1, 2)),
        ((("cuda:0",), ("cuda:1", "cuda:2"), ()), (), (2, 1, 2)),  # without a word it is the first
    ],
)
def test_an_engine_knows_how_many_may_be_on_its_card(
    folder: Path, devices: Sequence[tuple[str, ...]], together: Sequence[str], on_card: tuple[int, ...]
) -> None:
    arms = {"base": BASE, "tuned": TUNED, "other": {"model": "other"}}
    asked = experiment({name: arm | {"devices": own} for (name, arm), own in zip(arms.items(), devices, strict=True)})
    assert tuple(plan_engine(name, asked, folder, together).on_card for name in arms) == on_card


@pytest.mark.parametrize("on_gpu", [True, False])
async def test_engines_on_a_gpu_start_one_after_the_other(
    folder: Path, on_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    write_model(folder / "other")
    fake = FakeVllm(on_gpu)
    fake.slow = True
    made = generators(fake, folder, experiment({"base": BASE, "tuned": {"model": "other"}}))
    async with anyio.create_task_group() as tasks:
        for generator in made.values():
            tasks.start_soon(generator.start)
    assert fake.starting == ([1, 1] if on_gpu else [1, 2])
    assert [llm.options["on_card"] for llm in fake.started] == [2, 2]
    for generator in made.values():
        await generator.close()


async def test_who_waits_for_another_engine_to_start_can_be_told_to_stop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    fake = FakeVllm(on_gpu=True)
    generator = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))["base"]
    async with in_turn():
        with anyio.move_on_after(0.5) as scope:
            await generator.start()
    assert scope.cancelled_caught
    assert not fake.starting


@pytest.mark.skipif(is_installed("vllm"), reason="vLLM is installed here")
async def test_without_vllm_it_says_how_to_install_it(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"generator.backend: vllm cannot be imported .*make vllm.*contraflow doctor"
    ):
        await VllmGenerator.build("base", experiment({"base": BASE, "tuned": TUNED}), folder, ()).start()


# in a decoder


WIRE, COUNT = Wire("x-1", 4), 200


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log")
    await opened.create_topics(specs("x-1", WIRE.partitions))
    producer = await opened.producer("test")
    await producer.commit(
        [
            WIRE.out("requests", asked.request_id, asked, partition=partition_of(asked.seq, WIRE.partitions))
            for asked in map(request, range(1, COUNT + 1))
        ]
    )
    await producer.close()
    yield opened
    await opened.close()


async def texts(log: EmbeddedLog) -> list[Text]:
    return [decode(record.value or b"", Text) for record in await read_topic(log, WIRE, "texts")]


async def test_an_engine_that_is_killed_ten_times_loses_no_request_of_either_arm(
    fake: FakeVllm, folder: Path, log: EmbeddedLog
) -> None:
    made = generators(fake, folder, experiment({"base": BASE, "tuned": TUNED}))
    drain = Drain()
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            for name, generator in made.items():
                tasks.start_soon(Decoder(log, WIRE, name, generator, drain).run)
            for killed in range(1, 11):
                while len(fake.started) < killed or len(fake.started[-1].asked) < 5:  # noqa: ASYNC110 - it is threaded
                    await anyio.sleep(0.001)
                fake.started[-1].die()
            while len(await texts(log)) < 2 * COUNT:  # noqa: ASYNC110 - the log is the only witness
                await anyio.sleep(0.01)
            drain.request("test")
    found = await texts(log)
    assert len(fake.started) == 11
    for arm in made:
        assert sorted(text.seq for text in found if text.arm == arm) == list(range(1, COUNT + 1))
    assert not [text for text in found if text.error]
