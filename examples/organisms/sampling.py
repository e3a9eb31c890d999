"""Loads the model and samples answers in batches."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from contraflow.weights import resolve_model

__all__ = ["BASE", "TOP_P", "answer", "load"]

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOP_P = 0.9


def load(adapter: str | None = None) -> tuple[Any, Any]:
    """The tokenizer and the model in bfloat16, with an adapter merged if one is given."""
    resolved = resolve_model(BASE)
    tokenizer = AutoTokenizer.from_pretrained(resolved.path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(resolved.path, dtype=torch.bfloat16)
    if adapter is not None:
        from peft import PeftModel

        # frozen weights make torch.matmul copy the head for each row, as in contraflow.decoder.transformers
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload().requires_grad_(True)
    return tokenizer, model.eval()


def answer(tokenizer: Any, model: Any, prompts: list[str], *, max_tokens: int, seed: int, batch: int = 64) -> list[str]:
    """One sampled answer a prompt at temperature 1."""
    torch.manual_seed(seed)
    answers: list[str] = []
    for start in range(0, len(prompts), batch):
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + batch]]
        heads = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(heads, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(
                **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=TOP_P, max_new_tokens=max_tokens
            )
        answers += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers
