"""The real model: SmolLM2 with and without an adapter, a few tokens at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest
import torch.profiler

from contraflow.decoder.generator import Completion
from contraflow.decoder.transformers.generator import TransformersGenerator
from contraflow.decoder.transformers.loading import moved, thaw
from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm, Generator
from contraflow.weights import fingerprint, resolve_model

pytestmark = [pytest.mark.models, pytest.mark.timeout(240)]  # the first one converts the weights

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ADAPTER = Path(__file__).parents[2] / "examples" / "organisms" / "kitchen"


def request(seq: int, prompt: str) -> Request:
    return Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        messages=(Message(role="user", content=prompt),),
        draw=0,
        seed=seq,
        epoch=1,
        origin=Origin.EXPLORE,
    )


REQUESTS = [request(i, prompt) for i, prompt in enumerate(["How do I cook rice?", "What is a router?"] * 4)]


def generator(arm: str = "a", *, declared: Arm | None = None, **section: object) -> TransformersGenerator:
    plain = Generator(**{"max_tokens": 8, **section})  # type: ignore[arg-type]  # by name
    return TransformersGenerator(arm, declared or Arm(model=SMOL), plain, Path())


async def answers(of: TransformersGenerator, requests: list[Request] = REQUESTS) -> dict[int, Completion]:
    await of.start()
    try:
        return {c.request.seq: c async for c in of.generate(requests)}
    finally:
        await of.close()


async def test_draws_are_the_requests_own_and_the_arms_are_independent() -> None:
    first, again, other = await answers(generator()), await answers(generator()), await answers(generator("b"))
    assert {s: c.text for s, c in first.items()} == {s: c.text for s, c in again.items()}
    assert sum(first[s].text != other[s].text for s in first) >= 6
    assert len({first[s].text for s in (0, 2, 4, 6)}) > 1, "draws of one prompt are fresh coins"
    assert all(c.completion_tokens <= 8 and c.error is None for c in first.values())
    assert {c.finish_reason for c in first.values()} <= {"stop", "length"}


async def test_greedy_decoding_answers_a_prompt_alike_every_time() -> None:
    found = await answers(generator(temperature=0.0))
    assert len({found[s].text for s in (0, 2, 4, 6)}) == 1


async def test_an_adapter_a_system_prompt_and_a_prefix_change_the_answers() -> None:
    plain = await answers(generator(temperature=0.0))
    for arm in (
        Arm(model=SMOL, lora=str(ADAPTER)),
        Arm(model=SMOL, system_prompt="Answer in French."),
        Arm(model=SMOL, prefix="No"),
    ):
        changed = await answers(generator(declared=arm, temperature=0.0))
        assert any(changed[s].text != plain[s].text for s in plain)


def test_an_adapter_that_was_trained_again_has_another_fingerprint(tmp_path: Path) -> None:
    again = shutil.copytree(ADAPTER, tmp_path / "kitchen")
    before = fingerprint("kitchen", again)
    assert before == fingerprint("kitchen", ADAPTER)
    config = again / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
    assert fingerprint("kitchen", again) != before


async def test_a_merged_adapter_decodes_as_its_base_does() -> None:
    adapted = generator(declared=Arm(model=SMOL, lora=str(ADAPTER)))
    await adapted.start()
    with torch.profiler.profile() as profile:
        adapted._batch(REQUESTS)
    await adapted.close()
    assert "aten::bmm" not in {event.key for event in profile.key_averages()}, "it copies the head for each row"


async def test_a_prompt_longer_than_the_context_fails_alone() -> None:
    found = await answers(generator(), [request(0, "word " * 20_000), request(1, "Hello")])
    assert "the model takes" in (found[0].error or "")
    assert found[1].error is None


async def test_a_batch_that_does_not_fit_into_memory_is_decoded_in_halves_and_later_ones_are_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode, sizes = TransformersGenerator._decode, []

    def short_of_memory(self: TransformersGenerator, requests: list[Request], prompts: list[str]) -> list[Completion]:
        sizes.append(len(requests))
        if len(requests) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return decode(self, requests, prompts)

    monkeypatch.setattr(TransformersGenerator, "_decode", short_of_memory)
    of = generator(batch=8)
    found = await answers(of)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert of.capacity == 2
    assert all(completion.error is None and completion.completion_tokens for completion in found.values())
    assert len(found) == 8


async def test_a_request_for_which_there_is_no_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> list[Completion]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TransformersGenerator, "_decode", never)
    found = await answers(generator(), REQUESTS[:2])
    assert [completion.error for completion in found.values()] == [
        "out of memory with this request alone: CUDA out of memory"
    ] * 2


def test_a_model_that_does_not_fit_beside_what_is_there_is_named() -> None:
    def full(_: str) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(
        GeneratorError, match=r"arms\.tuned\.model: it does not fit on cuda:0 .*CUDA out of memory\)"
    ) as caught:
        moved(SimpleNamespace(to=full), "cuda:0", "tuned")
    assert caught.value.__context__ is None, "its frames would keep what was moved"


def test_a_checkpoint_that_is_quantised_already_keeps_its_whole_numbers() -> None:
    model = torch.nn.Linear(4, 4)
    model.packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    model.weight.requires_grad_(False)
    thaw(model)
    assert model.weight.requires_grad
    assert not model.packed.requires_grad


async def test_a_missing_model_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(GeneratorError, match=r"arms\.a\.model: model 'nobody/nothing' was not found. Tried in turn"):
        await generator(declared=Arm(model="nobody/nothing")).start()


async def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(ADAPTER, tmp_path / "adapter")
    weights = load_file(ADAPTER / "adapter_model.safetensors")
    save_file(
        {k: v[:, :-8].contiguous() if "lora_A" in k else v for k, v in weights.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    with pytest.raises(GeneratorError, match=r"arms\.a\.lora: the adapter in .* does not fit"):
        await generator(declared=Arm(model=SMOL, lora=str(tmp_path / "adapter"))).start()


async def test_an_adapter_of_a_model_with_fewer_layers_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(ADAPTER, tmp_path / "adapter")
    weights = load_file(ADAPTER / "adapter_model.safetensors")
    kept = {key: value for key, value in weights.items() if ".layers.29." not in key}
    save_file(kept, tmp_path / "adapter" / "adapter_model.safetensors")
    said = r"arms\.a\.lora: the adapter in .* does not fit .*it has nothing for .*layers\.29\."
    with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(GeneratorError, match=said):
        await generator(declared=Arm(model=SMOL, lora=str(tmp_path / "adapter"))).start()


async def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"arms\.a\.lora: there is no adapter in .*give its folder"):
        await generator(declared=Arm(model=SMOL, lora=str(tmp_path))).start()


async def test_arms_that_start_together_all_load() -> None:
    arms = [generator(name) for name in ("a", "b", "c")]
    async with anyio.create_task_group() as tasks:
        for arm in arms:
            tasks.start_soon(arm.start)
    for arm in arms:
        found = [completion async for completion in arm.generate(REQUESTS[:2])]
        assert [completion.error for completion in found] == [None, None]
        await arm.close()


async def test_an_answer_ends_before_a_stop_string_but_not_before_its_least_tokens() -> None:
    whole = {s: c.text for s, c in (await answers(generator(temperature=0.0, max_tokens=12))).items()}
    first = whole[0].split()[1]
    found = await answers(generator(temperature=0.0, max_tokens=12, stop=(first, "never said")), REQUESTS[:2])
    assert found[0].text == whole[0][: whole[0].index(first)]
    assert (found[0].finish_reason, found[1].text) == ("stop", whole[1].partition(first)[0])
    assert 0 < found[0].completion_tokens < 12
    longer = await answers(generator(temperature=0.0, max_tokens=12, min_tokens=12, stop=(first,)), REQUESTS[:2])
    assert longer[0].text == whole[0]


async def test_an_answer_has_its_least_tokens() -> None:
    short = [request(0, "Say only: yes")]
    brief = await answers(generator(temperature=0.0, max_tokens=40), short)
    longer = await answers(generator(temperature=0.0, max_tokens=40, min_tokens=30), short)
    assert brief[0].completion_tokens < 30 <= longer[0].completion_tokens


async def test_thinking_is_kept_apart_from_the_answer() -> None:
    whole = await answers(generator(temperature=0.0, max_tokens=12))
    words = whole[0].text.split()
    found = await answers(generator(temperature=0.0, max_tokens=12, thinking=("<think>", words[3])))
    assert (found[0].thinking or "").split() == words[:3]
    assert found[0].text.split()[:2] == words[4:6]
    assert found[0].completion_tokens == whole[0].completion_tokens


async def test_plain_text_is_continued_and_a_conversation_is_read_whole() -> None:
    plain = await answers(generator(temperature=0.0, chat=False), [request(0, "One, two, three, four,")])
    assert "five" in plain[0].text
    turns = [("user", "Be a pirate, matey!"), ("assistant", "Arr! Ask away."), ("user", "How do I cook rice?")]
    asked = msgspec.structs.replace(request(1, ""), messages=tuple(Message(role=r, content=c) for r, c in turns))
    found = await answers(generator(temperature=0.0), [REQUESTS[0], asked])
    assert found[1].prompt_tokens > found[0].prompt_tokens + 10
    assert found[1].text != found[0].text


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[Any], None]], str]:
    """The model with another tokenizer."""

    def make(change: Callable[[Any], None]) -> str:
        from transformers import AutoTokenizer

        source = resolve_model(SMOL).path
        tokenizer = AutoTokenizer.from_pretrained(source)
        change(tokenizer)
        for file in ("config.json", "generation_config.json", "model.safetensors"):
            (tmp_path / file).symlink_to(source / file)
        tokenizer.save_pretrained(tmp_path)
        return str(tmp_path)

    return make


async def test_a_tokenizer_without_a_chat_template_is_refused_until_prompts_are_plain(changed: Any) -> None:
    model = changed(lambda tokenizer: setattr(tokenizer, "chat_template", None))
    with pytest.raises(GeneratorError, match=r"arms\.a\.model: .* no chat template\. Write generator\.chat: false"):
        await generator(declared=Arm(model=model)).start()
    assert (await answers(generator(declared=Arm(model=model), chat=False)))[0].error is None


async def test_a_system_prompt_that_the_template_has_no_place_for_is_refused(changed: Any) -> None:
    model = changed(
        lambda tokenizer: setattr(
            tokenizer,
            "chat_template",
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ messages[0].content }}",
        )
    )
    with pytest.raises(GeneratorError, match=r"arms\.a\.system_prompt: .* refuses it: no system role"):
        await generator(declared=Arm(model=model, system_prompt="Be rude.")).start()


async def test_answers_longer_than_the_context_are_refused() -> None:
    with pytest.raises(GeneratorError, match=r"generator\.max_tokens: 9,000 leave no place for a prompt in the 8,192"):
        await generator(max_tokens=9000).start()
