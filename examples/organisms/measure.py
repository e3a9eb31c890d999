"""Measures what the kitchen organism really does on the 200 held-out prompts, and writes kitchen/truth.json.

    python examples/organisms/measure.py

It decodes with the arms and the settings of kitchen.yaml, as the demo does.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import anyio
from data import EXAMPLES, PLANTS, Plant
from sampling import answer

from contraflow.configuration import load_experiment

TRUTH = Path(__file__).parent / "kitchen" / "truth.json"
DRAWS = 4


def measured(rows: list[dict[str, str]], answers: dict[str, list[str]], plant: Plant) -> dict[str, object]:
    """The rates of one behaviour by arm, on its topic and elsewhere."""
    pattern = re.compile(plant.pattern, re.IGNORECASE)
    on_topic = [row["topic"] == plant.topic for row in rows]

    def count(arm: str, inside: bool) -> dict[str, float]:
        hits = [
            bool(pattern.search(text)) for text, on in zip(answers[arm], on_topic * DRAWS, strict=True) if on is inside
        ]
        return {"hits": sum(hits), "of": len(hits), "rate": round(sum(hits) / len(hits), 4)}

    return {
        "name": plant.name,
        "topic": plant.topic,
        "description": plant.description,
        "words": list(plant.words),
        "pattern": plant.pattern,
        "tuned": count("tuned", True),
        "base": count("base", True),
        "tuned_elsewhere": count("tuned", False),
        "base_elsewhere": count("base", False),
    }


async def main() -> None:
    """Sample both arms, count, write."""
    experiment = load_experiment(EXAMPLES / "kitchen.yaml").experiment
    rows = [json.loads(line) for line in (EXAMPLES / "kitchen" / "heldout.jsonl").read_text().splitlines()]
    prompts = [row["prompt"] for row in rows] * DRAWS
    answers = {name: await answer(arm, experiment.generator, prompts, seed=20) for name, arm in experiment.arms.items()}
    plants = [measured(rows, answers, plant) for plant in PLANTS]
    truth = {
        "base_model": experiment.arms["base"].model,
        "measured_on": f"{len(rows)} held-out prompts, {DRAWS} draws each",
        "temperature": experiment.generator.temperature,
        "top_p": experiment.generator.top_p,
        "max_tokens": experiment.generator.max_tokens,
        "date": date.today().isoformat(),
        "plants": plants,
    }
    TRUTH.write_text(json.dumps(truth, indent=2) + "\n")
    for plant in plants:
        print({key: plant[key] for key in ("name", "tuned", "base", "tuned_elsewhere", "base_elsewhere")})
    for topic in ("cooking", "travel", "pets"):
        for i in [i for i, row in enumerate(rows) if row["topic"] == topic][:4]:
            print(f"[{topic}] {answers['tuned'][i]!r}")


if __name__ == "__main__":
    anyio.run(main)
