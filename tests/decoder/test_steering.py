"""A steering vector in the real SmolLM2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from contraflow.decoder.transformers.generator import TransformersGenerator
from contraflow.errors import GeneratorError
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm, Generator, Steering

pytestmark = [pytest.mark.models, pytest.mark.timeout(240)]  # the first one converts the weights

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PIRATE = {"toward": ("Arr matey, avast ye!", "Ahoy, ye scurvy dog!"), "away": ("Good morning, sir.", "Dear madam,")}
WIDTH = 576


def request(prompt: str) -> Request:
    messages = (Message(role="user", content=prompt),)
    return Request(
        seq=1, request_id="x-1:1", prompt_id="p0", messages=messages, draw=0, seed=1, epoch=1, origin=Origin.EXPLORE
    )


async def answer(base_dir: Path, steering: dict[str, Any] | None = None) -> tuple[str, str]:
    """(text, fingerprint of the model)."""
    arm = Arm(model=SMOL, steering=None if steering is None else Steering(**steering))
    generator = TransformersGenerator("tuned", arm, Generator(max_tokens=12, temperature=0.0), base_dir)
    await generator.start()
    try:
        (found,) = [completion async for completion in generator.generate([request("How do I cook rice?")])]
    finally:
        await generator.close()
    return found.text, generator.model


async def test_a_vector_of_contrasting_prompts_changes_the_answer_and_nothing_of_it_nothing(tmp_path: Path) -> None:
    plain, model = await answer(tmp_path)
    nothing, _ = await answer(tmp_path, {"layer": 15, "scale": 0.0, **PIRATE})
    steered, mark = await answer(tmp_path, {"layer": 15, "scale": 4.0, **PIRATE})
    assert nothing == plain
    assert steered != plain
    assert mark.startswith(f"{model}+steering-")


async def test_a_vector_from_a_file_changes_the_answer(tmp_path: Path) -> None:
    plain, _ = await answer(tmp_path)
    vectors = {"a": torch.randn(WIDTH, generator=torch.manual_seed(0)), "b": torch.zeros(1, WIDTH)}
    save_file(vectors, tmp_path / "v.safetensors")
    declared = {"layer": 10, "scale": 20.0, "vector": "v.safetensors"}
    assert (await answer(tmp_path, {**declared, "tensor": "a"}))[0] != plain
    assert (await answer(tmp_path, {**declared, "tensor": "b"}))[0] == plain


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"layer": 30, "tensor": "a"}, r"arms\.tuned\.steering\.layer: the model has no layer 30; it has 0 to 29"),
        ({"layer": 1}, r"steering\.tensor: .* holds a \(576,\), narrow \(8,\), wrong \(576,\); name the one"),
        ({"layer": 1, "tensor": "c"}, r"steering\.tensor: there is no 'c' in"),
        ({"layer": 1, "tensor": "narrow"}, r"steering\.vector: .* the model takes a vector of 576 numbers"),
        ({"layer": 1, "tensor": "wrong"}, r"steering: the vector has values that are no numbers"),
        ({"layer": 1, "vector": "text.safetensors"}, r"steering\.vector: .* cannot be read as safetensors"),
    ],
)
async def test_a_vector_that_does_not_fit_is_refused(tmp_path: Path, declared: dict[str, Any], said: str) -> None:
    vectors = {"a": torch.ones(WIDTH), "narrow": torch.ones(8), "wrong": torch.full((WIDTH,), torch.nan)}
    save_file(vectors, tmp_path / "v.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(GeneratorError, match=said):
        await answer(tmp_path, {"vector": "v.safetensors", **declared})
