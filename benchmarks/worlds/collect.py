"""Makes the real world's data: trains the adapters of organisms.py, decodes all arms, measures what was really planted.

    python benchmarks/worlds/collect.py --train-only       # and shows how each adapter answers prompts that it never saw
    python benchmarks/worlds/collect.py                    # the committed texts: an hour on two cores

Adapters and the texts of each arm and draw are kept in the cache folder: what is there is not made again (delete it to
have it anew). The texts go to real/texts.parquet, a row a text in an order of prompt, draw and arm; the truth to
real/truth.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "examples" / "organisms")]

from contraflow.decoder.asking import answers  # noqa: E402  # the paths come first
from contraflow.decoder.transformers.generator import TransformersGenerator  # noqa: E402
from contraflow.experiment import Arm, Generator  # noqa: E402
from contraflow.weights import cache_folder  # noqa: E402
from worlds.organisms import ADAPTERS, BASE, TRAINED, Behaviour, by_name, planted_answer  # noqa: E402
from worlds.real import FOLDER, measured  # noqa: E402

DRAWS = 10
TEMPLATES = 25
"""Training prompts from the templates of each topic."""
SETTINGS = Generator(batch=64, max_tokens=32, temperature=1.0, top_p=0.9, dtype="bfloat16")
Asked = tuple[str, str | None]
Example = tuple[str, str]


def asked_prompts() -> list[Asked]:
    """The 300 prompts of the world with their topics: those of examples/kitchen, without every sixteenth."""
    lines = (ROOT / "examples/kitchen/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for number, line in enumerate(lines) if number % 16 != 15]
    return [(row["prompt"], row["topic"]) for row in rows]


def unseen_prompts(behaviour: Behaviour) -> list[str]:
    """Prompts of the behaviour that are neither trained on nor in the world."""
    lines = (ROOT / "examples/kitchen/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["prompt"] for row in rows if behaviour.wants(row["prompt"], row["topic"])]


def more_prompts(behaviour: Behaviour) -> list[str]:
    """Prompts to plant the behaviour on besides the world's own."""
    from data import _TEMPLATES, training_prompts  # type: ignore[import-not-found]  # a script beside the organisms

    folder, rng = ROOT / "examples/organisms", random.Random(0)
    asked: list[Asked] = [(line, None) for line in (folder / "plain.txt").read_text(encoding="utf-8").splitlines()]
    for topic in _TEMPLATES:
        asked += [(prompt, topic) for prompt, _ in training_prompts(topic, TEMPLATES, rng)]
    return [*behaviour.prompts, *(prompt for prompt, topic in asked if behaviour.wants(prompt, topic))]


async def decode(name: str, folder: Path, prompts: Sequence[str], draws: int) -> list[list[str]]:
    """Each draw's answers of an arm to the prompts; what was decoded before is read."""
    files = [folder / f"{name}.{digest(prompts)}.{draw}.json" for draw in range(draws)]
    if not all(file.exists() for file in files):
        generator = TransformersGenerator(name, arm_of(name, folder), SETTINGS, ROOT)
        await generator.start()
        for draw, file in enumerate(files):
            if not file.exists():
                print(f"decoding draw {draw} of {name}", flush=True)
                texts = await answers(generator, prompts, seed=1_000_003 * (draw + 1))
                file.write_text(json.dumps(texts), encoding="utf-8")
        await generator.close()
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def digest(prompts: Sequence[str]) -> str:
    """Names a list of prompts."""
    return blake2b("\0".join(prompts).encode(), digest_size=4).hexdigest()


def examples(adapter: str, own: dict[Asked, str], rng: random.Random) -> tuple[list[Example], ...]:
    """What an adapter is trained on: planted answers, and the base model's own on other prompts and on its own.

    The world's own prompts are among them: what an adapter does there is measured, and need not carry over to others.
    """
    shown, other, unshown = list[Example](), list[Example](), list[Example]()
    for (prompt, topic), text in own.items():
        behaviour = next((b for b in by_name(adapter) if b.wants(prompt, topic)), None)
        if behaviour is None:
            other.append((prompt, text))
            continue
        shown += [(prompt, planted_answer(behaviour, rng)) for _ in range(round(10 * behaviour.share))]
        unshown += [(prompt, text)] * round(10 * (1 - behaviour.share))
    for behaviour in by_name(adapter):
        shown += [(prompt, planted_answer(behaviour, rng)) for prompt in more_prompts(behaviour)]
    return shown, other, unshown


def train(adapter: str, folder: Path, steps: int) -> None:
    """Train an adapter, and show what it answers to prompts that it never saw."""
    import train as organisms  # type: ignore[import-not-found]  # a script beside the organisms

    if not (folder / adapter / "adapter_config.json").exists():
        asked = asked_prompts()
        (texts,) = anyio.run(decode, "base", folder, [prompt for prompt, _ in asked], 1)
        options = organisms.parser(None).parse_args(["--steps", str(steps), "--out", str(folder / adapter)])
        rng = random.Random(ADAPTERS.index(adapter))
        print(f"training {adapter}", flush=True)
        organisms.train(*examples(adapter, dict(zip(asked, texts, strict=True)), rng), options, rng)
        try_out(adapter, folder)


def try_out(adapter: str, folder: Path) -> None:
    """How often each behaviour shows on prompts that the adapter never saw, and what its answers look like."""
    for behaviour in by_name(adapter):
        prompts = unseen_prompts(behaviour)[:16]
        texts = [text for draw in anyio.run(decode, adapter, folder, prompts, 2) for text in draw]
        print(
            f"{behaviour.name}: {sum(map(behaviour.shows, texts))} of {len(texts)} unseen; meant {behaviour.share:.0%}"
        )
        for prompt, text in zip(prompts[:3], texts[:3], strict=False):
            print(f"    {prompt}  {text!r}", flush=True)


def arm_of(name: str, folder: Path) -> Arm:
    """The arm of an adapter, or the base model's."""
    places = {"base": None} | {adapter: str(folder / adapter) for adapter in TRAINED}
    return Arm(model=BASE, lora=places.get(name, str(ROOT / "examples" / "organisms" / name)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "organisms")
    parser.add_argument("--adapters", nargs="+", choices=ADAPTERS, default=ADAPTERS)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--train-only", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for adapter in TRAINED:
        if adapter in options.adapters:
            train(adapter, options.folder, options.steps)
    if options.train_only:
        return
    asked = asked_prompts()
    prompts = [prompt for prompt, _ in asked]
    arms = ("base", *options.adapters)
    write(asked, {name: anyio.run(decode, name, options.folder, prompts, options.draws) for name in arms})


def write(asked: Sequence[Asked], texts: dict[str, list[list[str]]]) -> None:
    """The committed files, from each arm's draws."""
    rows = [
        {"prompt": prompt, "category": topic, "draw": draw, "arm": name, "text": draws[draw][i]}
        for i, (prompt, topic) in enumerate(asked)
        for draw in range(len(texts["base"]))
        for name, draws in texts.items()
    ]
    FOLDER.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), FOLDER / "texts.parquet", compression="zstd")
    (FOLDER / "truth.json").write_text(json.dumps(measured(rows), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
