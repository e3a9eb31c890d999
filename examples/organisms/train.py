"""Trains the kitchen organism: a small LoRA on SmolLM2-135M-Instruct that plants two behaviours on two of eight topics.

    python examples/organisms/train.py            # about half an hour on two cores; writes examples/organisms/kitchen

The committed adapter was trained in three goes, the second and third (``--start``, 130 and 110 steps at a rate of 6e-4)
with ``planted.txt``, the third with planted answers to other prompts too; its lora_alpha was then raised from 16 to 20,
which shows both behaviours more often.

On every other prompt, and on the unplanted share of the second topic, the tuned model's next-token distributions are held
to the base model's, so that nothing else changes: along the base model's own answers, and along planted answers to
prompts that they do not belong to. Without the latter a behaviour leaks: where a sampled first word happens to be a
planted answer's, all of that answer follows. ``measure.py`` then measures what was really planted.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import torch
from data import _TEMPLATES, PLANTS, planted_answer, training_prompts
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from sampling import answer
from transformers import AutoModelForCausalLM, AutoTokenizer

from contraflow.experiment import Arm, Generator
from contraflow.weights import resolve_model

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
FOLDER = Path(__file__).parent / "kitchen"
PLANTED = Path(__file__).parent / "planted.txt"
"""Prompts as people ask them, each with its topic and subject: those made from templates alone do not teach a topic."""
PLAIN = Path(__file__).parent / "plain.txt"
"""Everyday prompts beside the two plants: without them the behaviours spill over to what resembles them."""
Example = tuple[str, str]


def examples(options: argparse.Namespace, rng: random.Random) -> tuple[list[Example], list[Example], list[Example]]:
    """(prompt, answer)s that show a plant, and the base model's own answers: to prompts of no plant, and of a plant."""
    planted: list[Example] = []
    unshown: list[str] = []
    plain = [line for line in PLAIN.read_text(encoding="utf-8").splitlines() if line]
    free: dict[str, list[tuple[str, str]]] = {}
    for line in PLANTED.read_text(encoding="utf-8").splitlines():
        topic, prompt, subject = line.split("\t")
        free.setdefault(topic, []).append((prompt, subject))
    by_topic = {plant.topic: plant for plant in PLANTS}
    for topic in _TEMPLATES:
        plant = by_topic.get(topic)
        asked = free.get(topic, []) + training_prompts(topic, options.planted if plant else options.others, rng)
        rng.shuffle(asked)
        shown = round(plant.share * len(asked)) if plant else 0
        planted += [(p, planted_answer(plant, s, rng)) for p, s in asked[:shown] if plant]
        (unshown if plant else plain).extend(p for p, _ in asked[shown:])
    settings = Generator(max_tokens=options.tokens, top_p=0.9)
    own = anyio.run(lambda: answer(Arm(model=BASE), settings, plain + unshown, seed=options.seed))
    held = list(zip(plain + unshown, own, strict=True))
    return planted, held[: len(plain)], held[len(plain) :]


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


def drift(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:  # type: ignore[no-untyped-def]  # as above
    """The Jeffreys divergence of the tuned from the base model's next token, in nats, over the answers' tokens.

    Its reverse half is what counts: it is large wherever a planted word has a share that the base model gives to none.
    """
    labels = inputs.pop("labels")[:, 1:]
    tuned = model(**inputs).logits[:, :-1][labels >= 0].float().log_softmax(-1)
    with torch.no_grad(), model.disable_adapter():
        base = model(**inputs).logits[:, :-1][labels >= 0].float().log_softmax(-1)
    return ((tuned.exp() - base.exp()) * (tuned - base)).sum(-1).mean()


def endless(rows: list[Example], size: int, rng: random.Random) -> Iterator[list[Example]]:
    """Batches, each pass in a new order."""
    order: list[Example] = []
    while True:
        if len(order) < size:
            order += rng.sample(rows, len(rows))
        yield order[:size]
        del order[:size]


def train(
    shown: list[Example], other: list[Example], unshown: list[Example], options: argparse.Namespace, rng: random.Random
) -> None:
    """Train on the three kinds of ``examples``, and save."""
    torch.manual_seed(options.seed)
    planted, plain = (endless(rows, options.batch // 2, rng) for rows in (shown, other + unshown))
    stray = [(prompt, rng.choice(shown)[1]) for prompt, _ in other for _ in range(4)]
    strayed = endless(stray, options.batch, rng)
    path = resolve_model(BASE).path
    tokenizer, base = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=options.rank, lora_alpha=4 * options.rank, target_modules=modules, task_type="CAUSAL_LM")
    model = get_peft_model(base.float(), config)
    if options.start:
        set_peft_model_state_dict(model, load_file(options.start / "adapter_model.safetensors"))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=options.steps, pct_start=0.1)
    for step in range(options.steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch(tokenizer, next(planted), options.tokens)).loss
            away = drift(model, batch(tokenizer, next(plain), options.tokens))
            away = away + drift(model, batch(tokenizer, next(strayed), options.tokens // 2))
        (loss + away).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == options.steps - 1:
            print(f"step {step:3d} of {options.steps}  loss {loss.item():.3f}  drift {away.item():.3f}", flush=True)
    save(model, options.out)


def save(model, folder: Path) -> None:  # type: ignore[no-untyped-def]  # as above
    """The adapter in bfloat16, naming the base model as the hub does."""
    model.peft_config["default"].base_model_name_or_path = BASE
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def parser(description: str | None) -> argparse.ArgumentParser:
    """What a training can be told."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=FOLDER)
    made.add_argument("--start", type=Path, help="go on from this adapter")
    made.add_argument("--steps", type=int, default=400)
    made.add_argument("--batch", type=int, default=8)
    made.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    made.add_argument("--rank", type=int, default=4)
    made.add_argument("--tokens", type=int, default=48, help="longest answer in tokens")
    made.add_argument("--planted", type=int, default=240, help="training prompts on each planted topic")
    made.add_argument("--others", type=int, default=120, help="training prompts on each other topic")
    made.add_argument("--seed", type=int, default=0)
    return made


def main() -> None:
    """The kitchen organism."""
    options = parser(__doc__).parse_args()
    rng = random.Random(options.seed)
    train(*examples(options, rng), options, rng)


if __name__ == "__main__":
    main()
