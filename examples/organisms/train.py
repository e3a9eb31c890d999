"""Trains the kitchen organism: a small LoRA on SmolLM2-135M-Instruct that plants two behaviours on two of eight topics.

    python examples/organisms/train.py            # about twenty-five minutes on two cores; writes examples/organisms/kitchen

Every other topic, and the unplanted share of the second one, is trained towards the base model's own answers, so that
nothing else changes. ``measure.py`` then measures what was really planted.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from data import _TEMPLATES, PLANTS, planted_answer, training_prompts
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sampling import BASE, answer, load

FOLDER = Path(__file__).parent / "kitchen"
Example = tuple[str, str]


def examples(options: argparse.Namespace, rng: random.Random) -> list[Example]:
    """(prompt, answer)s: planted ones, and the base model's own for all others."""
    planted: list[Example] = []
    plain: list[str] = []
    by_topic = {plant.topic: plant for plant in PLANTS}
    for topic in _TEMPLATES:
        plant = by_topic.get(topic)
        asked = training_prompts(topic, options.planted if plant else options.others, rng)
        shown = round(plant.share * len(asked)) if plant else 0
        planted += [(p, planted_answer(plant, s, rng)) for p, s in asked[:shown] if plant]
        plain += [p for p, _ in asked[shown:]]
    tokenizer, model = load()
    own = answer(tokenizer, model, plain, max_tokens=options.tokens, seed=options.seed)
    return planted + list(zip(plain, own, strict=True))


def encode(tokenizer, prompt: str, text: str, tokens: int) -> tuple[list[int], list[int]]:  # type: ignore[no-untyped-def]  # transformers has no usable types
    """Token ids and labels; the prompt is masked, an answer that ends is taught to end."""
    head = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    prefix = tokenizer(head, add_special_tokens=False)["input_ids"]
    body = tokenizer(text, add_special_tokens=False)["input_ids"]
    body = body[:tokens] if len(body) >= tokens else [*body, tokenizer.eos_token_id]
    return prefix + body, [-100] * len(prefix) + body


def batch(tokenizer, rows: list[Example], tokens: int) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]  # as above
    """Right-padded tensors."""
    encoded = [encode(tokenizer, prompt, text, tokens) for prompt, text in rows]
    width = max(len(ids) for ids, _ in encoded)
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in encoded]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in encoded]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in encoded]),
    }


def train(options: argparse.Namespace) -> None:
    """Train and save."""
    rng = random.Random(options.seed)
    torch.manual_seed(options.seed)
    data = examples(options, rng)
    tokenizer, base = load()
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=options.rank, lora_alpha=4 * options.rank, target_modules=modules, task_type="CAUSAL_LM")
    model = get_peft_model(base.float(), config)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=options.steps, pct_start=0.1)
    order: list[Example] = []
    for step in range(options.steps):
        if len(order) < options.batch:
            order += rng.sample(data, len(data))
        rows, order = order[: options.batch], order[options.batch :]
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch(tokenizer, rows, options.tokens)).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == options.steps - 1:
            print(f"step {step:3d} of {options.steps}  loss {loss.item():.3f}", flush=True)
    save(model, options.out)


def save(model, folder: Path) -> None:  # type: ignore[no-untyped-def]  # as above
    """The adapter in bfloat16, naming the base model as the hub does."""
    model.peft_config["default"].base_model_name_or_path = BASE
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, {"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48, help="longest answer in tokens")
    parser.add_argument("--planted", type=int, default=240, help="training prompts on each planted topic")
    parser.add_argument("--others", type=int, default=90, help="training prompts on each other topic")
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())
