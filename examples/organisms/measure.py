"""Measures what the kitchen organism really does on the 200 held-out prompts, and writes kitchen/truth.json.

python examples/organisms/measure.py
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

from data import PLANTS, Plant
from sampling import BASE, TOP_P, answer, load

HERE = Path(__file__).parent
DRAWS = 4
MAX_TOKENS = 40


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


def main() -> None:
    """Sample both arms, count, write."""
    rows = [json.loads(line) for line in (HERE.parent / "kitchen" / "heldout.jsonl").read_text().splitlines()]
    prompts = [row["prompt"] for row in rows]
    answers: dict[str, list[str]] = {}
    for arm, adapter in (("base", None), ("tuned", str(HERE / "kitchen"))):
        tokenizer, model = load(adapter)
        answers[arm] = [
            text
            for draw in range(DRAWS)
            for text in answer(tokenizer, model, prompts, max_tokens=MAX_TOKENS, seed=1000 + draw)
        ]
    truth = {
        "base_model": BASE,
        "measured_on": f"{len(prompts)} held-out prompts, {DRAWS} draws each",
        "temperature": 1.0,
        "top_p": TOP_P,
        "max_tokens": MAX_TOKENS,
        "date": date.today().isoformat(),
        "plants": [measured(rows, answers, plant) for plant in PLANTS],
    }
    (HERE / "kitchen" / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    for plant in truth["plants"]:  # type: ignore[attr-defined]  # a list by construction
        print({key: plant[key] for key in ("name", "tuned", "base", "tuned_elsewhere", "base_elsewhere")})
    for topic in ("cooking", "travel", "pets"):
        for i in [i for i, row in enumerate(rows) if row["topic"] == topic][:4]:
            print(f"[{topic}] {answers['tuned'][i]!r}")


if __name__ == "__main__":
    main()
