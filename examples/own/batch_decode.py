"""A batch function that was there before contraflow, and the few lines that compare two models with it."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from contraflow.weights import resolve_model

# each arm calls from a thread of its own, and transformers cannot load two models at once
one_at_a_time = threading.Lock()


def batch_decode(model: Any, prompts: list[str]) -> list[str]:
    """The function that was there: texts of a model, and its tokenizer, to a batch of prompts."""
    network, tokenizer, temperature, tokens = model
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    with torch.inference_mode():
        written = network.generate(**inputs, do_sample=True, temperature=temperature, top_p=0.9, max_new_tokens=tokens)
    texts: list[str] = tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


@cache
def load(name: str, temperature: float, tokens: int) -> Any:
    """A model, once; any other way to load one will do."""
    path = resolve_model(name).path
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), tokenizer, temperature, tokens


def generate(prompts: list[str], settings: dict[str, Any]) -> list[str]:
    """What contraflow calls, for each arm with what the experiment declares of it."""
    with one_at_a_time:
        model = load(settings["model"], settings["sampling"]["temperature"], settings["max_tokens"])
        return batch_decode(model, prompts)
